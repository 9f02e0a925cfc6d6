"""Who reads answers in a run, and how much, before anything starts: reviewers, adjudicators, the fuser."""

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
"""What a teacher is asked to do."""

FRAME_TOKENS = 250
"""Of a question about answers, beside what is quoted: the criteria, the marks, how to reply."""

_TASKS: tuple[tuple[type[GenerateConfig], Task], ...] = (
    (ReviewStep, "review"),
    (AdjudicateStep, "adjudicate"),
    (FuseStep, "fuse"),
)

Lengths = Callable[[Step], float]
"""Step → tokens that one of its answers is expected to have."""


@dataclass(frozen=True, slots=True)
class PromptReadingStep:
    """A step whose teacher is asked about answers of others.

    Attributes:
        shards: those left to do.
        quoted: tokens of one answer, and of the reviews beside it.
    """

    task: Task
    step: Step
    config: GenerateConfig
    shards: frozenset[int]
    quoted: float

    def reads(self, prompt: Prompt, answers: Mapping[str, int]) -> int:
        """Return the answers to a prompt that it reads; answers: teacher → how many it gives."""
        return _read_by(self.step, prompt, answers)

    def calls(self, prompt: Prompt, answers: Mapping[str, int]) -> int:
        """Return the calls about a prompt, at most: one for each answer; of a fuser, one for all."""
        reads = self.reads(prompt, answers)
        return min(reads, 1) if self.task == "fuse" else reads


def readers(execution: ExecutionPlan, length: Lengths) -> list[PromptReadingStep]:
    """Return the steps that ask teachers about answers."""
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
    """Calls about answers, by (task, teacher, language)."""

    prompts: Counter[tuple[Task, str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[Task, str, str]] = field(default_factory=Counter)
    characters: Counter[tuple[Task, str, str]] = field(default_factory=Counter)
    quoted: Counter[tuple[Task, str, str]] = field(default_factory=Counter)
    configs: dict[tuple[Task, str], GenerateConfig] = field(default_factory=dict)

    def count(self, readers: list[PromptReadingStep], prompt: Prompt, shard: int, answers: Mapping[str, int]) -> None:
        """Count what one prompt asks of them."""
        seen = set()
        num_characters = sum(len(message.content) for message in prompt.messages)
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
    """Return how many answers to a prompt a step writes, at most."""
    if isinstance(source.config, FuseStep):
        return min(1, _read_by(source, prompt, answers))
    return answers.get(source.config.teacher.name, 0) if isinstance(source.config, GenerateConfig) else 0
