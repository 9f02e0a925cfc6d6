"""Read a data set of a finished run, shard by shard, in the trainer's format."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from arbitrage.candidates.table import CandidateShard, CandidateTable, StoredTables
from arbitrage.contracts.workers import Inputs
from arbitrage.errors import UserError
from arbitrage.export.candidates import CandidateRow, candidate_rows
from arbitrage.export.format import Format, Objection, ReasoningForm, RowFormat
from arbitrage.export.origin import TeacherFacts, origin_of, teachers_of
from arbitrage.export.reasoning import (
    ReasoningChoice,
    RowLayout,
    form_of,
    is_reasoned,
    layout_of,
    sides_with_reasoning,
)
from arbitrage.export.tools import has_tools, objection_to
from arbitrage.records import PreferencePair, Prompt, Record, SftExample, SteeredExample
from arbitrage.runs.run import Run
from arbitrage.tables import from_table

CANDIDATES = "candidates"
"""Name of the candidate table, a data set that every run has."""

_EXPORTABLE: Mapping[str, type[SftExample | PreferencePair | SteeredExample]] = {
    "SftExample": SftExample,
    "SteeredExample": SteeredExample,
    "PreferencePair": PreferencePair,
}


@dataclass(frozen=True, slots=True)
class ExportRow:
    """One row to write, and its facts for the counts.

    Attributes:
        teachers: teachers of its responses, the chosen one first.
        reasoned: which of the responses have reasoning in the run: `answer`, or `chosen` and `rejected`.
        reject_reason: why the row cannot be represented for the trainer, or None.
    """

    row: Record
    prompt_id: str
    language: str
    teachers: tuple[str, ...]
    licences: tuple[str, ...]
    reasoned: tuple[str, ...] = ()
    reject_reason: Objection | None = None


class ExportSource(Protocol):
    """A data set of a run."""

    kind: str  # name of the record it holds
    step: str | None  # the step that selected its rows
    teachers: Mapping[str, TeacherFacts]

    @property
    def record(self) -> type[Record]:
        """The record of the rows to be written."""
        ...

    @property
    def reasoning(self) -> ReasoningForm | None:
        """The form in which rows carry reasoning; None: it is dropped, or no row has any."""
        ...

    @property
    def has_tools(self) -> bool:
        """Whether rows have a column `tools`."""
        ...

    def read(self, shard: int) -> Iterator[ExportRow]:
        """Yield one entry for each row of a shard."""
        ...


class SelectedSource:
    """Rows of a selection step."""

    def __init__(self, run: Run, dataset: str, format: Format, reasoning: ReasoningChoice) -> None:
        self.step: str | None = run.plan.datasets[dataset]
        self._run, self._format, self._plan = run, format, run.step(run.plan.datasets[dataset])
        held = self._plan.record
        self.kind = SftExample.__name__ if held == SteeredExample.__name__ else held  # trainers imitate both alike
        if self.kind not in format.rows or held not in _EXPORTABLE:
            raise UserError(f"data set '{dataset}' holds {held} rows, which {format.trainer} has no format for")
        self._row: RowFormat = format.rows[self.kind]
        try:
            self._form = form_of(format, self.kind, reasoning)
        except ValueError as error:
            raise UserError(f"reasoning: {error}") from error
        self.teachers: Mapping[str, TeacherFacts] = teachers_of(run.plan, self._answers())

    @property
    def record(self) -> type[Record]:
        """The record of the rows to be written."""
        return self._layout.record(self._row.record)

    @property
    def reasoning(self) -> ReasoningForm | None:
        """The form in which rows carry reasoning; None: it is dropped, or no row has any."""
        return self._layout.form

    @property
    def has_tools(self) -> bool:
        """Whether rows have a column `tools`."""
        return self._layout.tools is not None

    @cached_property
    def _layout(self) -> RowLayout:
        tables = (self._run.shard(self._plan.name, shard) for shard in self._run.plan.shards)
        return layout_of(self._form, self._format.tools.get(self.kind), tables, self._format.file_type)

    def _answers(self) -> tuple[str, ...]:
        """Return the steps with its candidates, fused ones last."""
        return (*self._plan.inputs.get("candidates", ()), *self._plan.inputs.get("fused", ()))

    def read(self, shard: int) -> Iterator[ExportRow]:
        """Yield one entry for each row of a shard, in its order."""
        inputs = Inputs(StoredTables(self._run, self._plan.inputs, shard))
        prompts = CandidateShard(inputs).prompts_by_id
        for found in from_table(self._run.shard(self._plan.name, shard), _EXPORTABLE[self._plan.record]):
            item = as_sft(found) if isinstance(found, SteeredExample) else found
            prompt = prompts[item.prompt_id]
            origin = origin_of(prompt, self.teachers)
            teachers = authors(item)
            yield ExportRow(
                row=self._layout.row(self._row.build(self._layout.applied(item), origin), item.tools),
                prompt_id=item.prompt_id,
                language=item.language,
                teachers=teachers,
                licences=origin.licences(*teachers),
                reasoned=sides_with_reasoning(item),
                reject_reason=self._objection(item, prompt),
            )

    def _objection(self, item: SftExample | PreferencePair, prompt: Prompt) -> Objection | None:
        """Return why a row cannot be represented for the trainer, or None."""
        found = objection_to(self._format.tools.get(self.kind), item) if has_tools(item) else None
        return found or self._format.reject_reason(prompt.messages)


class CandidateSource:
    """The candidate table."""

    def __init__(self, run: Run, *, drop_reasoning: bool) -> None:
        self._table, self._drop = CandidateTable.of(run), drop_reasoning
        self.kind = "Candidate"
        self.step: str | None = None
        self.teachers: Mapping[str, TeacherFacts] = teachers_of(run.plan, self._table.steps["candidates"])

    @property
    def record(self) -> type[Record]:
        """The record of the rows to be written."""
        return CandidateRow

    @property
    def reasoning(self) -> ReasoningForm | None:
        """None: reasoning has a column of its own."""
        return None

    @property
    def has_tools(self) -> bool:
        """True: tools have a column of their own."""
        return True

    def read(self, shard: int) -> Iterator[ExportRow]:
        """Yield one entry for each candidate of a shard."""
        for row in candidate_rows(self._table.shard(shard), self.teachers):
            reasoned = ("answer",) if is_reasoned(row.reasoning) else ()
            kept = row.model_copy(update={"reasoning": None}) if self._drop else row
            yield ExportRow(kept, row.prompt_id, row.language, (row.teacher,), row.licences, reasoned)


def open_source(run: Run, dataset: str, format: Format, reasoning: ReasoningChoice) -> ExportSource:
    """Return a data set by name.

    Args:
        run: the run.
        dataset: its name.
        format: of the trainer.
        reasoning: what becomes of it.

    Raises:
        UserError: there is none of that name (the message lists the names), or the trainer has no format for it, or
            for its reasoning in that form.
    """
    if dataset == CANDIDATES:
        return CandidateSource(run, drop_reasoning=reasoning == "drop")
    if dataset not in run.plan.datasets:
        known = ", ".join([*sorted(run.plan.datasets), CANDIDATES])
        raise UserError(f"{run.path}: has no data set '{dataset}'; data sets: {known}")
    return SelectedSource(run, dataset, format, reasoning)


def as_sft(example: SteeredExample) -> SftExample:
    """Return a steered example as an SFT row: its strategy is the objective, or `random_of_k` for the control."""
    return SftExample(
        prompt_id=example.prompt_id,
        language=example.language,
        messages=example.prompt + example.completion,
        reasoning=example.reasoning,
        tools=example.tools,
        candidate_id=example.candidate_id,
        teacher=example.teacher,
        score=None,
        strategy=example.objective,
    )


def authors(item: SftExample | PreferencePair) -> tuple[str, ...]:
    """Return the teachers of a row's responses, the one to imitate first."""
    if isinstance(item, SftExample):
        return (item.teacher,)
    return (item.chosen_teacher, item.rejected_teacher)


def count_candidates(run: Run, steps: Sequence[str]) -> int:
    """Return the number of candidates in the named draft steps, from the manifest."""
    wanted = set(steps)
    return sum(step.num_rows for step in run.manifest.steps if step.name in wanted)
