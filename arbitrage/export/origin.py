"""Where rows come from: who wrote the answers, under which licences, and what the prompts say of themselves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arbitrage.records import Prompt
from arbitrage.runs.manifest import RunPlan

UNKNOWN_LICENCE = "unknown"
"""Stands for a licence nobody stated. It is never in a set of allowed ones by accident: it must be named too."""


@dataclass(frozen=True, slots=True)
class TeacherFacts:
    """What a run's plan says of one teacher."""

    name: str
    model: str
    revision: str
    licence: str
    precision: str
    languages: tuple[str, ...]
    source_licences: tuple[str, ...] = ()  # of those whose answers it read, where it fused them


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one prompt comes from, and who may have answered it."""

    source: str
    source_id: str
    prompt_licence: str
    teachers: Mapping[str, TeacherFacts]

    def licences(self, *teachers: str) -> tuple[str, ...]:
        """Return the licences that bind a row made from this prompt and answers of these teachers, sorted."""
        facts = [self._facts(name) for name in teachers]
        read = {licence for each in facts for licence in each.source_licences}
        return tuple(sorted({self.prompt_licence, *(each.licence for each in facts), *read}))

    def revision(self, teacher: str) -> str:
        """Return the revision of a teacher's weights."""
        return self._facts(teacher).revision

    def _facts(self, teacher: str) -> TeacherFacts:
        return self.teachers.get(teacher) or nothing_known_of(teacher)


def origin_of(prompt: Prompt, teachers: Mapping[str, TeacherFacts]) -> Origin:
    """Return the origin of rows made from a prompt."""
    return Origin(prompt.source, prompt.source_id, prompt.licence or UNKNOWN_LICENCE, teachers)


def teachers_of(plan: RunPlan, candidates: Iterable[str]) -> dict[str, TeacherFacts]:
    """Read from a run's plan what is known of the teachers behind the named draft steps."""
    wanted = set(candidates)
    configs = [step.config for step in plan.steps if step.name in wanted]
    found = [_facts(config) for config in configs if isinstance(config.get("teacher"), dict)]
    return {facts.name: facts for facts in sorted(found, key=lambda f: f.name)}


def nothing_known_of(teacher: str) -> TeacherFacts:
    """Return what can be said of a teacher that the plan does not describe."""
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
