"""Finished runs to export: real steps, executor and selection; the case says what is asked, answered and scored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from arbitrage.contracts.steps import Pipeline, Step, StepConfig
from arbitrage.contracts.workers import Batch, Inputs, Item, Output, ShardWorker, SourceWorker
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import NoProgress
from arbitrage.execution.run import RunRequest, execute
from arbitrage.records import (
    Candidate,
    FinishReason,
    Message,
    Prompt,
    Record,
    Score,
    ToolCall,
    content_id,
    prompt_id_of,
)
from arbitrage.selection.pairs import PairSelection, select_pairs
from arbitrage.selection.sft import SftSelection, select_sft
from arbitrage.tables import to_table
from arbitrage.teachers.engines.fake import FakeConfig
from arbitrage.teachers.pool import TeacherConfig
from tests.support.step_facts import facts_of

LICENCES = {"aya": "CC-BY-NC-4.0", "qwen": "Apache-2.0"}

SPECIAL_TEXTS = {
    "ar": "نعم، \u202bخمسة\u202c.\nسطر «ثانٍ» مع \"اقتباس\" و'آخر'.",
    "sw": "Ndiyo 👩🏽‍🚀🇹🇿\r\n\ttano — `kode`",
    "en": '{"nested": "\\"quotes\\" and \\\\ back\\\\slashes"}\u2028line | pipe',
    "no": "x" * 100_000,
}
"""Answers that break careless writers: marks, emoji, newlines, quotes, 100 kB; 'no' breaks careless YAML."""


@dataclass(frozen=True)
class ExportCase:
    """What the run shall look like: answers are (teacher, text, score); a score of None fails a filter.

    What follows `<call>` in an answer are the arguments of a call of `find_flight`.
    """

    answers: Mapping[str, Sequence[tuple[str, str, float | None]]]  # prompt → its answers
    languages: Mapping[str, str] = field(default_factory=dict)  # prompt → tag, "en" elsewhere
    conversations: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)  # prompt → turns
    licence: str | None = "CC-BY-4.0"  # of all prompts
    reasoning: Mapping[tuple[str, str], str] = field(default_factory=dict)  # prompt, teacher → reasoning
    num_shards: int = 3
    later: Mapping[str, tuple[Message, ...]] = field(default_factory=dict)  # prompt → messages after its text
    tools: Mapping[str, str] = field(default_factory=dict)  # prompt → its tools


def plain_case(per_language: int = 6) -> ExportCase:
    """Four languages, two teachers, one answer of each; the last prompt of each language gets the special text."""
    answers: dict[str, list[tuple[str, str, float | None]]] = {}
    languages: dict[str, str] = {}
    for language, special in SPECIAL_TEXTS.items():
        for number in range(per_language):
            prompt = f"{language} {number}?"
            languages[prompt] = language
            good = special if number == per_language - 1 else f"{language} right {number}"
            pair = [("aya", good, 1.0 + number), ("qwen", f"{language} wrong {number}", -1.0)]
            answers[prompt] = pair if number % 2 else [("aya", pair[1][1], -1.0), ("qwen", good, 1.0 + number)]
    return ExportCase(answers, languages)


def make_run(run_dir: Path, case: ExportCase, pairs: PairSelection | None = None) -> Path:
    """Run a case to its end."""
    request = RunRequest(
        name=run_dir.name,
        kind="preference",
        pipeline=_pipeline(case, pairs or PairSelection()),
        run_dir=run_dir,
        num_shards=case.num_shards,
        shards=tuple(range(case.num_shards)),
        max_rejected=1.0,
        config={"note": "a run made by tests"},
    )
    execute(request, LocalBackend(), NoProgress())
    return run_dir


def prompt_of(text: str, case: ExportCase) -> Prompt:
    turns = case.conversations.get(text) or [("user", text)]
    messages = (*(Message(role=role, content=content) for role, content in turns), *case.later.get(text, ()))
    language = case.languages.get(text, "en")
    return Prompt(
        prompt_id=prompt_id_of(language, messages, case.tools.get(text)),
        language=language,
        messages=messages,
        source="tests",
        source_id=text,
        licence=case.licence,
        tools=case.tools.get(text),
    )


class Given(StepConfig):
    """Rows written in the config, one JSON object each; a source of prompts, else a worker with just these items."""

    step_kind: ClassVar[str] = "test_given"

    record: str
    rows: tuple[str, ...]
    teacher: TeacherConfig | None = None
    revision: str = ""

    def build(self) -> "SourceWorker | ShardWorker":
        return GivenPrompts(self) if self.record == "Prompt" else GivenRows(self)


class GivenPrompts:
    def __init__(self, config: Given) -> None:
        self.config = config

    def read(self) -> Iterator[Batch]:
        yield Batch([Prompt.model_validate_json(row) for row in self.config.rows], [])


class GivenRows:
    def __init__(self, config: Given) -> None:
        self.record: type[Record] = {"Candidate": Candidate, "Score": Score}[config.record]
        self.rows = [self.record.model_validate_json(row) for row in config.rows]

    def items(self, inputs: Inputs) -> list[Item]:
        languages = {p.prompt_id: p.language for p in inputs.records("prompts", Prompt)}
        return [Item(r.candidate_id, languages[r.prompt_id]) for r in self.rows if r.prompt_id in languages]

    async def run(self, inputs: Inputs) -> Output:
        here = {item.item_id for item in self.items(inputs)}
        return Output(to_table([r for r in self.rows if r.candidate_id in here], self.record))

    async def close(self) -> None: ...


def _pipeline(case: ExportCase, pairs: PairSelection) -> Pipeline:
    found = [_answers(text, case) for text in case.answers]
    rows = [candidate for some in found for candidate, _ in some]
    scores = [score for some in found for _, score in some]
    prompts = _given("prompts", [prompt_of(text, case) for text in case.answers], Prompt)
    candidates = [
        _given(f"generate-{name}", [c for c in rows if c.teacher == name], Candidate, prompts, name)
        for name in sorted(LICENCES)
    ]
    raw = [s.model_copy(update={"reward": "rm@1"}) for s in scores if s.value is not None]
    judged = _given("score-rm", raw, Score, prompts)
    final = _given("ensemble", scores, Score, prompts)
    return Pipeline(
        datasets={
            "sft": select_sft(SftSelection(), prompts, candidates, final),
            "preference": select_pairs(pairs, prompts, candidates, final),
        },
        table={"prompts": (prompts,), "candidates": tuple(candidates), "scores": (judged,), "final": (final,)},
    )


def _given(
    name: str, rows: Sequence[Record], record: type[Record], prompts: Step | None = None, teacher: str | None = None
) -> Step:
    config = Given(
        record=record.__name__,
        rows=tuple(row.model_dump_json() for row in rows),
        teacher=None if teacher is None else _teacher(teacher),
        revision="" if teacher is None else f"revision-of-{teacher}",
    )
    inputs = {} if prompts is None else {"prompts": (prompts,)}
    return Step(facts_of(name), config, record, inputs, scope="source" if prompts is None else "shard")


def _teacher(name: str) -> TeacherConfig:
    return TeacherConfig(name=name, engine=FakeConfig(), languages=("en", "sw"), licence=LICENCES[name])


def _answers(text: str, case: ExportCase) -> list[tuple[Candidate, Score]]:
    prompt = prompt_of(text, case)
    found = []
    for index, (teacher, answer, value) in enumerate(case.answers[text]):
        words, _, arguments = answer.partition("<call>")
        call = ToolCall(id="call00001", name="find_flight", arguments=arguments)
        candidate = Candidate(
            candidate_id=content_id("tests", prompt.prompt_id, teacher, index),
            prompt_id=prompt.prompt_id,
            teacher=teacher,
            revision=f"revision-of-{teacher}",
            sample_index=index,
            seed=index,
            text=words,
            tool_calls=(call,) if arguments else None,
            reasoning=case.reasoning.get((text, teacher)),
            finish_reason=FinishReason.STOP,
        )
        score = Score(
            candidate_id=candidate.candidate_id,
            prompt_id=prompt.prompt_id,
            reward="ensemble@1",
            value=value,
            error="filter:language-confusion" if value is None else None,
        )
        found.append((candidate, score))
    return found
