"""A data set as one side of a match: its responses, joined on prompt id or on the prompt's text.

answers-a    a Candidate for each prompt with a response in the data set; a Reject for each without
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from arbitrage.config import Config, Operational, Paths, Raw
from arbitrage.contracts.steps import Step, StepConfig, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output, ShardWorker
from arbitrage.errors import DataError
from arbitrage.inputs.columns import ResponseColumns, ResponseRole
from arbitrage.inputs.messages import conversation, turns_of
from arbitrage.inputs.notes import note_text
from arbitrage.inputs.rows import InputRow, RowError, RowFault
from arbitrage.inputs.tables import checked_rows, find_tables, open_table
from arbitrage.inputs.values import id_text
from arbitrage.languages import read_language
from arbitrage.records import Candidate, FinishReason, Message, Prompt, Reject, content_id, nfc
from arbitrage.tables import to_table
from arbitrage.text.reasoning_formats import split_foreign_text

SideName = Literal["a", "b"]
NO_ANSWER = "no_answer"
"""Why a prompt makes no match: the data set has no response to it, or no readable one."""


class ResponseFiles(Config):
    """A data set of responses.

    Attributes:
        label: name in reports.
        paths: Parquet or JSON Lines files, globs, directories.
        prompts: shards of the run that the responses come from; without them, the rows hold the prompts.
        teacher: teacher whose responses are used, if the rows name several teachers; None: all.
        columns: which column holds what.
    """

    kind: Literal["data"] = "data"
    label: Annotated[str, Operational]
    paths: Paths
    prompts: tuple[str, ...] = ()
    teacher: str | None = None
    columns: ResponseColumns = ResponseColumns()

    def identity(self) -> Raw:
        """Identify the files by their content."""
        return super().identity() | {"paths": _digests(self.paths), "prompts": _digests(self.prompts)}

    def rows(self, where: str, lost: Counter[str] | None = None) -> Iterator[InputRow]:
        """Yield the readable rows. Prompts of unreadable rows have no response.

        Args:
            where: name in error messages.
            lost: gets the number of unreadable rows.

        Raises:
            DataError: no row is by the teacher wanted.
        """
        others: set[str] = set()
        is_found = self.teacher is None
        lost = Counter() if lost is None else lost
        for row in rows_of(self.paths, self.columns, "answer", where, lost):
            if not isinstance(row, InputRow):
                lost["rows that cannot be read"] += 1
                continue
            by = id_text(self.columns.value(row.values, "teacher")) or "None"
            if self.teacher in (None, by):
                is_found = True
                yield row
            elif len(others) < 20:
                others.add(by)
        if not is_found:
            raise DataError(f"{self.label}: no row is by '{self.teacher}'; there are {', '.join(sorted(others))}")

    def key(self, values: Mapping[str, Any]) -> str | None:
        """Return the key of a row's prompt: its id, else its text; None if it has neither."""
        given = id_text(self.columns.value(values, "id"))
        if given is not None:
            return given
        messages = messages_in(self.columns.value(values, "prompt"))
        return None if messages is None else text_key(messages)

    def language(self, values: Mapping[str, Any]) -> str | None:
        """Return the language that a row declares, canonical; None if there is no known one."""
        given = self.columns.value(values, "language")
        return read_language(given) if isinstance(given, str) else None


def rows_of(
    paths: Sequence[str], columns: ResponseColumns, wanted: ResponseRole, where: str, lost: Counter[str] | None = None
) -> Iterator[InputRow | RowFault]:
    """Yield the rows of files, globs or folders, file after file.

    Args:
        paths: files, globs or folders.
        columns: which column holds what; checked against each file.
        wanted: the role that every file must have.
        where: name in error messages.
        lost: gets the files that are not read.

    Raises:
        UserError: a path matches nothing, or a column is missing.
        DataError: a file cannot be read.
    """
    found, mapping = find_tables(paths, where), columns.mapping()
    if lost is not None:
        lost.update({note_text(note): count for note, count in found.notes.items()})
    for file in found.files:
        part = open_table(file, mapping.needed)
        check = partial(mapping.check, where=file.shown, wanted=(wanted,))
        yield from checked_rows(part, check, needs_one=True)


def read_response_files(config: ResponseFiles, side: SideName, prompts: Step) -> Step:
    """Return the step that joins a data set's responses with the prompts."""
    return Step(
        facts=StepFacts(verb="answers", label=side, teacher=side),
        config=ReadResponses(data=config, side=side),
        produces=Candidate,
        inputs={"prompts": (prompts,)},
        pool=f"answers-{side}",  # one worker for all shards: the files are read once
    )


