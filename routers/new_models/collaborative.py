"""Estimate a new model's rewards from few prompts: collaborative filtering with side information.

Its advantage over the existing models is fitted by ridge regression on three blocks of columns:

- the expected reward of each existing model on the prompt (the new model may be good where one of them is), and how
  easy prompts of these tags are (a strong model is ahead on hard prompts above all);
- the residual of each existing model (a prompt that is hard for one is often hard for all; this removes noise and is
  not used for prediction);
- the prompt's tags.

The penalty of each block is tuned on the existing models: each in turn is treated as new on the same prompts, and its
expected rewards on all prompts are the truth.
"""

from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

import numpy as np

from arbitrage.candidates.matrix import Floats
from arbitrage.candidates.queries import Rows

TINY: Final = 1e-9
MAX_PLAYED: Final = 16
"""Maximum number of existing models that are treated as new in tuning."""


class Penalties(NamedTuple):
    """Ridge penalties of the blocks, in prompts."""

    expected: float
    surprise: float
    tags: float


EASE_PENALTY: Final = 10.0
"""Prompts at which the mean reward of a tag weighs as much as the assumption that the tag makes no difference."""
_EXPECTED: Final = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1e5)
_SURPRISE: Final = (3.0, 30.0, 300.0, 1e6)
_TAGS: Final = (3.0, 10.0, 30.0, 100.0, 1e5)
GRID: Final = tuple(Penalties(*values) for values in product(_EXPECTED, _SURPRISE, _TAGS))
UNTUNED: Final = Penalties(10.0, 30.0, 10.0)
"""For a single existing model: tuning needs two."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Columns that evidence_of P prompts by T existing models and G tags.

    Attributes:
        known_PX: expected rewards of the existing models (T columns), how easy such prompts are, residuals (T), tags
            (G), and a constant.
        num_existing: T.
        easy_P: mean residual of the existing models on the prompt.
        mean_P: mean expected reward of the existing models.
        level_T: expected reward of each above that, mean over the prompts.
        scale: reward of one unit of an expected-reward column.
        ease_G: how easy a tag makes a prompt, in standard deviations over the prompts.
    """

    known_PX: Floats
    num_existing: int
    easy_P: Floats
    mean_P: Floats
    level_T: Floats
    scale: float
    ease_G: Floats

    @property
    def prior_PX(self) -> Floats:
        """The columns of a prompt without any reward yet: residuals are zero."""
        prior_PX = self.known_PX.copy()
        prior_PX[:, self.num_existing + 1 : 2 * self.num_existing + 1] = 0.0
        return prior_PX

    def penalty_X(self, penalties: Penalties) -> Floats:
        """Return the penalty of each column; the constant is not shrunken."""
        numbers = [self.num_existing + 1, self.num_existing, len(self.ease_G), 1]
        return np.repeat([*penalties, TINY], numbers)

    def advantage(self, rewards_N: Floats, rows: Rows) -> Floats:
        """Return a model's rewards minus the mean of the existing models, shape (N,)."""
        advantage_N: Floats = rewards_N - self.easy_P[rows] - self.mean_P[rows]
        return advantage_N


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """The estimate for one model.

    Attributes:
        share_T: weight of each existing model's expected reward; the weights sum to 1.
        tags_G: what a tag adds, including by how easy its prompts are.
        constant: its advantage on every prompt.
        error_P: standard error of its expected advantage on each prompt.
    """

    share_T: Floats
    tags_G: Floats
    constant: float
    error_P: Floats


def evidence_of(expected_PT: Floats, rewards_PT: Floats, tags_PG: Floats) -> Evidence:
    """Build the columns of prompts.

    Args:
        expected_PT: a router's expected rewards of T existing models.
        rewards_PT: their rewards; NaN where one was not sampled.
        tags_PG: 0/1 columns.
    """
    departures_PT = rewards_PT - expected_PT
    num_P = np.maximum(np.isfinite(departures_PT).sum(axis=1), 1)
    easy_P = np.nan_to_num(departures_PT).sum(axis=1) / num_P
    surprise_PT = np.nan_to_num(departures_PT - easy_P[:, None])
    mean_P = expected_PT.mean(axis=1)
    relative_PT = expected_PT - mean_P[:, None]
    level_T = relative_PT.mean(axis=0)
    scale = float(np.sqrt(relative_PT.var(axis=0).mean())) + TINY
    taste_PT, ones_P1 = (relative_PT - level_T) / scale, np.ones((len(expected_PT), 1))
    ease_G = _ease(easy_P + mean_P, tags_PG)
    ease_P1 = (tags_PG @ ease_G)[:, None]
    known_PX = np.hstack([taste_PT, ease_P1, surprise_PT / (surprise_PT.std() + TINY), tags_PG, ones_P1])
    return Evidence(known_PX, expected_PT.shape[1], easy_P, mean_P, level_T, scale, ease_G)


