"""Replay completions that were recorded elsewhere: route, score and select again without generation."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

import pyarrow as pa
from pydantic import Field

from arbitrage.config import Operational, Paths, Raw
from arbitrage.contracts.engines import Completion, Failure, GenerationFailure, GenerationRequest
from arbitrage.errors import DataError
from arbitrage.inputs.columns import ColumnMap, ColumnNames, pick
from arbitrage.inputs.messages import AssistantTurn, assistant_turns
from arbitrage.inputs.rows import RowError, count_note
from arbitrage.inputs.values import count_of, id_text, is_missing, number_of, sound
from arbitrage.records import FinishReason, content_id, nfc
from arbitrage.teachers.engines.engine import EngineOptions, ModelSpec, Result, UsabilityCheck, refuse_empty
from arbitrage.teachers.engines.finish_reasons import FinishKind, read_finish
from arbitrage.teachers.engines.recordings import Recorded, RecordingReader, Recordings, find_recordings
from arbitrage.teachers.reasoning import unfinished
from arbitrage.text.reasoning_formats import ReasoningFormat, format_named, split_text

_SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("reasoning", pa.string()),
        ("kind", pa.string()),
        ("finish", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("reasoning_tokens", pa.int64()),
        ("cumulative_logprob", pa.float64()),
    ]
)


RecordedRole = Literal[
    "key",
    "language",
    "text",
    "reasoning",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cumulative_logprob",
]


_NUMBERS: Mapping[RecordedRole, Callable[[Any], float | None]] = {
    "prompt_tokens": count_of,
    "completion_tokens": count_of,
    "reasoning_tokens": count_of,
    "cumulative_logprob": number_of,
}


class RecordedColumns(ColumnNames[RecordedRole]):
    """Columns of the recordings. A role without a column is not read.

    Attributes:
        key: what a prompt is looked up by, see `match`: its id, its source id, or its text.
        language: the recording's language, if the key alone does not identify a prompt.
        text: the completion, as text or as chat messages; a list of completions if the column holds conversations of
            several turns (see `turn`).
        reasoning: what the model wrote before the answer. Where it stands in the text, between marks, give the
            teacher's `reasoning_parser`.
        finish_reason: values as servers name them; without this column every completion counts as complete. A
            completion that was filtered, calls a tool, ended in an error, or has an unknown value is not replayed.
        prompt_tokens, completion_tokens, reasoning_tokens, cumulative_logprob: numbers, where they were recorded.
    """

    usual = dict.fromkeys(get_args(RecordedRole), ())

    key: str = "prompt_id"
    language: str | None = None
    text: str = "text"
    reasoning: str | None = None
    finish_reason: str | None = None
    prompt_tokens: str | None = None
    completion_tokens: str | None = None
    reasoning_tokens: str | None = None
    cumulative_logprob: str | None = None

    def identity(self) -> Raw:
        """Return the columns that are read."""
        found = super().identity()
        later = ("reasoning", "reasoning_tokens")
        return {name: value for name, value in found.items() if name not in later or value is not None}


class ReplayConfig(EngineOptions):
    """Config of `replay`. Several recordings of one prompt are its samples, in the order of files and rows.

    Attributes:
        paths: Parquet, JSON Lines or CSV files, folders, or globs. Their content is the teacher's revision.
        match: how recordings are joined with prompts: by prompt_id, by source_id, or by the text of the last user
            message (Unicode form C, outer white space ignored).
        columns: which column holds which value.
        where: keep only the rows with these values, such as {model: aya-8b}; compared as text.
        turn: which completion, if the text column holds a list.
    """

    needs_model: ClassVar[bool] = False

    kind: Literal["replay"] = "replay"
    paths: Annotated[Paths, Operational]  # the revision has their digest
    match: Literal["prompt_id", "source_id", "text"] = "prompt_id"
    columns: RecordedColumns = RecordedColumns()
    where: dict[str, str | int | float | bool] = {}
    turn: Annotated[int, Field(ge=0)] = 0

    def build(self, spec: ModelSpec) -> "ReplayEngine":
        """Read the recordings and index them by key."""
        parser = spec.reasoning_parser
        return ReplayEngine(self, self._read(), None if parser in ("auto", "none") else format_named(parser))

    def recorded_revision(self) -> str:
        """Return the digest of the recordings."""
        # Names and order of the files determine the sample numbers; folders' names may hold columns.
        found = find_recordings(self.paths).files
        return content_id(*(str(part) for file in found for part in file.identity[1:]))

    async def check(self, spec: ModelSpec) -> list[UsabilityCheck]:
        """Read the recordings."""
        try:
            recordings = self._read()
        except DataError as error:
            return [UsabilityCheck("error", "recordings", str(error))]
        level: Literal["ok", "error"] = "ok" if recordings.num_rows else "error"
        beside = {**recordings.lost, **recordings.notes}
        return [
            UsabilityCheck(level, "recordings", f"{recordings.num_rows} answers"),
            *(UsabilityCheck("warn", "recordings", f"{count} {what}") for what, count in sorted(beside.items())),
        ]

    def _read(self) -> Recordings:
        columns = self.columns.mapping()
        normalise = _text_key if self.match == "text" else id_text
        read = _RecordedRow(columns, self.turn).read
        return RecordingReader(columns, self.where, _SCHEMA, read, normalise).read_all(self.paths)


class ReplayEngine:
    """Looks recorded completions up."""

    def __init__(self, config: ReplayConfig, recordings: Recordings, marks: ReasoningFormat | None = None) -> None:
        self._config = config
        self._marks = marks
        self._recordings = recordings

    async def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Result, None]:
        """Serve all requests from the recordings."""
        for request in requests:
            yield refuse_empty(request) or self._look_up(request)

    async def close(self) -> None:
        """Drop the recordings."""
        self._recordings = Recordings()

    def _look_up(self, request: GenerationRequest) -> Result:
        samples = self._recordings.find(self._key(request))
        if request.sample_index >= len(samples):
            detail = f"{len(samples)} recorded" if samples else None
            return Failure(request.candidate_id, "no_recording", detail)
        row = self._recordings.row(samples[request.sample_index])
        if row["kind"] not in ("stop", "length"):
            return _unfinished(request, row["kind"], row["finish"])
        if row["text"] is None:
            return Failure(request.candidate_id, "no_recording", "the recorded completion is null or not text")
        text, reasoning, finish = row["text"], row["reasoning"], FinishReason(row["kind"])
        if reasoning is None and self._marks is not None:
            split = split_text(text, self._marks)
            text, reasoning = split.text, split.reasoning
            if split.is_open:
                return unfinished(request.candidate_id, finish, row["completion_tokens"])
        return Completion(
            candidate_id=request.candidate_id,
            text=text,
            reasoning=reasoning,
            finish_reason=finish,
            prompt_tokens=row["prompt_tokens"],
            completion_tokens=row["completion_tokens"],
            reasoning_tokens=row["reasoning_tokens"],
            cumulative_logprob=row["cumulative_logprob"],
        )

    def _key(self, request: GenerationRequest) -> tuple[str, ...]:
        match self._config.match:
            case "prompt_id":
                key = request.prompt_id
            case "source_id":
                key = request.source_id
            case "text":
                key = _text_key(next((m.content for m in reversed(request.messages) if m.role == "user"), "")) or ""
        return (key,) if self._config.columns.language is None else (key, request.language)


def _unfinished(request: GenerationRequest, kind: FinishKind, value: str) -> Failure:
    """Return why a completion that neither stopped nor reached the limit is not replayed."""
    reasons: Mapping[FinishKind, GenerationFailure] = {
        "filtered": "content_filter",
        "tool_calls": "tool_calls",
        "fault": "engine_error",
    }
    reason = reasons.get(kind, "unknown_finish_reason")
    return Failure(request.candidate_id, reason, f"the recorded finish_reason is '{value}'")


class _RecordedRow:
    """Turns rows of a file into rows of `_SCHEMA`."""

    def __init__(self, columns: ColumnMap[RecordedRole], turn: int) -> None:
        self._columns = columns
        self._turn = turn

    def read(self, values: Mapping[str, Any], notes: Counter[str]) -> Recorded:
        """Return a row, and count what is left out of it."""
        has_finish = "finish_reason" in self._columns.given
        finish = read_finish(self._value(values, "finish_reason")) if has_finish else None
        if finish is not None and finish.kind in ("unknown", "absent"):
            count_note(notes, f"completions whose finish_reason is '{finish.value}': not replayed")
        turn = self._turn_in(self._value(values, "text"))
        text = None if turn is None else turn.text
        if text is None:
            notes["completions that are null or not text"] += 1
        kind, name = ("stop", None) if finish is None else (finish.kind, finish.value)
        beside = self._turn_in(self._value(values, "reasoning"))
        reasoning = beside.text if beside and beside.text else turn and turn.reasoning
        row: dict[str, Any] = {"text": text, "reasoning": reasoning, "kind": kind, "finish": name}
        for role, read in _NUMBERS.items():
            value = self._value(values, role)
            row[role] = read(value)
            if row[role] is None and not is_missing(value):
                count_note(notes, f"values of {role} that are impossible: left out")
        return row

    def _turn_in(self, value: object) -> AssistantTurn | None:
        if isinstance(value, list) and all(isinstance(item, str) or item is None for item in value):
            value = value[self._turn] if self._turn < len(value) else None
        elif isinstance(value, list | Mapping):
            try:
                return next(reversed(assistant_turns(value)), None)
            except RowError:
                return None
        return AssistantTurn(sound(value)) if isinstance(value, str) else None

    def _value(self, values: Mapping[str, Any], role: RecordedRole) -> Any:
        return next((pick(values, name) for name in self._columns.names[role]), None)


def _text_key(value: object) -> str | None:
    return nfc(sound(value)).strip() if isinstance(value, str) else None
