"""Where texts come from: Parquet and JSON Lines, ours or foreign, or the candidate table of a run."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from arbitrage.errors import DataError, UserError
from arbitrage.profile.entries import Entry, EntryBuilder
from arbitrage.prompts.files import SourceFile, find_files
from arbitrage.prompts.jsonl import JSONL_SUFFIXES, open_jsonl
from arbitrage.prompts.parquet import open_parquet
from arbitrage.prompts.rows import Fault, Part, Row, RowError
from arbitrage.shards.layout import shard_path
from arbitrage.shards.run import PLAN_FILE, open_run
from arbitrage.shards.store import read_table

SUFFIXES = (".parquet", *JSONL_SUFFIXES)
SNIFFED_ROWS = 100
"""Among so many rows of a JSONL file each column that is asked for must turn up."""


@dataclass
class Reader:
    """Reads one data set, counting the rows that cannot be read.

    Attributes:
        patterns: files, globs, directories, run directories.
        builder: turns rows into entries.
        rejected: reason → rows, filled while reading.
        examples: reason → place and detail of the first.
    """

    patterns: Sequence[str]
    builder: EntryBuilder
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    num_rows: int = 0

    def entries(self) -> Iterator[Entry]:
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
        for file in find_files(files, SUFFIXES, "DATA") if files else ():
            part = self._open(file)
            yield from self._rows(part.rows if part.columns is not None else self._sniffed(part, file))

    def _open(self, file: SourceFile) -> Part:
        if not file.path.name.endswith(SUFFIXES):
            raise UserError(f"{file.path}: is neither Parquet nor JSON Lines ({', '.join(SUFFIXES[:2])}, …)")
        if not file.path.name.endswith(".parquet"):
            return open_jsonl(file)
        part = open_parquet(file, self.builder.columns.needed)
        self.builder.columns.check(part.columns or (), str(file.path))
        return part

    def _sniffed(self, part: Part, file: SourceFile) -> Iterator[Row | Fault]:
        head = list(islice(part.rows, SNIFFED_ROWS))
        present = dict.fromkeys(name for row in head if isinstance(row, Row) for name in row.values)
        if present:
            self.builder.columns.check(tuple(present), str(file.path))
        elif head:
            fault = next(row for row in head if isinstance(row, Fault))
            raise DataError(f"{file.path}: none of the first {len(head)} rows can be read ({fault.detail})")
        return chain(head, part.rows)

    def _rows(self, rows: Iterator[Row | Fault]) -> Iterator[Entry]:
        for row in rows:
            self.num_rows += 1
            if isinstance(row, Fault):
                self._refuse(row.position, row.reason, row.detail)
                continue
            try:
                found = self.builder.build(row)
            except RowError as error:
                self._refuse(row.position, error.reason, error.detail)
                continue
            yield from found

    def _refuse(self, position: str, reason: str, detail: str) -> None:
        self.rejected[reason] += 1
        self.examples.setdefault(reason, f"{position}: {detail}")


def _candidates(path: Path) -> Iterator[Row | Fault]:
    """Yield the candidates of a run beside their prompt's language and source, one shard in memory at a time."""
    run = open_run(path)
    roles = run.plan.candidates
    if not roles.get("drafts") or not roles.get("prompts"):
        raise UserError(f"{path}: the run has no candidate table")
    [prompts] = roles["prompts"]
    for shard in run.plan.shards:
        place = shard_path(run.directory(prompts), shard)
        if not place.exists():
            continue
        asked = {row["prompt_id"]: row for row in read_table(place).to_pylist()}
        for step in roles["drafts"]:
            answers = shard_path(run.directory(step), shard)
            for row in read_table(answers).to_pylist() if answers.exists() else ():
                prompt = asked[row["prompt_id"]]
                facts = {"language": prompt["language"], "source": prompt["source"]}
                yield Row(f"{path}:{row['candidate_id']}", row | facts)
