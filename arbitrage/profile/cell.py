"""Statistics of the texts of one language, teacher or source, in constant memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arbitrage.contracts.metrics import SetMetric, Sketch
from arbitrage.profile.measuring import REASONS, Measurements
from arbitrage.profile.sample import Floats, Hashes, RowSample


class ProfileCell:
    """Counts, means and deviations of every text; a sample for quantiles and intervals; sketches of the set."""

    def __init__(self, num_metrics: int, set_metrics: Sequence[SetMetric], max_rows: int) -> None:
        self.num_texts = 0
        self.nulls_MR = np.zeros((num_metrics, len(REASONS) + 1), dtype=np.int64)
        self.counts_M = np.zeros(num_metrics, dtype=np.int64)
        self.means_M = np.zeros(num_metrics)
        self.squares_M = np.zeros(num_metrics)
        self.lows_M = np.full(num_metrics, np.inf)
        self.highs_M = np.full(num_metrics, -np.inf)
        self.sample = RowSample(num_metrics, max_rows)
        self.sketches: list[Sketch] = [metric.sketch() for metric in set_metrics]

    def add(self, rows: NDArray[np.int64], clusters: Hashes, keys: Hashes, found: Measurements) -> None:
        """Add some rows of a batch."""
        values, reasons = found.values_NM[rows], found.reasons_NM[rows]
        self.num_texts += len(rows)
        for reason in range(1, len(REASONS) + 1):
            self.nulls_MR[:, reason] += (reasons == reason).sum(axis=0)
        self._add_moments(values)
        self.sample.add(clusters[rows], keys[rows], values)
        for sketch, digests in zip(self.sketches, found.digests_SN, strict=False):
            _feed(sketch, rows, keys, digests)

    @property
    def deviations_M(self) -> Floats:
        """Standard deviation of each metric; NaN below two values."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = np.sqrt(self.squares_M / (self.counts_M - 1))
        return np.where(self.counts_M > 1, found, np.nan)

    def _add_moments(self, values: Floats) -> None:
        """Merge the moments of a batch into those so far (Chan, Golub & LeVeque 1983)."""
        present = ~np.isnan(values)
        counts = present.sum(axis=0)
        total = np.maximum(counts, 1)
        means = np.where(present, values, 0.0).sum(axis=0) / total
        squares = np.where(present, (values - means) ** 2, 0.0).sum(axis=0)
        both = np.maximum(self.counts_M + counts, 1)
        step = means - self.means_M
        self.squares_M += squares + step**2 * self.counts_M * counts / both
        self.means_M += np.where(counts > 0, step * counts / both, 0.0)
        self.counts_M += counts
        self.lows_M = np.minimum(self.lows_M, np.where(present, values, np.inf).min(axis=0))
        self.highs_M = np.maximum(self.highs_M, np.where(present, values, -np.inf).max(axis=0))


def _feed(sketch: Sketch, rows: NDArray[np.int64], keys: Hashes, digests: Sequence[Any]) -> None:
    for row in rows:
        if digests[row] is not None:
            sketch.add(int(keys[row]), digests[row])
