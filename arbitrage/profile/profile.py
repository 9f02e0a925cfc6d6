"""Profile a data set: every metric, for all texts and by language, teacher and source."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from arbitrage.errors import DataError
from arbitrage.metrics import MetricConfig, SetMetricConfig
from arbitrage.profile.cell import ProfileCell
from arbitrage.profile.entries import ProfileEntry
from arbitrage.profile.measuring import Measurements, measure_all
from arbitrage.profile.reading import ProfileReader
from arbitrage.profile.settings import ProfileSettings

MAX_LABELS = 200
"""Maximum number of teachers and sources; later ones are one group, '(other)', so that memory is bounded."""

OTHER = "(other)"
SAMPLE_ROWS = 4096
"""Rows sampled per cell; the standard error of a median's rank is then at most 0.8 %."""


@dataclass(frozen=True, order=True, slots=True)
class CellKey:
    """The texts of a cell; None stands for all."""

    language: str | None = None
    teacher: str | None = None
    source: str | None = None


@dataclass
class Profile:
    """The profile of a data set."""

    name: str
    metrics: tuple[MetricConfig, ...]
    set_metrics: tuple[SetMetricConfig, ...]
    cells: dict[CellKey, ProfileCell]
    num_rows: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def num_texts(self) -> int:
        """Number of measured texts."""
        return self.cells[CellKey()].num_texts

    @property
    def languages(self) -> list[str]:
        """Languages, by number of texts."""
        found = {k.language: c.num_texts for k, c in self.cells.items() if k == CellKey(language=k.language)}
        return sorted((tag for tag in found if tag is not None), key=lambda tag: (-found[tag], tag))

    @property
    def teachers(self) -> list[str]:
        """Teachers, sorted by name."""
        return sorted({key.teacher for key in self.cells if key.teacher is not None})

    @property
    def sources(self) -> list[str]:
        """Sources, sorted by name."""
        return sorted({key.source for key in self.cells if key.source is not None})


def profile_data(
    name: str,
    reader: ProfileReader,
    settings: ProfileSettings,
    *,
    num_processes: int = 1,
    max_rows: int = SAMPLE_ROWS,
    on_texts: Callable[[int], None] = lambda num: None,
) -> Profile:
    """Read a data set once and profile it, in memory that does not grow with its rows.

    Args:
        name: display name of the data set.
        reader: reader of its texts.
        settings: which metrics are measured.
        num_processes: number of worker processes.
        max_rows: rows that each cell samples for quantiles and intervals.
        on_texts: called with the number of texts after each batch.

    Raises:
        UserError: a path or column is missing.
        DataError: a file cannot be read, or there is no text.
    """
    metrics, set_metrics = settings.all_metrics, settings.all_set_metrics
    cells = _Cells(metrics, set_metrics, max_rows)
    for entries, found in measure_all(reader.entries(), metrics, set_metrics, num_processes):
        cells.add(entries, found)
        on_texts(len(entries))
    if not cells.by_key:
        why = "; ".join(f"{reason}: {reader.examples[reason]}" for reason in sorted(reader.rejected))
        raise DataError(f"{name}: holds no text{f' ({why})' if why else ''}")
    return Profile(
        name, metrics, set_metrics, cells.by_key, reader.num_rows, reader.rejected, reader.examples, reader.notes
    )


class _Cells:
    def __init__(
        self, metrics: Sequence[MetricConfig], set_metrics: Sequence[SetMetricConfig], max_rows: int
    ) -> None:
        self.by_key: dict[CellKey, ProfileCell] = {}
        self._num_metrics = len(metrics)
        self._set_metrics = [config.build() for config in set_metrics]
        self._max_rows = max_rows
        self._labels: dict[str, set[str]] = {"teacher": set(), "source": set()}

    def add(self, entries: Sequence[ProfileEntry], found: Measurements) -> None:
        """Add a batch: each text to all of its cells."""
        clusters = np.array([entry.cluster for entry in entries], dtype=np.uint64)
        keys = np.array([entry.key for entry in entries], dtype=np.uint64)
        rows: dict[CellKey, list[int]] = {}
        for i, (entry, language) in enumerate(zip(entries, found.languages, strict=True)):
            teacher, source = self._label("teacher", entry.teacher), self._label("source", entry.source)
            for key in cell_keys(language, teacher, source):
                rows.setdefault(key, []).append(i)
        for key, places in rows.items():
            self._cell(key).add(np.array(places, dtype=np.int64), clusters, keys, found)

    def _cell(self, key: CellKey) -> ProfileCell:
        if key not in self.by_key:
            sketched = self._set_metrics if key.source is None and (key.language or not key.teacher) else []
            self.by_key[key] = ProfileCell(self._num_metrics, sketched, self._max_rows)
        return self.by_key[key]

    def _label(self, role: str, value: str | None) -> str | None:
        known = self._labels[role]
        if value is None or value in known:
            return value
        if len(known) >= MAX_LABELS:
            return OTHER
        known.add(value)
        return value


def cell_keys(language: str, teacher: str | None, source: str | None) -> Iterable[CellKey]:
    """Yield the cells of a text: all, its language, its teacher and its source, alone and in the language."""
    yield CellKey()
    yield CellKey(language=language)
    if teacher is not None:
        yield CellKey(teacher=teacher)
        yield CellKey(language=language, teacher=teacher)
    if source is not None:
        yield CellKey(source=source)
        yield CellKey(language=language, source=source)
