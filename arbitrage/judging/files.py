"""Rows of data sets to be judged and of people's labels: Parquet or JSON Lines, ours or foreign."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from arbitrage.errors import DataError, UserError
from arbitrage.judging.columns import AnswerColumns, Role
from arbitrage.prompts.files import SourceFile, find_files
from arbitrage.prompts.jsonl import JSONL_SUFFIXES, open_jsonl
from arbitrage.prompts.parquet import open_parquet
from arbitrage.prompts.rows import Fault, Row

SUFFIXES = (".parquet", *JSONL_SUFFIXES)
SNIFFED_ROWS = 100
"""Among so many rows of a JSONL file each column that is asked for must turn up."""


def rows_of(paths: Sequence[str], columns: AnswerColumns, wanted: Role, where: str) -> Iterator[Row | Fault]:
    """Yield the rows of files, globs or directories, file after file.

    Args:
        paths: where they lie.
        columns: which column holds what; checked against each file.
        wanted: the role without which a file is of no use.
        where: what an error names.

    Raises:
        UserError: a path matches nothing, or a column is missing.
        DataError: a file cannot be read.
    """
    for file in find_files(paths, SUFFIXES, where):
        yield from _rows(file, columns, wanted)


def _rows(file: SourceFile, columns: AnswerColumns, wanted: Role) -> Iterator[Row | Fault]:
    if file.path.name.endswith(".parquet"):
        part = open_parquet(file, list)
        columns.check(part.columns or (), wanted, str(file.path))
        return part.rows
    if not file.path.name.endswith(SUFFIXES):
        raise UserError(f"{file.path}: is neither Parquet nor JSON Lines ({', '.join(SUFFIXES[:2])}, …)")
    rows = open_jsonl(file).rows
    head = list(islice(rows, SNIFFED_ROWS))
    present = dict.fromkeys(name for row in head if isinstance(row, Row) for name in row.values)
    if present:
        columns.check(tuple(present), wanted, str(file.path))
    elif head:
        fault = next(row for row in head if isinstance(row, Fault))
        raise DataError(f"{file.path}: none of the first {len(head)} rows can be read ({fault.detail})")
    return chain(head, rows)
