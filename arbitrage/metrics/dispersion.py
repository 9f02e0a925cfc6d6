"""Semantic diversity of a set of texts that come with embeddings."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from arbitrage.contracts.metrics import SetMetric, Sketch
from arbitrage.errors import DataError
from arbitrage.metrics.options import Facts, Family, MetricOptions
from arbitrage.text.measured import TOO_FEW, Measured
from arbitrage.text.text import Text


class DispersionConfig(MetricOptions):
    """The mean cosine distance between two embeddings of the set: exact; memory does not grow with the texts."""

    kind: Literal["dispersion"] = "dispersion"

    @property
    def usual_name(self) -> str:
        """Return 'dispersion'."""
        return "dispersion"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "set"

    @property
    def facts(self) -> Facts:
        """Mean pairwise distance."""
        source = "mean pairwise cosine distance (Tevet & Berant 2021 [2004.02990])"
        return Facts("dispersion of embeddings", "1 − cosine", 0.0, 2.0, source, "two texts with embeddings and more")

    def build(self) -> SetMetric:
        """Build the metric."""
        return Dispersion(self)


class Dispersion:
    """A `SetMetric`."""

    def __init__(self, config: DispersionConfig) -> None:
        self._name = config.metric_name

    @property
    def name(self) -> str:
        """Name in profiles."""
        return self._name

    def digest(self, text: Text) -> NDArray[np.float64] | None:
        """Return the embedding, scaled to length 1; None if there is none, or if it is zero or not finite."""
        if text.embedding is None:
            return None
        found = np.asarray(text.embedding, dtype=np.float64)
        with np.errstate(over="ignore"):
            length = float(np.linalg.norm(found))
        return found / length if 0.0 < length < float("inf") else None

    def sketch(self) -> Sketch:
        """Return the sketch of an empty set."""
        return _Sketch()


class _Sketch:
    """The sum of unit vectors: Σᵢⱼ⟨vᵢ, vⱼ⟩ = |Σvᵢ|²."""

    def __init__(self) -> None:
        self._num = 0
        self._sum: NDArray[np.float64] | None = None

    def add(self, key: int, digest: NDArray[np.float64]) -> None:
        """Add a vector; raise DataError if it is of another length."""
        self._take(1, digest)

    def merge(self, other: Any) -> None:
        """Add another sketch's vectors."""
        if other._sum is not None:
            self._take(other._num, other._sum)

    def value(self) -> Measured:
        """Return 1 minus the mean cosine over all pairs."""
        if self._sum is None:
            return Measured(reason="no_embedding")
        if self._num < 2:
            return TOO_FEW
        pairs = self._num * (self._num - 1)
        return Measured(max(0.0, 1.0 - (float(self._sum @ self._sum) - self._num) / pairs))

    def _take(self, num: int, vector: NDArray[np.float64]) -> None:
        if self._sum is not None and self._sum.shape != vector.shape:
            raise DataError(f"embedding: {len(vector)} numbers, where others have {len(self._sum)}")
        self._sum = vector.copy() if self._sum is None else self._sum + vector
        self._num += num
