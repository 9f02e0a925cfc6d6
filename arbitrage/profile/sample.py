"""A sample of rows of bounded size that keeps the texts of one prompt together.

Rows whose cluster has one of the smallest hashes are kept ("bottom-k"). So a prompt is in the samples of both data
sets or of neither: comparisons stay paired, and the order of rows does not matter. With at most `max_rows` rows, all
are kept and the figures are exact.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Sampled:
    """N rows of M values; NaN is null."""

    clusters_N: Hashes
    values_NM: NDArray[np.float32]


class RowSample:
    """Holds at most twice `max_rows` rows."""

    def __init__(self, num_values: int, max_rows: int) -> None:
        self._max_rows = max_rows
        self._limit = np.uint64(0xFFFFFFFFFFFFFFFF)
        self._num = 0
        self._is_cut = False
        self._parts: list[tuple[Hashes, Hashes, NDArray[np.float32]]] = [_empty(num_values)]

    @property
    def is_exact(self) -> bool:
        """Whether every row is in it."""
        return not self._is_cut

    def add(self, clusters_N: Hashes, keys_N: Hashes, values_NM: Floats) -> None:
        """Add rows.

        Args:
            clusters_N: hash of each row's cluster.
            keys_N: hash of each row, all different.
            values_NM: NaN is null.
        """
        low = clusters_N <= self._limit
        if not low.any():
            return
        self._parts.append((clusters_N[low], keys_N[low], values_NM[low].astype(np.float32)))
        self._num += int(low.sum())
        if self._num > 2 * self._max_rows:
            self._shrink()

    def rows(self) -> Sampled:
        """Return the rows of the sample, ordered by cluster and key."""
        if self._num > self._max_rows:
            self._shrink()
        clusters, keys, values = (np.concatenate(columns) for columns in zip(*self._parts, strict=True))
        order = np.lexsort((keys, clusters))
        return Sampled(clusters[order], values[order])

    def _shrink(self) -> None:
        """Keep the first whole clusters that fit; of a cluster that alone does not fit, the first rows."""
        clusters, keys, values = (np.concatenate(columns) for columns in zip(*self._parts, strict=True))
        order = np.lexsort((keys, clusters))
        last = clusters[order[self._max_rows]]  # the first that does not fit
        kept = order[clusters[order] < last]
        if len(kept):
            self._limit = clusters[kept].max()
        else:
            kept, self._limit = order[: self._max_rows], last
        self._parts = [(clusters[kept], keys[kept], values[kept])]
        self._num = len(kept)
        self._is_cut = True


def _empty(num_values: int) -> tuple[Hashes, Hashes, NDArray[np.float32]]:
    none = np.empty(0, dtype=np.uint64)
    return none, none, np.empty((0, num_values), dtype=np.float32)
