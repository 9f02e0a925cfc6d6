"""Facts about an export after its data files are written: for the card, the provenance and the caller."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from arbitrage.export.files import DataFile
from arbitrage.export.format import DatasetShape, Format, Objection
from arbitrage.export.reading import ExportRow, ExportSource
from arbitrage.export.reasoning import ReasoningChoice
from arbitrage.runs.run import Run

SkipReason = Objection | Literal["licence_not_allowed"]
"""Why a row of the run is not in the export."""


@dataclass(slots=True)
class ExportTally:
    """Counts of rows while they are written."""

    num_read: int = 0
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)  # split, language
    skipped: Counter[str] = field(default_factory=Counter)  # reason
    chosen: Counter[tuple[str, str]] = field(default_factory=Counter)  # teacher, language
    rejected: Counter[str] = field(default_factory=Counter)  # teacher
    licences: Counter[tuple[str, ...]] = field(default_factory=Counter)
    reasoned: Counter[tuple[str, ...]] = field(default_factory=Counter)  # which answers have reasoning in the run

    def count(self, entry: ExportRow, split: str) -> None:
        """Count a row that is written."""
        chosen, *rejected = entry.teachers
        self.rows[split, entry.language] += 1
        self.chosen[chosen, entry.language] += 1
        self.rejected.update(rejected)
        self.licences[entry.licences] += 1
        self.reasoned[entry.reasoned] += 1

    @property
    def num_rows(self) -> int:
        """Rows written."""
        return self.rows.total()

    @property
    def num_reasoned(self) -> int:
        """Rows written that have reasoning in the run, in one of their answers at least."""
        return sum(count for sides, count in self.reasoned.items() if sides)

    def languages(self) -> dict[str, int]:
        """Return language → rows."""
        found: Counter[str] = Counter()
        for (_, language), count in self.rows.items():
            found[language] += count
        return dict(sorted(found.items()))

    def splits(self) -> dict[str, int]:
        """Return split → rows, train first."""
        found: Counter[str] = Counter()
        for (split, _), count in self.rows.items():
            found[split] += count
        return dict(sorted(found.items(), key=lambda item: (item[0] != "train", item[0])))


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """One data set, written."""

    run: Run
    dataset: str
    source: ExportSource
    format: Format
    files: tuple[DataFile, ...]
    tally: ExportTally
    test_fraction: float
    allowed: frozenset[str] | None
    reasoning: ReasoningChoice

    @property
    def shape(self) -> DatasetShape:
        """Facts for a format's side files."""
        whole = ("answer",) if self.source.kind == "SftExample" else ("chosen", "rejected")
        return DatasetShape(
            dataset=self.dataset,
            kind=self.source.kind,
            languages=tuple(self.tally.languages()),
            splits=tuple(self.tally.splits()),
            reasoning=self.source.reasoning if self.tally.num_reasoned else None,
            lacks_reasoning=self.tally.reasoned.keys() != {whole},
            has_tools=self.source.has_tools,
        )

    def licences(self) -> tuple[str, ...]:
        """Return every licence of the rows, sorted."""
        return tuple(sorted({licence for found in self.tally.licences for licence in found}))