class ReadResponses(StepConfig):
    """Joins a data set's responses with prompts."""

    step_kind: ClassVar[str] = "read_responses"

    data: ResponseFiles
    side: SideName

    def build(self) -> "ResponseReader":
        """Read the data set."""
        return ResponseReader(self.side, load_responses(self.data, f"side {self.side}"))


@dataclass(frozen=True, slots=True)
class Responses:
    """Responses by the key of their prompt and the declared language, in the order of the files."""

    texts: Mapping[tuple[str, str | None], Sequence[str]] = field(default_factory=dict)

    def to(self, prompt: Prompt) -> Sequence[str]:
        """Return the responses to a prompt: by our id, the source's id, or the text."""
        for key in (prompt.prompt_id, prompt.source_id, text_key(prompt.messages)):
            for language in (prompt.language, None):
                if found := self.texts.get((key, language)):
                    return found
        return ()


def load_responses(config: ResponseFiles, where: str) -> Responses:
    """Read a data set into memory.

    Raises:
        UserError: a path matches nothing, or a column is missing.
        DataError: a file cannot be read.
    """
    texts: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)
    for key, text in _keyed(config, where, Counter()):
        texts[key].append(text)
    return Responses(dict(texts))


def count_lost(config: ResponseFiles, where: str) -> Counter[str]:
    """Read a data set once more; count the rows that give no response, by reason.

    Raises like `read_answers`.
    """
    lost: Counter[str] = Counter()
    deque(_keyed(config, where, lost), maxlen=0)
    return lost


def _keyed(config: ResponseFiles, where: str, lost: Counter[str]) -> Iterator[tuple[tuple[str, str | None], str]]:
    """Yield the key and language of each response's prompt, and the response."""
    for row in config.rows(where, lost):
        key, messages = config.key(row.values), _turns(config.columns.value(row.values, "answer"))
        if not messages:
            lost["rows without a response"] += 1
        elif key is None:
            lost["rows without an id or a prompt"] += 1
        elif (split := split_foreign_text(messages[-1])[0]).is_open:
            lost["rows that end inside the reasoning"] += 1
        else:
            yield (key, config.language(row.values)), split.text


class ResponseReader(ShardWorker):
    """Looks responses up for the prompts of shards."""

    def __init__(self, side: SideName, found: Responses) -> None:
        self._side = side
        self._answers = found

    def items(self, inputs: Inputs) -> list[Item]:
        """List the responses, and one item for each prompt without any."""
        return [
            Item(self._id(prompt, index), prompt.language, self._side)
            for prompt in inputs.records("prompts", Prompt)
            for index in range(max(1, len(self._answers.to(prompt))))
        ]

    async def run(self, inputs: Inputs) -> Output:
        """Return a Candidate for each response, in the order of the prompts, and a Reject for each other prompt."""
        rows: list[Candidate] = []
        rejects: list[Reject] = []
        for prompt in inputs.records("prompts", Prompt):
            found = self._answers.to(prompt)
            rows += [self._candidate(prompt, index, text) for index, text in enumerate(found)]
            if not found:
                rejects.append(Reject(item_id=self._id(prompt, 0), reason=NO_ANSWER))
        return Output(to_table(rows, Candidate), to_table(rejects, Reject))

    def _id(self, prompt: Prompt, index: int) -> str:
        return content_id("answer", self._side, prompt.prompt_id, index)

    def _candidate(self, prompt: Prompt, index: int, text: str) -> Candidate:
        return Candidate(
            candidate_id=self._id(prompt, index),
            prompt_id=prompt.prompt_id,
            teacher=self._side,
            revision="recorded",
            sample_index=index,
            seed=0,
            text=text,
            finish_reason=FinishReason.STOP,
        )


def messages_in(value: Any) -> tuple[Message, ...] | None:
    """Return the prompt's messages, from text or a list of messages; None if it is neither."""
    if value is None:
        return None
    try:
        return conversation(value).messages
    except RowError:
        return None


def text_key(messages: Sequence[Message]) -> str:
    """Return the key of a prompt without an id: a hash of its messages."""
    return content_id("text", *(part for m in messages for part in (m.role, nfc(m.shown).strip())))


def _turns(value: Any) -> list[str]:
    try:
        return [] if value is None else turns_of(value)
    except RowError:
        return []


def _digests(paths: Sequence[str]) -> list[str]:
    return [file.identity[1] for file in find_tables(paths, "judge").files] if paths else []
