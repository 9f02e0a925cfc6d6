"""Provenance of rows: teachers, licences, and the sources of prompts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arbitrage.records import Prompt
from arbitrage.runs.manifest import RunPlan

UNKNOWN_LICENCE = "unknown"
"""Placeholder for a licence that was not stated. It is allowed only if it is named explicitly."""


@dataclass(frozen=True, slots=True)
class TeacherFacts:
    """Facts about one teacher from a run's plan."""

    name: str
    model: str
    revision: str
    licence: str
    precision: str
    languages: tuple[str, ...]
    source_licences: tuple[str, ...] = ()  # of the teachers whose candidates it read, if it fused them


@dataclass(frozen=True, slots=True)
class Origin:
    """Provenance of one prompt and its possible teachers."""

    source: str
    source_id: str
    prompt_licence: str
    teachers: Mapping[str, TeacherFacts]

    def licences(self, *teachers: str) -> tuple[str, ...]:
        """Return the licences of a row made from this prompt and candidates of these teachers, sorted."""
        facts = [self._facts(name) for name in teachers]
        read = {licence for each in facts for licence in each.source_licences}
        return tuple(sorted({self.prompt_licence, *(each.licence for each in facts), *read}))

    def revision(self, teacher: str) -> str:
        """Return the revision of a teacher's weights."""
        return self._facts(teacher).revision

    def _facts(self, teacher: str) -> TeacherFacts:
        return self.teachers.get(teacher) or nothing_known_of(teacher)


def origin_of(prompt: Prompt, teachers: Mapping[str, TeacherFacts]) -> Origin:
    """Return the provenance of rows made from a prompt."""
    return Origin(prompt.source, prompt.source_id, prompt.licence or UNKNOWN_LICENCE, teachers)


def teachers_of(plan: RunPlan, candidates: Iterable[str]) -> dict[str, TeacherFacts]:
    """Read from a run's plan the facts about the teachers of the named draft steps."""
    wanted = set(candidates)
    configs = [step.config for step in plan.steps if step.name in wanted]
    found = [_facts(config) for config in configs if isinstance(config.get("teacher"), dict)]
    return {facts.name: facts for facts in sorted(found, key=lambda f: f.name)}


def nothing_known_of(teacher: str) -> TeacherFacts:
    """Return the facts about a teacher that the plan does not describe."""
    return TeacherFacts(teacher, "", "unknown", UNKNOWN_LICENCE, "", ())


def _facts(config: Mapping[str, Any]) -> TeacherFacts:
    teacher = config["teacher"]
    model = str(teacher.get("model") or "")
    return TeacherFacts(
        name=str(teacher.get("name")),
        model=Path(model).name if Path(model).is_absolute() else model,  # a local path is private
        revision=str(config.get("revision") or teacher.get("revision") or "unpinned"),
        licence=str(teacher.get("licence") or UNKNOWN_LICENCE),
        precision=str(teacher.get("precision") or ""),
        languages=tuple(teacher.get("languages") or ()),
        source_licences=tuple(config.get("source_licences") or ()),
    )
