"""Export formats: the columns that a trainer reads, built row by row, and the files beside the data.

Every row also has provenance columns, whose names no trainer interprets (`tests/export/test_formats.py` lists the
names that trainers do interpret).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from arbitrage.export.origin import Origin
from arbitrage.records import Message, PreferencePair, Record, SftExample

Trainer = Literal["trl", "axolotl", "llamafactory", "open-instruct", "nemo-rl"]
FileType = Literal["parquet", "jsonl"]
ReasoningForm = Literal["reasoning_content", "thinking", "inline"]
"""Where reasoning stands: in a key of the answer's message, or in `<think>` before its text."""

KEY_OR_INLINE: tuple[ReasoningForm, ...] = ("reasoning_content", "thinking", "inline")
INLINE: tuple[ReasoningForm, ...] = ("inline",)

ToolForm = Literal["openai", "sharegpt"]
"""Tools as OpenAI's protocol has them; or calls as turns of the role `function_call`, whose text is JSON."""

Objection = Literal["turns_do_not_alternate", "tools_not_read", "text_beside_calls"]
"""Why a conversation cannot be represented for a trainer: it reads no tools in such rows, or no text beside calls."""


@dataclass(frozen=True, slots=True)
class RowFormat:
    """How one kind of record becomes a row: the row's record, and the function from (record, origin) to it."""

    record: type[Record]
    build: Callable[[Any, Origin], Record]


@dataclass(frozen=True, slots=True)
class DatasetShape:
    """Facts about a written data set, for the side files and the card."""

    dataset: str
    kind: str  # name of the record it was made from
    languages: tuple[str, ...]
    splits: tuple[str, ...]
    reasoning: ReasoningForm | None = None  # None: no row has reasoning
    lacks_reasoning: bool = True  # some answer has none
    has_tools: bool = False  # rows have a column `tools`


@dataclass(frozen=True, slots=True)
class Format:
    """One trainer's format.

    Attributes:
        trainer: name of the trainer.
        file_type: type of the data files.
        rows: record name → format of its rows.
        reject_reason: reason why a conversation cannot be represented for this trainer, or None.
        sidecars: file name → text of the files beside the data.
        usage: a Markdown block for the card that shows how to train.
        mixed_note: what to do where some answers of a data set have no reasoning, in Markdown.
        reasoning: record name → the forms of reasoning that the trainer reads, its own first.
        tools: record name → the form of tools that the trainer reads in such rows; other rows with tools are skipped.
    """

    trainer: Trainer
    file_type: FileType
    rows: Mapping[str, RowFormat]
    usage: Callable[[DatasetShape], str]
    reasoning: Mapping[str, tuple[ReasoningForm, ...]]
    tools: Mapping[str, ToolForm]
    reject_reason: Callable[[tuple[Message, ...]], Objection | None] = lambda _: None
    sidecars: Callable[[DatasetShape], Mapping[str, str]] = lambda _: {}
    mixed_note: Callable[[DatasetShape], str] = lambda _: ""


class SftFacts(Record):
    """Provenance of an SFT row."""

    prompt_id: str
    language: str
    candidate_id: str
    teacher: str
    revision: str
    score: float | None
    strategy: str
    licences: tuple[str, ...]  # of the prompt and the teacher
    source: str
    source_id: str


class PairFacts(Record):
    """Provenance of a preference row."""

    prompt_id: str
    language: str
    chosen_id: str
    rejected_id: str
    chosen_teacher: str
    rejected_teacher: str
    chosen_revision: str
    rejected_revision: str
    chosen_score: float
    rejected_score: float
    score_gap: float
    reward: str
    policy: str
    iteration: int
    licences: tuple[str, ...]  # of the prompt and both teachers
    source: str
    source_id: str


def sft_facts(example: SftExample, origin: Origin) -> dict[str, Any]:
    """Return the fields of SftFacts."""
    return {
        "prompt_id": example.prompt_id,
        "language": example.language,
        "candidate_id": example.candidate_id,
        "teacher": example.teacher,
        "revision": origin.revision(example.teacher),
        "score": example.score,
        "strategy": example.strategy,
        "licences": origin.licences(example.teacher),
        "source": origin.source,
        "source_id": origin.source_id,
    }


def pair_facts(pair: PreferencePair, origin: Origin) -> dict[str, Any]:
    """Return the fields of PairFacts."""
    return {
        "prompt_id": pair.prompt_id,
        "language": pair.language,
        "chosen_id": pair.chosen_id,
        "rejected_id": pair.rejected_id,
        "chosen_teacher": pair.chosen_teacher,
        "rejected_teacher": pair.rejected_teacher,
        "chosen_revision": origin.revision(pair.chosen_teacher),
        "rejected_revision": origin.revision(pair.rejected_teacher),
        "chosen_score": pair.chosen_score,
        "rejected_score": pair.rejected_score,
        "score_gap": pair.score_gap,
        "reward": pair.reward,
        "policy": pair.policy,
        "iteration": pair.iteration,
        "licences": origin.licences(pair.chosen_teacher, pair.rejected_teacher),
        "source": origin.source,
        "source_id": origin.source_id,
    }
