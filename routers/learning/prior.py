"""The language prior: empirical Bayes over family, script, language, task, and the look of the prompt.

All are blocks of one ridge regression. A block's strength is the prior standard deviation of its coefficients: 0
leaves it out, with a large one every row of the table has its own mean. Strengths are chosen by cross-validation from
sums of squares alone (one pass over the data, whatever the number of prompts), so a language with few prompts
is shrunk towards its family and towards all languages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.linalg import solve

from arbitrage.candidates.queries import Queries, Rows
from routers.features.surface import NAMES, measure_surface
from routers.features.tags import LEVELS, UNSEEN, TagVocabulary, one_hot, vocabulary_of
from routers.learning.learner import Floats, State

NOISE: Final = 5.0
"""Ridge penalty of a coefficient of strength 1: five prompts weigh as much as the prior."""
GRID: Final = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Grid of strengths."""
START: Final = {"family": 0.4, "script": 0.2, "language": 0.8, "task": 0.2, "language_task": 0.2, "surface": 0.2}
"""Initial strengths; other blocks start at 0.1."""
SWEEPS: Final = 3
CHUNK: Final = 4096
"""Rows expanded at a time."""
MAX_CROSSED: Final = 64
"""With more languages, surface features have the same coefficients in all: the matrix would grow too large."""

Strengths = Mapping[str, float]
Loss = Callable[[Strengths], float]


@dataclass(frozen=True, slots=True)
class Design:
    """Turns prompts into columns, block by block."""

    levels: tuple[TagVocabulary, ...]
    surface_mean_S: Floats
    surface_scale_S: Floats

    def blocks(self, queries: Queries) -> dict[str, Floats]:
        """Return the columns of each block, (P, columns)."""
        codes = {vocabulary.level: vocabulary.codes(queries) for vocabulary in self.levels}
        found = {v.level: one_hot(codes[v.level], len(v.values)) for v in self.levels}
        surface_PS = self.surface(queries)
        found["surface"] = surface_PS
        if self.is_crossed:
            language_PL = found["language"]
            found["language_surface"] = (language_PL[:, :, None] * surface_PS[:, None, :]).reshape(len(queries), -1)
        return found

    @property
    def is_crossed(self) -> bool:
        """Tell whether surface features have their own coefficients in each language."""
        return 1 < len(self.of("language").values) <= MAX_CROSSED

    def of(self, level: str) -> TagVocabulary:
        """Return the values of a level; none if the design leaves it out."""
        return next((v for v in self.levels if v.level == level), TagVocabulary(level, ()))

    @property
    def widths(self) -> dict[str, int]:
        """Return how many columns each block has, in the order of the blocks."""
        found = {v.level: len(v.values) for v in self.levels} | {"surface": len(NAMES) + 1}
        if self.is_crossed:
            found["language_surface"] = found["language"] * found["surface"]
        return found

    def surface(self, queries: Queries) -> Floats:
        """Return the standardised surface features of each prompt, clipped at ±3, and the square of its length."""
        raw_US = queries.derive("surface", measure_surface)
        scaled_US = np.clip((raw_US - self.surface_mean_S) / self.surface_scale_S, -3.0, 3.0)
        scaled_PS: Floats = np.hstack([scaled_US, scaled_US[:, :1] ** 2 - 1.0])[queries.text_P] / 3.0
        return scaled_PS


def design_of(queries: Queries) -> Design:
    """Collect the levels of the training prompts; levels with a single value are left out."""
    levels = [vocabulary_of(queries, level) for level in LEVELS]
    told = {v.level: len(v.values) for v in levels}
    kept = [v for v in levels if len(v.values) > 1 and not (v.level == "language_task" and told["task"] == 1)]
    surface_PS = queries.derive("surface", measure_surface)[queries.text_P]
    return Design(tuple(kept), surface_PS.mean(axis=0), np.maximum(surface_PS.std(axis=0), 1e-6))


@dataclass(frozen=True, slots=True)
class Squares:
    """Sums over prompts: XᵀX, XᵀY and YᵀY's diagonal; they add up over folds."""

    xx: Floats
    xy: Floats
    yy_T: Floats

    def __sub__(self, other: "Squares") -> "Squares":
        """Return the sums without those of some prompts."""
        return Squares(self.xx - other.xx, self.xy - other.xy, self.yy_T - other.yy_T)


@dataclass(frozen=True, slots=True)
class Prior:
    """A fitted prior: coefficients of all columns for all teachers."""

    design: Design
    strengths: Strengths
    weights_XT: Floats

    def predict(self, queries: Queries) -> Floats:
        """Return the predicted deviation of each teacher from its mean, shape (P, T).

        The part of language and task is computed once for all their prompts; only surface features are computed for
        each.
        """
        weights = self._by_block()
        surface_PS = self.design.surface(queries)
        expected_PT: Floats = surface_PS @ weights["surface"]
        for vocabulary in self.design.levels:
            table_RT = np.vstack([weights[vocabulary.level], np.zeros((1, expected_PT.shape[1]))])
            expected_PT += table_RT[vocabulary.codes(queries)]  # UNSEEN is −1: the row of zeros
        if "language_surface" in weights:
            language_P = self.design.of("language").codes(queries)
            by_language = weights["language_surface"].reshape(-1, surface_PS.shape[1], expected_PT.shape[1])
            for code in np.unique(language_P[language_P != UNSEEN]):
                rows = np.flatnonzero(language_P == code)
                expected_PT[rows] += surface_PS[rows] @ by_language[code]
        return expected_PT

    def _by_block(self) -> dict[str, Floats]:
        widths = self.design.widths
        ends = np.cumsum(list(widths.values()))
        return dict(zip(widths, np.split(self.weights_XT, ends[:-1]), strict=True))

    def state(self) -> State:
        """Return design and coefficients."""
        arrays = {
            "weights_XT": self.weights_XT,
            "surface_mean_S": self.design.surface_mean_S,
            "surface_scale_S": self.design.surface_scale_S,
        }
        levels = [[v.level, list(v.values)] for v in self.design.levels]  # a list: their order is that of the columns
        return State(arrays, {"levels": levels, "strengths": dict(self.strengths)})


