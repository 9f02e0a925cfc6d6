"""`arbitrage teachers check`: is this teacher usable from this machine? Needs no GPU, loads no weights."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from arbitrage.teachers.engines.engine import UsabilityCheck
from arbitrage.teachers.pool import TeacherConfig, usable_languages


@dataclass(frozen=True, slots=True)
class TeacherStatus:
    """Findings about one teacher."""

    name: str
    findings: tuple[UsabilityCheck, ...]

    @property
    def is_usable(self) -> bool:
        """Tell whether there is no error."""
        return all(finding.level != "error" for finding in self.findings)


def check_teacher(teacher: TeacherConfig) -> TeacherStatus:
    """Find errors that make a teacher unusable, and warnings.

    Uses the network only to check that an endpoint serves the model.
    """
    found = asyncio.run(teacher.engine.check(teacher.spec()))
    return TeacherStatus(teacher.name, (*found, _pinning(teacher), _licence(teacher), *_unverified(teacher)))


def require_ready(teachers: Sequence[TeacherConfig]) -> None:
    """Check, before anything starts, that packages and keys of all teachers are available. No network.

    Raises:
        UserError: a package or key of a teacher is missing; names the first one.
    """
    for teacher in teachers:
        teacher.engine.require(teacher.spec())


def _pinning(teacher: TeacherConfig) -> UsabilityCheck:
    if teacher.is_pinned:
        return UsabilityCheck("ok", "revision", teacher.revision or "the content of local files")
    return UsabilityCheck("warn", "revision", "not pinned: the weights under this name may change")


def _licence(teacher: TeacherConfig) -> UsabilityCheck:
    if teacher.licence is None:
        return UsabilityCheck("warn", "licence", "not stated: the permitted use of its completions is unknown")
    return UsabilityCheck("ok", "licence", teacher.licence)


def _unverified(teacher: TeacherConfig) -> list[UsabilityCheck]:
    unverified = [tag for tag in teacher.languages if tag not in usable_languages(teacher)]
    if not unverified:
        return []
    return [
        UsabilityCheck(
            "warn", "languages", f"4-bit: not used in {', '.join(unverified)} unless in verified_languages"
        )
    ]
