"""Statistics of the preference pairs: score gaps, and chosen against rejected teachers."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from arbitrage.candidates.arrays import Floats
from arbitrage.candidates.table import CandidateShard, CandidateTable
from arbitrage.records import MixQuota, PreferencePair
from arbitrage.runs.run import Run
from arbitrage.tables import from_table

NUM_BINS = 20


@dataclass(frozen=True, slots=True)
class Bin:
    """A bar of a histogram: `low` ≤ gap < `high` (the last one: ≤)."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class MixRow:
    """Pairs of one language, safety or not: wanted, available, kept."""

    language: str
    kind: str
    wanted: int
    available: int
    kept: int


@dataclass(frozen=True, slots=True)
class PairSummary:
    """All pairs of a run.

    Attributes:
        gap_quantiles: of the score gap: 5, 25, 50, 75, 95 %.
        gaps: its histogram.
        by_language: number of pairs.
        teachers: names, sorted.
        chosen_by_rejected: number of pairs; rows are chosen teachers, columns rejected ones.
        mix: pairs kept by language and kind, if the run has a mix.
    """

    num_pairs: int
    policies: tuple[str, ...]
    gap_quantiles: tuple[float, ...]
    gaps: tuple[Bin, ...]
    by_language: dict[str, int]
    teachers: tuple[str, ...]
    chosen_by_rejected: tuple[tuple[int, ...], ...]
    mix: tuple[MixRow, ...] = ()


def mix_of(run: Run) -> tuple[MixRow, ...]:
    """Return the pairs that a run kept, by language and kind; empty without a mix."""
    steps = run.plan.table.get("mix", ())
    rows = [row for step in steps for row in from_table(run.table(step), MixQuota)]
    return tuple(MixRow(row.language, row.kind, row.wanted, row.available, row.kept) for row in rows)


class PairBuilder:
    """Adds up shards."""

    def __init__(self, table: CandidateTable) -> None:
        self._table = table
        self._gaps: list[Floats] = []
        self._languages: Counter[str] = Counter()
        self._teachers: Counter[tuple[str, str]] = Counter()
        self._policies: set[str] = set()

    def add(self, shard: CandidateShard) -> None:
        """Add one shard."""
        if self._table.pairs is None:
            return
        pairs = shard.inputs.table(self._table.pairs, PreferencePair)
        self._gaps.append(pairs["score_gap"].to_numpy())
        self._languages.update(pairs["language"].to_pylist())
        self._teachers.update(
            zip(pairs["chosen_teacher"].to_pylist(), pairs["rejected_teacher"].to_pylist(), strict=True)
        )
        self._policies.update(pairs["policy"].to_pylist())

    def build(self, mix: tuple[MixRow, ...] = ()) -> PairSummary | None:
        """Return the summary, or None if there are no pairs."""
        gaps = np.concatenate(self._gaps) if self._gaps else np.empty(0)
        if not len(gaps):
            return None
        counts, edges = np.histogram(gaps, bins=NUM_BINS)
        teachers = sorted({name for pair in self._teachers for name in pair})
        return PairSummary(
            num_pairs=len(gaps),
            policies=tuple(sorted(self._policies)),
            gap_quantiles=tuple(float(q) for q in np.quantile(gaps, [0.05, 0.25, 0.5, 0.75, 0.95])),
            gaps=tuple(
                Bin(float(low), float(high), int(n))
                for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
            ),
            by_language=dict(sorted(self._languages.items())),
            teachers=tuple(teachers),
            chosen_by_rejected=tuple(tuple(self._teachers[(c, r)] for r in teachers) for c in teachers),
            mix=mix,
        )
