"""Calls that read candidates, before a run starts: reviewers, adjudicators, the fusing teacher."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from arbitrage.contracts.steps import Step
from arbitrage.execution.plan import ExecutionPlan
from arbitrage.judging.committee import AdjudicateStep
from arbitrage.judging.review import ReviewStep
from arbitrage.languages import speaks
from arbitrage.records import Prompt
from arbitrage.teachers.fuse import FuseStep
from arbitrage.teachers.generate import GenerateConfig
from arbitrage.teachers.pool import TeacherConfig, usable_languages

Task = Literal["answer", "review", "adjudicate", "fuse"]
"""Task of a teacher."""

FRAME_TOKENS = 250
"""Tokens of a request about candidates besides the quoted texts: criteria, marks, instructions."""

_TASKS: tuple[tuple[type[GenerateConfig], Task], ...] = (
    (ReviewStep, "review"),
    (AdjudicateStep, "adjudicate"),
    (FuseStep, "fuse"),
)

Lengths = Callable[[Step], float]
"""Step → expected tokens of one of its completions."""


@dataclass(frozen=True, slots=True)
class PromptReadingStep:
    """A step whose teacher reads candidates of other teachers.

    Attributes:
        shards: shards left to do.
        quoted: tokens of one candidate, and of the reviews beside it.
    """

    task: Task
    step: Step
    config: GenerateConfig
    shards: frozenset[int]
    quoted: float

    def reads(self, prompt: Prompt, answers: Mapping[str, int]) -> int:
        """Return the candidates of a prompt that it reads; answers: teacher → number of candidates."""
        return _read_by(self.step, prompt, answers)

    def calls(self, prompt: Prompt, answers: Mapping[str, int]) -> int:
        """Return the maximum number of calls about a prompt: one per candidate; for fusion one in total."""
        reads = self.reads(prompt, answers)
        return min(reads, 1) if self.task == "fuse" else reads


def readers(execution: ExecutionPlan, length: Lengths) -> list[PromptReadingStep]:
    """Return the steps whose teachers read candidates."""
    found = []
    for planned in execution.steps:
        config, task = planned.step.config, _task_of(planned.step)
        if task is not None and isinstance(config, GenerateConfig):
            candidates, reviews = (planned.step.inputs.get(role, ()) for role in ("candidates", "reviews"))
            quoted = max(map(length, candidates)) + sum(map(length, reviews)) * (task == "adjudicate")
            found.append(PromptReadingStep(task, planned.step, config, frozenset(planned.missing), quoted))
    return found


@dataclass(frozen=True, slots=True)
class Readings:
    """Calls about candidates, by (task, teacher, language)."""

    prompts: Counter[tuple[Task, str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[Task, str, str]] = field(default_factory=Counter)
    characters: Counter[tuple[Task, str, str]] = field(default_factory=Counter)
    quoted: Counter[tuple[Task, str, str]] = field(default_factory=Counter)
    configs: dict[tuple[Task, str], GenerateConfig] = field(default_factory=dict)

    def count(self, readers: list[PromptReadingStep], prompt: Prompt, shard: int, answers: Mapping[str, int]) -> None:
        """Add the calls about one prompt."""
        seen = set()
        num_characters = sum(len(message.shown) for message in prompt.messages)
        for reader in readers:
            calls = reader.calls(prompt, answers) if shard in reader.shards else 0
            if not calls:
                continue
            teacher: TeacherConfig = reader.config.teacher
            key = (reader.task, teacher.name, prompt.language)
            self.configs[key[:2]] = reader.config
            self.calls[key] += calls
            self.characters[key] += calls * num_characters
            self.quoted[key] += round(reader.reads(prompt, answers) * reader.quoted) + calls * FRAME_TOKENS
            self.prompts[key] += key not in seen
            seen.add(key)


def _task_of(step: Step) -> Task | None:
    return next((task for kind, task in _TASKS if isinstance(step.config, kind)), None)


def _read_by(step: Step, prompt: Prompt, answers: Mapping[str, int]) -> int:
    config = step.config
    num = sum(_written(source, prompt, answers) for source in step.inputs["candidates"])
    if not isinstance(config, FuseStep):
        return num
    is_spoken = any(speaks(tag, prompt.language) for tag in usable_languages(config.teacher))
    return min(num, config.fusion.max_candidates) if num > 1 and is_spoken and config.fusion.wants(prompt) else 0


def _written(source: Step, prompt: Prompt, answers: Mapping[str, int]) -> int:
    """Return the maximum number of candidates that a step writes for a prompt."""
    if isinstance(source.config, FuseStep):
        return min(1, _read_by(source, prompt, answers))
    return answers.get(source.config.teacher.name, 0) if isinstance(source.config, GenerateConfig) else 0
