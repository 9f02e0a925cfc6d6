"""Completions recorded elsewhere: anyone can re-route, re-score and re-select without generating."""

from collections.abc import AsyncGenerator, Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from arbitrage.config import Config, Operational, Paths
from arbitrage.contracts.engines import Completion, Failure, GenerationRequest
from arbitrage.errors import DataError
from arbitrage.models import digest_files
from arbitrage.records import FinishReason, content_id, nfc
from arbitrage.teachers.engine import EngineBase, Finding, ModelSpec, Result, refuse_empty
from arbitrage.teachers.recordings import Recordings, expand_paths, read_recordings

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class RecordedColumns(Config):
    """Which columns hold what.

    Attributes:
        key: what a prompt is found by, as `match` says: its id, its source id, or its text.
        language: the recording's language, where the key alone does not tell prompts apart.
        text: the answer; a list of answers if the column holds conversations of several turns (see `turn`).
        finish_reason: "stop" or "length"; without it every answer counts as stopped by itself.
        prompt_tokens, completion_tokens, cumulative_logprob: numbers, where they were recorded.
    """

    key: str = "prompt_id"
    language: str | None = None
    text: str = "text"
    finish_reason: str | None = None
    prompt_tokens: str | None = None
    completion_tokens: str | None = None
    cumulative_logprob: str | None = None

    def named(self) -> tuple[str, ...]:
        """Return the columns that are read."""
        return tuple(dict.fromkeys(name for name in self.model_dump().values() if name))


class ReplayEngine(EngineBase):
    """Config of `replay`. Several recordings of one prompt are its samples, in the order of files and rows.

    Attributes:
        paths: Parquet or JSONL files, directories, or globs. Their content is the teacher's revision.
        match: how a recording finds its prompt: by prompt_id, by source_id, or by the text of the last user
            message (Unicode form C, outer white space ignored).
        columns: which columns hold what.
        where: keep only the rows with these values, such as {model: aya-8b}; compared as text.
        turn: which answer, where the text column holds a list.
    """

    needs_model: ClassVar[bool] = False

    kind: Literal["replay"] = "replay"
    paths: Annotated[Paths, Operational]  # the revision has their digest
    match: Literal["prompt_id", "source_id", "text"] = "prompt_id"
    columns: RecordedColumns = RecordedColumns()
    where: dict[str, str | int | float | bool] = {}
    turn: Annotated[int, Field(ge=0)] = 0

    def build(self, spec: ModelSpec) -> "Replay":
        """Read the recordings and index them by key."""
        return Replay(self, self._read())

    def recorded_revision(self) -> str:
        """Return the digest of the recordings."""
        return content_id(*(digest_files(path) for path in expand_paths(self.paths)))

    async def check(self, spec: ModelSpec) -> list[Finding]:
        """Read the recordings."""
        try:
            recordings = self._read()
        except DataError as error:
            return [Finding("error", "recordings", str(error))]
        level: Literal["ok", "error"] = "ok" if recordings.num_rows else "error"
        return [Finding(level, "recordings", f"{recordings.num_rows} answers")]

    def _read(self) -> Recordings:
        columns = self.columns
        keys = (columns.key,) if columns.language is None else (columns.key, columns.language)
        normalise = _text_key if self.match == "text" else None
        return read_recordings(self.paths, columns.named(), self.where, keys, normalise)


class Replay:
    """Looks answers up."""

    def __init__(self, config: ReplayEngine, recordings: Recordings) -> None:
        self._config = config
        self._recordings = recordings

    async def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Result, None]:
        """Answer all requests from the recordings."""
        for request in requests:
            yield refuse_empty(request) or self._look_up(request)

    async def close(self) -> None:
        """Drop the recordings."""
        self._recordings = Recordings.empty()

    def _look_up(self, request: GenerationRequest) -> Result:
        columns = self._config.columns
        samples = self._recordings.find(self._key(request))
        if request.sample_index >= len(samples):
            detail = f"{len(samples)} recorded" if samples else None
            return Failure(request.candidate_id, "no_recording", detail)
        row = self._recordings.row(samples[request.sample_index])
        text = self._text(row[columns.text])
        if text is None:
            return Failure(request.candidate_id, "no_recording", "the recorded answer is null or not text")
        finish = str(row[columns.finish_reason]) if columns.finish_reason else "stop"
        return Completion(
            candidate_id=request.candidate_id,
            text=text,
            finish_reason=_FINISH.get(finish, FinishReason.STOP),
            prompt_tokens=_whole(row, columns.prompt_tokens),
            completion_tokens=_whole(row, columns.completion_tokens),
            cumulative_logprob=_number(row, columns.cumulative_logprob),
        )

    def _key(self, request: GenerationRequest) -> tuple[str, ...]:
        match self._config.match:
            case "prompt_id":
                key = request.prompt_id
            case "source_id":
                key = request.source_id
            case "text":
                key = _text_key(next((m.content for m in reversed(request.messages) if m.role == "user"), ""))
        return (key,) if self._config.columns.language is None else (key, request.language)

    def _text(self, value: object) -> str | None:
        if isinstance(value, list):
            value = value[self._config.turn] if self._config.turn < len(value) else None
        return value if isinstance(value, str) else None


def _text_key(text: str) -> str:
    return nfc(text).strip()


def _number(row: dict[str, object], column: str | None) -> float | None:
    value = row[column] if column else None
    return float(value) if isinstance(value, int | float) else None


def _whole(row: dict[str, object], column: str | None) -> int | None:
    value = _number(row, column)
    return int(value) if value is not None and value == int(value) else None