def restore_prior(state: State) -> Prior:
    """Rebuild the prior from its state."""
    arrays = state.arrays
    levels = tuple(TagVocabulary(level, tuple(values)) for level, values in state.values["levels"])
    design = Design(levels, arrays["surface_mean_S"], arrays["surface_scale_S"])
    return Prior(design, state.values["strengths"], arrays["weights_XT"])


@dataclass(frozen=True, slots=True)
class PriorFits:
    """The prior of all training prompts, and its cross-validated predictions.

    Attributes:
        prior: fitted on everything.
        held_out_PT: prediction for each prompt by a prior that was fitted without its fold.
    """

    prior: Prior
    held_out_PT: Floats


def fit_prior(queries: Queries, residual_PT: Floats, weight_T: Floats, fold_P: Rows) -> PriorFits:
    """Choose the strengths by cross-validation over the folds, then fit.

    Args:
        queries: P prompts.
        residual_PT: target: rewards without prompt and teacher effects.
        weight_T: weight of a teacher's squared errors in the choice of strengths.
        fold_P: fold codes, 0 to K − 1; a cluster is always in one fold.
    """
    design = design_of(queries)
    folds = range(int(fold_P.max()) + 1)
    squares = [_sum_squares(design, queries, residual_PT, np.flatnonzero(fold_P == fold)) for fold in folds]
    total = Squares(*(sum(parts) for parts in zip(*((s.xx, s.xy, s.yy_T) for s in squares), strict=True)))
    widths = design.widths

    def loss(strengths: Strengths) -> float:
        scale_X = _scales(strengths, widths)
        return sum(_loss(_solve(total - part, scale_X), part, weight_T) for part in squares)

    strengths = _descend(loss, tuple(widths))
    scale_X = _scales(strengths, widths)
    held_out_PT = np.zeros_like(residual_PT)
    for fold, part in zip(folds, squares, strict=True):
        rows = np.flatnonzero(fold_P == fold)
        held_out_PT[rows] = Prior(design, strengths, _solve(total - part, scale_X)).predict(queries.take(rows))
    return PriorFits(Prior(design, strengths, _solve(total, scale_X)), held_out_PT)


def _descend(loss: Loss, names: Sequence[str]) -> dict[str, float]:
    """Change one strength at a time along the grid while the loss falls."""
    strengths = {name: START.get(name, 0.1) for name in names}
    best = loss(strengths)
    for _ in range(SWEEPS):
        before = best
        for name in names:
            for step in (1, -1):
                while (tried := _moved(strengths, name, step)) and (found := loss(tried)) < best:
                    best, strengths = found, tried
        if best == before:
            break
    return strengths


def _moved(strengths: Strengths, name: str, step: int) -> dict[str, float] | None:
    place = GRID.index(strengths[name]) + step
    return dict(strengths) | {name: GRID[place]} if 0 <= place < len(GRID) else None


def _sum_squares(design: Design, queries: Queries, residual_PT: Floats, rows: Rows) -> Squares:
    parts = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    found: Squares | None = None
    for part in parts:
        x = np.hstack(list(design.blocks(queries.take(part)).values()))
        y = residual_PT[part]
        new = Squares(x.T @ x, x.T @ y, (y**2).sum(axis=0))
        found = new if found is None else Squares(found.xx + new.xx, found.xy + new.xy, found.yy_T + new.yy_T)
    if found is None:
        raise ValueError("a fold holds no prompts")
    return found


def _scales(strengths: Strengths, widths: Mapping[str, int]) -> Floats:
    return np.concatenate([np.full(width, strengths[name]) for name, width in widths.items()])


def _solve(squares: Squares, scale_X: Floats) -> Floats:
    """Return ridge coefficients, (X, T); those of blocks of strength 0 are 0."""
    used = np.flatnonzero(scale_X)
    weights_XT = np.zeros_like(squares.xy)
    if len(used):
        scale = scale_X[used]
        xx = squares.xx[np.ix_(used, used)] * np.outer(scale, scale)
        xx[np.diag_indices_from(xx)] += NOISE
        weights_XT[used] = scale[:, None] * solve(xx, scale[:, None] * squares.xy[used], assume_a="pos")
    return weights_XT


def _loss(weights_XT: Floats, squares: Squares, weight_T: Floats) -> float:
    """Return the weighted squared error on the prompts of `squares`."""
    fitted_T = (weights_XT * (squares.xx @ weights_XT - 2.0 * squares.xy)).sum(axis=0)
    return float(weight_T @ (squares.yy_T + fitted_T))
