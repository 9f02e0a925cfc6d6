"""Where texts come from: Parquet and JSON Lines, ours or foreign, or the candidate table of a run."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa

from arbitrage.candidates.table import CandidateTable
from arbitrage.inputs.rows import InputRow, RowError, RowFault
from arbitrage.inputs.tables import checked_rows, find_tables, open_table
from arbitrage.profile.entries import EntryBuilder, ProfileEntry
from arbitrage.runs.run import PLAN_FILE, open_run


@dataclass
class ProfileReader:
    """Reads one data set, counting the rows that cannot be read.

    Attributes:
        patterns: files, globs, directories, run directories.
        builder: turns rows into entries.
        rejected: reason → rows, filled while reading.
        examples: reason → place and detail of the first.
        notes: what lies beside the files and is not read.
    """

    patterns: Sequence[str]
    builder: EntryBuilder
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    num_rows: int = 0

    def entries(self) -> Iterator[ProfileEntry]:
        """Yield every text, file after file.

        Raises:
            UserError: a path matches nothing, or a column is missing.
            DataError: a file cannot be read.
        """
        files: list[str] = []
        for pattern in self.patterns:
            if (Path(pattern) / PLAN_FILE).is_file():
                yield from self._rows(_candidates(Path(pattern)))
            else:
                files.append(pattern)
        if not files:
            return
        found, columns = find_tables(files, "DATA"), self.builder.columns
        self.notes.update(found.notes)
        for file in found.files:
            part = open_table(file, columns.needed)
            check = partial(columns.check, where=file.shown, wanted=("text", "messages"))
            yield from self._rows(checked_rows(part, check, needs_one=True))

    def _rows(self, rows: Iterator[InputRow | RowFault]) -> Iterator[ProfileEntry]:
        for row in rows:
            self.num_rows += 1
            if isinstance(row, RowFault):
                self._refuse(row.position, row.reason, row.detail)
                continue
            try:
                found = self.builder.build(row, self.notes)
            except RowError as error:
                self._refuse(row.position, error.reason, error.detail)
                continue
            yield from found

    def _refuse(self, position: str, reason: str, detail: str) -> None:
        self.rejected[reason] += 1
        self.examples.setdefault(reason, f"{position}: {detail}")


def _candidates(path: Path) -> Iterator[InputRow | RowFault]:
    """Yield the candidates of a run beside their prompt's language and source, one shard in memory at a time."""
    for shard in CandidateTable.of(open_run(path)).shards():
        prompts = shard.prompts.select(["language", "source"]).take(pa.array(shard.prompt_rows(shard.candidates)))
        for row, prompt in zip(shard.candidates.to_pylist(), prompts.to_pylist(), strict=True):
            yield InputRow(f"{path}:{row['candidate_id']}", row | prompt)
