"""Counts and sums by language and teacher, added shard by shard."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class TallyCell:
    """A number of values, and their sum."""

    count: int
    total: float

    def plus(self, count: int, total: float) -> "TallyCell":
        """Return the sum of both cells."""
        return TallyCell(self.count + count, self.total + total)


Grid = tuple[tuple[float | None, ...], ...]
"""Rows are languages, columns teachers; None without a value."""

_NOTHING = TallyCell(0, 0.0)


@dataclass(frozen=True, slots=True)
class Tally:
    """Cells by measure, language and teacher."""

    cells: dict[str, dict[tuple[str, str], TallyCell]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, measure: str, language: pa.Array, teacher: pa.Array, value: pa.Array) -> None:
        """Add one value for each row; nulls are not counted."""
        table = pa.table({"language": language, "teacher": teacher, "value": value})
        grouped = table.group_by(["language", "teacher"]).aggregate([("value", "count"), ("value", "sum")])
        into = self.cells[measure]
        for row in grouped.to_pylist():
            if row["value_count"]:
                key = (row["language"], row["teacher"])
                into[key] = into.get(key, _NOTHING).plus(row["value_count"], float(row["value_sum"]))

    def cell(self, measure: str, language: str, teacher: str) -> TallyCell:
        """Return one cell; empty if nothing was added."""
        return self.cells.get(measure, {}).get((language, teacher), _NOTHING)

    def has(self, measure: str) -> bool:
        """Tell whether anything was added for a measure."""
        return bool(self.cells.get(measure))

    def means(self, measure: str, languages: Sequence[str], teachers: Sequence[str]) -> Grid:
        """Return the mean value in every cell."""
        return tuple(tuple(_mean(self.cell(measure, lang, t)) for t in teachers) for lang in languages)

    def totals(self, measure: str, languages: Sequence[str], teachers: Sequence[str]) -> Grid:
        """Return the sum of values in every cell."""
        return tuple(tuple(_total(self.cell(measure, lang, t)) for t in teachers) for lang in languages)

    def counts(self, measure: str, languages: Sequence[str], teachers: Sequence[str]) -> Grid:
        """Return the number of values in every cell; None if nothing was added."""
        return tuple(tuple(self.cell(measure, lang, t).count or None for t in teachers) for lang in languages)

    def shares(self, measure: str, among: str, languages: Sequence[str], teachers: Sequence[str]) -> Grid:
        """Return the share of each teacher in each language's count; None if `among` counts nothing."""
        rows = []
        for language in languages:
            counts = [self.cell(measure, language, t).count for t in teachers]
            has = [self.cell(among, language, t).count > 0 for t in teachers]
            whole = sum(counts)
            rows.append(tuple(n / whole if whole and h else None for n, h in zip(counts, has, strict=True)))
        return tuple(rows)


def _mean(cell: TallyCell) -> float | None:
    return cell.total / cell.count if cell.count else None


def _total(cell: TallyCell) -> float | None:
    return cell.total if cell.count else None
