"""The worker of every prompt source: reads raw rows, yields batches of prompts and rejects; rejects exact duplicates.

Hashes of prompts take ten bytes each: 100 MB for ten million rows, where a set of ints would take 800 MB.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

import numpy as np

from arbitrage.contracts.workers import Batch
from arbitrage.errors import DataError
from arbitrage.inputs.columns import MEDIA_NAMES
from arbitrage.inputs.rows import InputFile, InputRow, RowError, RowFault, RowReject
from arbitrage.inputs.tables import checked_rows
from arbitrage.prompts.builder import PromptBuilder
from arbitrage.prompts.options import ReadOptions
from arbitrage.records import Prompt, Reject

SMALLEST_MERGE = 1 << 16
MERGED_SHARE = 16
"""New hashes are merged when there are more of them than the minimum, and than this share of the merged ones."""


class SeenHashes:
    """A set of 64-bit hashes: new ones in a Python set, all others in one sorted array.

    The probability that two different prompts of ten million share a hash is 1 in 370,000.
    """

    def __init__(self, smallest_merge: int = SMALLEST_MERGE) -> None:
        self._smallest_merge = smallest_merge
        self._new: set[int] = set()
        self._old = np.empty(0, dtype=np.uint64)

    def __contains__(self, value: int) -> bool:
        if value in self._new:
            return True
        place = int(np.searchsorted(self._old, np.uint64(value)))
        return place < len(self._old) and int(self._old[place]) == value

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def add(self, value: int) -> None:
        """Add a hash of 64 bits that is not in it yet."""
        self._new.add(value)
        if len(self._new) > max(self._smallest_merge, len(self._old) // MERGED_SHARE):
            new = np.fromiter(self._new, dtype=np.uint64, count=len(self._new))
            self._old = np.sort(np.concatenate([self._old, new]), kind="stable")  # two sorted runs: fast
            self._new = set()


BATCH_ROWS = 1000
BATCH_CHARS = 4_000_000
"""A batch ends at the first of these limits; 4 M characters keep it under 16 MB."""


class PromptReader:
    """Reads a source from its beginning each time `read` is called.

    Memory: one batch, and about ten bytes for each distinct prompt and each distinct id.
    """

    def __init__(self, options: ReadOptions, open_parts: Callable[[], Iterator[InputFile]]) -> None:
        self._options = options
        self._open_parts = open_parts

    def read(self) -> Iterator[Batch]:
        """Yield batches in the order of the source.

        Raises:
            ConfigError: a configured column is missing.
            DataError: the source cannot be read, or holds no rows at all.
        """
        reading = _Reading(self._options)
        for part in self._open_parts():
            yield from reading.read(part)
        yield from reading.finish()


class _Reading:
    """One pass over a source: the current batch, and the hashes read so far."""

    def __init__(self, options: ReadOptions) -> None:
        self._columns = options.columns.mapping()
        self._merges = options.repeats == "merge"
        self._builder = PromptBuilder(options)
        self._prompt_ids, self._given_ids = SeenHashes(), SeenHashes()
        self._part_names: list[str] = []
        self._num_rows = 0
        self._begin_batch()

    def read(self, part: InputFile) -> Iterator[Batch]:
        self._part_names.append(part.name)
        self._builder.notes.update(part.notes)
        if part.columns is not None:  # a format whose other columns are not read has no rows that show them
            media = MEDIA_NAMES.intersection(part.columns)
            self._builder.notes.update(f"column_not_read:{name}" for name in media)
        num_before = self._num_rows
        for row in checked_rows(part, lambda present: self._check(present, part.name), needs_one=False):
            self._num_rows += 1
            self._take(row, part.name)
            if len(self._prompts) + len(self._rejects) >= BATCH_ROWS or self._num_chars >= BATCH_CHARS:
                yield self._end_batch()
        self._builder.notes["empty_file"] += self._num_rows == num_before

    def _check(self, present: Sequence[str], where: str) -> None:
        self._columns.check(present, where, ("prompt", "messages"))

    def finish(self) -> Iterator[Batch]:
        if not self._num_rows:
            raise DataError(f"{', '.join(self._part_names[:5]) or 'the source'}: holds no rows")
        yield self._end_batch()

    def _take(self, row: InputRow | RowFault, source: str) -> None:
        if isinstance(row, RowFault):
            self._refuse(row.position, row.reason, row.detail)
            return
        try:
            prompt, given_id = self._builder.build(row, source)
            if self._merges and _number(prompt) in self._prompt_ids:
                self._builder.notes["merged_rows"] += 1
                return
            self._check_new(prompt, given_id)
        except RowError as error:
            self._refuse(row.position, error.reason, error.detail)
            return
        self._prompts.append(prompt)
        self._num_chars += sum(len(message.shown) for message in prompt.messages) + len(prompt.tools or "")

    def _check_new(self, prompt: Prompt, given_id: str | None) -> None:
        prompt_id = _number(prompt)
        if prompt_id in self._prompt_ids:
            raise RowError("duplicate_prompt", f"the same text as an earlier {prompt.prompt_id}")
        if given_id is not None:
            # Translations of one prompt may share an id: published parallel sets number each language from 0.
            digest = int.from_bytes(blake2b(f"{prompt.language} {given_id}".encode(), digest_size=8).digest())
            if digest in self._given_ids:
                raise RowError("duplicate_id", f"another prompt in {prompt.language} has the id '{given_id[:60]}'")
            self._given_ids.add(digest)
        self._prompt_ids.add(prompt_id)

    def _refuse(self, position: str, reason: RowReject, detail: str) -> None:
        self._rejects.append(Reject(item_id=position, reason=reason, detail=detail))

    def _begin_batch(self) -> None:
        self._prompts: list[Prompt] = []
        self._rejects: list[Reject] = []
        self._num_chars = 0
        self._builder.notes.clear()

    def _end_batch(self) -> Batch:
        notes = {key: count for key, count in sorted(self._builder.notes.items()) if count}
        batch = Batch(self._prompts, self._rejects, notes)
        self._begin_batch()
        return batch


def _number(prompt: Prompt) -> int:
    """Return the first 64 bits of a prompt's id."""
    return int(prompt.prompt_id[:16], 16)
