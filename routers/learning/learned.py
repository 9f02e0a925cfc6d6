"""The default router: a shrunken language prior, and a regularised text residual for the rest (METHODS §3).

Routers that do not see the language fail where language decides, and tables fail where the topic does. Here the
strength of both is chosen by cross-validation within the training prompts, with whole clusters; either may be zero.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import Floats, RewardMatrix, centred
from arbitrage.candidates.queries import Queries, Rows
from routers.features.ngrams import ngrams_of
from routers.learning.caution import price_uncertainty
from routers.learning.folds import deal_folds
from routers.learning.learner import LearnerConfig, State, nested
from routers.learning.prior import Prior, fit_prior, restore_prior
from routers.learning.table import Table, restore_table
from routers.learning.text import TextRidge, fit_rows, restore_text

PENALTIES: Final = (30.0, 10.0, 3.0)
"""Penalties of the text residual that are tried, besides leaving it out; each fit starts from the one before."""


class LearnedLearner(LearnerConfig):
    """Prior plus residual.

    Attributes:
        folds: number of cross-validation folds for the choice of strengths.
        seed: seed of the folds.
        use_text: whether a text residual is tried at all.
        caution: standard errors subtracted from the advantage of any teacher over the best single one.
    """

    kind: Literal["learned"] = "learned"
    folds: int = Field(default=4, ge=2)
    seed: int = 0
    use_text: bool = True
    caution: float = Field(default=0.5, ge=0.0)

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return "learned" if self.use_text else "prior"

    def fit(self, matrix: RewardMatrix) -> "Learned":
        """Choose the strengths, and fit on all prompts."""
        residual_PT, means_T = centred(matrix.rewards_PT)
        weight_T = win_shares(matrix.rewards_PT)
        fold_P = deal_folds(matrix.cluster_P, self.folds, self.seed)
        price = price_uncertainty(matrix, self.caution)
        fits = fit_prior(matrix.queries, residual_PT, weight_T, fold_P)
        if not self.use_text:
            return Learned(means_T, fits.prior, price, None, None)
        left_PT = np.where(matrix.admitted_PT, residual_PT - fits.held_out_PT, np.nan)
        penalty = _choose_penalty(matrix.queries, left_PT, weight_T, fold_P)
        if penalty is None:
            return Learned(means_T, fits.prior, price, None, None)
        left_PT = np.where(matrix.admitted_PT, residual_PT - fits.prior.predict(matrix.queries), np.nan)
        ngrams = ngrams_of(matrix.queries)
        rows = ngrams.read(matrix.queries)
        text = fit_rows(ngrams, rows, matrix.queries.text_P, left_PT, [penalty])[0]
        return Learned(means_T, fits.prior, price, text, penalty)


@dataclass(frozen=True, slots=True)
class Learned:
    """The sum of teacher means, prior, uncertainty correction and text residual."""

    means_T: Floats
    prior: Prior
    price: Table
    text: TextRidge | None
    penalty: float | None

    def predict(self, queries: Queries) -> Floats:
        """Return the expected reward of each teacher, shape (P, T)."""
        expected_PT = self.means_T + self.prior.predict(queries) + self.price.predict(queries)
        return expected_PT if self.text is None else expected_PT + self.text.predict(queries)

    def state(self) -> State:
        """Return all parts."""
        parts = {"means": State({"T": self.means_T}), "prior": self.prior.state(), "price": self.price.state()}
        if self.text is not None:
            parts["text"] = self.text.state()
        return nested({"penalty": self.penalty}, **parts)


def restore_learned(state: State) -> Learned:
    """Rebuild the predictor from its state."""
    text = restore_text(state.part("text")) if "text" in state.values else None
    prior = restore_prior(state.part("prior"))
    price = restore_table(state.part("price"))
    return Learned(state.arrays["means.T"], prior, price, text, state.values["penalty"])


def win_shares(rewards_PT: Floats) -> Floats:
    """Return on which share of the prompts each teacher is best, ties shared; shape (T,), summing to 1.

    Errors about a teacher that is never the best do not change the routes, so they hardly count.
    """
    best_P = np.nanmax(rewards_PT, axis=1, keepdims=True)
    wins_PT = (rewards_PT >= best_P - 1e-9).astype(float)
    shares_T: Floats = (wins_PT / wins_PT.sum(axis=1, keepdims=True)).mean(axis=0)
    return 0.9 * shares_T + 0.1 / len(shares_T)


def _choose_penalty(queries: Queries, left_PT: Floats, weight_T: Floats, fold_P: Rows) -> float | None:
    """Return the penalty with the smallest held-out error; None if no text residual is best."""
    errors = np.zeros(len(PENALTIES) + 1)
    for fold in range(int(fold_P.max()) + 1):
        learn, judge = np.flatnonzero(fold_P != fold), np.flatnonzero(fold_P == fold)
        known = queries.take(learn)
        ngrams = ngrams_of(known)
        rows = ngrams.read(queries)
        fits = fit_rows(ngrams, rows, known.text_P, left_PT[learn], PENALTIES)
        target_PT = left_PT[judge]
        errors[-1] += float(np.nansum(target_PT**2, axis=0) @ weight_T)
        judged = rows[queries.text_P[judge]]
        for place, fit in enumerate(fits):
            errors[place] += float(np.nansum((target_PT - judged @ fit.weights_FT) ** 2, axis=0) @ weight_T)
    best = int(np.argmin(errors))
    return PENALTIES[best] if best < len(PENALTIES) else None