def _ease(level_P: Floats, tags_PG: Floats) -> Floats:
    """Return how far each tag raises the mean reward, scaled to a standard deviation of 1 over the prompts."""
    squares_GG = tags_PG.T @ tags_PG + EASE_PENALTY * np.eye(tags_PG.shape[1])
    ease_G: Floats = np.linalg.solve(squares_GG, tags_PG.T @ (level_P - level_P.mean()))
    return ease_G / (float((tags_PG @ ease_G).std()) + TINY)


def estimate(evidence: Evidence, rows: Rows, rewards_N: Floats, penalties: Penalties) -> ModelEstimate:
    """Fit one model to its rewards on the N prompts in `rows`."""
    known_NX = evidence.known_PX[rows]
    advantage_N = evidence.advantage(rewards_N, rows)
    inverse_XX = np.linalg.inv(known_NX.T @ known_NX + np.diag(evidence.penalty_X(penalties)))
    weights_X = inverse_XX @ (known_NX.T @ advantage_N)
    freedom = len(rows) - float(np.einsum("nx,xy,ny->", known_NX, inverse_XX, known_NX))
    noise = float(((advantage_N - known_NX @ weights_X) ** 2).sum()) / max(freedom, 1.0)
    prior_PX = evidence.prior_PX
    error_P = np.sqrt(noise * np.einsum("px,px->p", prior_PX @ inverse_XX, prior_PX))
    num = evidence.num_existing
    likeness_T = weights_X[:num] / evidence.scale
    share_T = likeness_T + (1.0 - likeness_T.sum()) / num
    constant = float(weights_X[-1] - likeness_T @ evidence.level_T)
    tags_G = weights_X[2 * num + 1 : -1] + weights_X[num] * evidence.ease_G
    return ModelEstimate(share_T, tags_G, constant, error_P)


def tune(expected_PT: Floats, rewards_PT: Floats, tags_PG: Floats, rows: Rows) -> Penalties:
    """Choose the penalties that predict existing models best when each is treated as new on the prompts in `rows`.

    Args:
        expected_PT: a router's expected rewards of T existing models; of the model treated as new, the truth.
        rewards_PT: their rewards; of the model treated as new only `rows` are used.
        tags_PG: 0/1 columns.
        rows: the probe prompts.
    """
    num = expected_PT.shape[1]
    if num < 2:
        return UNTUNED
    models = np.unique(np.linspace(0, num - 1, min(num, MAX_PLAYED)).astype(np.int64))
    errors = sum(_errors_of(model, expected_PT, rewards_PT, tags_PG, rows) for model in models.tolist())
    return GRID[int(np.argmin(errors))]


def _errors_of(model: int, expected_PT: Floats, rewards_PT: Floats, tags_PG: Floats, rows: Rows) -> Floats:
    """Return the mean squared error for one existing model at each point of the grid."""
    evidence = evidence_of(np.delete(expected_PT, model, axis=1), np.delete(rewards_PT, model, axis=1), tags_PG)
    known_rows = rows[np.isfinite(rewards_PT[rows, model])]
    known_NX = evidence.known_PX[known_rows]
    squares_XX = known_NX.T @ known_NX
    target_X = known_NX.T @ evidence.advantage(rewards_PT[known_rows, model], known_rows)
    prior_PX = evidence.prior_PX
    truth_P = expected_PT[:, model] - evidence.mean_P
    moments_XX, moments_X = prior_PX.T @ prior_PX, prior_PX.T @ truth_P
    penalty_GX = np.stack([evidence.penalty_X(penalties) for penalties in GRID])
    systems_GXX = squares_XX + penalty_GX[:, :, None] * np.eye(len(squares_XX))
    weights_GX = np.linalg.solve(systems_GXX, np.broadcast_to(target_X[:, None], (*penalty_GX.shape, 1)))[:, :, 0]
    fitted_G = ((weights_GX @ moments_XX) * weights_GX).sum(axis=1) - 2.0 * weights_GX @ moments_X
    errors_G: Floats = (truth_P @ truth_P + fitted_G) / len(truth_P)
    return errors_G
