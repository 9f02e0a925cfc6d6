"""Ridge regression on hashed n-grams, one column for each teacher, solved without forming a square matrix.

Equal texts are one row of weight n: a segment for thirty target languages is hashed once. Conjugate
gradients on the dual system (Hestenes and Stiefel 1952) need two sparse products a step; memory is that of the texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from arbitrage.candidates.queries import Queries, Rows
from routers.features.ngrams import Ngrams, ngrams_of
from routers.learning.learner import Floats, State

Singles = NDArray[np.float32]

TOLERANCE: Final = 0.01
MAX_STEPS: Final = 40


@dataclass(frozen=True, slots=True)
class TextRidge:
    """Coefficients of n-grams for each teacher."""

    ngrams: Ngrams
    weights_FT: Singles

    def predict(self, queries: Queries) -> Floats:
        """Return the text part of the prediction for each teacher, shape (P, T)."""
        found_UT = self.ngrams.read(queries) @ self.weights_FT
        return np.asarray(found_UT, np.float64)[queries.text_P]

    def state(self) -> State:
        """Return n-grams and coefficients."""
        return State({"buckets": self.ngrams.buckets, "idf": self.ngrams.idf, "weights_FT": self.weights_FT})


def restore_text(state: State) -> TextRidge:
    """Rebuild the regression from its state."""
    arrays = state.arrays
    return TextRidge(Ngrams(arrays["buckets"], arrays["idf"]), arrays["weights_FT"])


def fit_text(queries: Queries, residual_PT: Floats, penalty: float) -> TextRidge:
    """Fit one regression for each teacher.

    Args:
        queries: P prompts.
        residual_PT: target; NaN where a teacher was not sampled.
        penalty: λ; rows have unit length, so λ is in prompts.
    """
    ngrams = ngrams_of(queries)
    return fit_rows(ngrams, ngrams.read(queries), queries.text_P, residual_PT, [penalty])[0]


def fit_rows(
    ngrams: Ngrams, rows_UF: sparse.csr_matrix, text_P: Rows, residual_PT: Floats, penalties: Sequence[float]
) -> list[TextRidge]:
    """Fit once for each penalty; `rows_UF` are the n-grams of all texts, `text_P` says which to learn from."""
    texts, index_P = np.unique(text_P, return_inverse=True)
    asked_PT = np.isfinite(residual_PT)
    num_UT, sums_UT = (np.zeros((len(texts), residual_PT.shape[1]), np.float32) for _ in range(2))
    np.add.at(num_UT, index_P, asked_PT)
    np.add.at(sums_UT, index_P, np.where(asked_PT, residual_PT, 0.0).astype(np.float32))
    root_UT = np.sqrt(num_UT)
    rows = rows_UF[texts]
    system = _Dual(rows, rows.T.tocsr(), root_UT)
    target_UT = sums_UT / np.maximum(root_UT, 1.0)
    fits: list[TextRidge] = []
    start: Singles | None = None
    for penalty in penalties:
        start = _solve_dual(system, target_UT, np.float32(penalty), start)
        fits.append(TextRidge(ngrams, system.weigh(start)))
    return fits


@dataclass(frozen=True, slots=True)
class _Dual:
    """Rows of n-grams, U × F; each is weighted for a teacher by how often it was sampled: n = root²."""

    rows: sparse.csr_matrix
    transposed: sparse.csr_matrix
    root_UT: Singles

    def weigh(self, alpha_UT: Singles) -> Singles:
        """Return the coefficients of the n-grams, shape (F, T)."""
        return np.asarray(self.transposed @ (self.root_UT * alpha_UT), np.float32)

    def apply(self, alpha_UT: Singles, penalty: np.float32) -> Singles:
        """Return (X Xᵀ + λ) α."""
        found_UT: Singles = self.root_UT * (self.rows @ self.weigh(alpha_UT)) + penalty * alpha_UT
        return found_UT


def _solve_dual(system: _Dual, target_UT: Singles, penalty: np.float32, start: Singles | None) -> Singles:
    """Solve (X Xᵀ + λ) α = y for all teachers at once, each with its own step lengths; shape (U, T)."""
    alpha = np.zeros_like(target_UT) if start is None else start.copy()
    residual = target_UT - system.apply(alpha, penalty)
    direction = residual.copy()
    power_T = (residual**2).sum(axis=0)
    goal_T = TOLERANCE**2 * (target_UT**2).sum(axis=0) + 1e-12
    for _ in range(MAX_STEPS):
        if (power_T <= goal_T).all():
            break
        moved = system.apply(direction, penalty)
        step_T = power_T / np.maximum((direction * moved).sum(axis=0), 1e-12)
        alpha += step_T * direction
        residual -= step_T * moved
        new_T = (residual**2).sum(axis=0)
        direction = residual + (new_T / np.maximum(power_T, 1e-12)) * direction
        power_T = new_T
    return alpha
