"""A new teacher joins from about a hundred prompts that every incumbent has answered too; nobody else is retrained.

Collaborative ridge: the newcomer's reward on a prompt is regressed on the incumbents' rewards, plus a residual by
language shrunken towards nothing. That gives it a column on all prompts the incumbents were trained on, from which
its one regressor is fitted. Plain means of so few prompts mislead: they compare easy prompts with hard ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from arbitrage.errors import UserError
from arbitrage.outcomes.matrix import Floats, OutcomeMatrix, teacher_means
from arbitrage.outcomes.queries import Queries, Rows
from arbitrage.records import content_id
from routers.learners.learned import Learned
from routers.learners.prior import fit_columns
from routers.learners.table import Table
from routers.learners.text import TextRidge, fit_more

CALIBRATION_SIZE: Final = 128
EXPLORE_ONLY_BELOW: Final = 32
"""With fewer prompts a newcomer is not asked on its expected merit, only to learn about it."""
PENALTIES: Final = (1.0, 3.0, 10.0, 30.0, 100.0)
CAUTION: Final = 0.25
"""Standard errors taken off what is expected of a newcomer."""
NEVER: Final = 1e6
"""Taken off a newcomer that is only explored."""
SHRINKAGE: Final = (0.5, 64.0)
"""Least and most prompts of a language at which a newcomer's own residual there weighs half."""


@dataclass(frozen=True, slots=True)
class Imputed:
    """What is believed of a newcomer.

    Attributes:
        rewards_P: its expected reward on every prompt.
        error: standard deviation of a single reward around it, left out of the fit.
        shrinkage: prompts of a language at which its own residual weighs half.
    """

    rewards_P: Floats
    error: float
    shrinkage: float


def impute_column(incumbents: OutcomeMatrix, rows: Rows, rewards_N: Floats) -> Imputed:
    """Estimate a newcomer's reward on every prompt of the incumbents.

    Args:
        incumbents: P prompts, every teacher's reward known.
        rows: the N prompts that the newcomer answered.
        rewards_N: how well, same order.

    Returns:
        Its expected reward on every prompt; what is known is not put in.
    """
    known_PT = np.where(incumbents.admitted_PT, incumbents.rewards_PT, np.nanmean(incumbents.rewards_PT))
    level_T, scale_T = known_PT.mean(axis=0), np.maximum(known_PT.std(axis=0), 1e-9)
    design_PX = np.hstack([(known_PT - level_T) / scale_T, np.ones((len(incumbents), 1))])
    penalty = min(PENALTIES, key=lambda value: _left_out_error(design_PX[rows], rewards_N, value))
    fitted_P: Floats = design_PX @ _ridge(design_PX[rows], rewards_N, penalty)
    residual_N = rewards_N - fitted_P[rows]
    languages = incumbents.queries.languages
    shrinkage = estimate_shrinkage(design_PX[:, :-1], languages, rows, penalty)
    for language in sorted(set(languages[rows].tolist())):
        there_N = languages[rows] == language
        shift = residual_N[there_N].sum() / (there_N.sum() + shrinkage)
        fitted_P[languages == language] += shift
    error = float(np.sqrt(_left_out_error(design_PX[rows], rewards_N, penalty)))
    return Imputed(fitted_P, error, shrinkage)


def estimate_shrinkage(known_PT: Floats, languages: NDArray[Any], rows: Rows, penalty: float) -> float:
    """Learn from the incumbents how much a teacher's languages depart from what its fellows tell of it.

    Each incumbent plays the newcomer: regressed on the others over the same N prompts, and looked at on all P. The
    variance within languages over that between them is the number of prompts at which both count the same.

    Args:
        known_PT: rewards of the incumbents, each standardised.
        languages: of the P prompts.
        rows: the N prompts the newcomer answered.
        penalty: of the regression.
    """
    _, code_P = np.unique(languages.astype(str), return_inverse=True)
    num_L = np.bincount(code_P)
    within = between = 0.0
    for column in range(known_PT.shape[1]):
        others_PX = np.delete(known_PT, column, axis=1)
        others_PX = np.hstack([others_PX, np.ones((len(others_PX), 1))])
        left_P = known_PT[:, column] - others_PX @ _ridge(others_PX[rows], known_PT[rows, column], penalty)
        mean_L = np.bincount(code_P, weights=left_P) / num_L
        noise = float(((left_P - mean_L[code_P]) ** 2).mean())
        spread = mean_L - np.average(mean_L, weights=num_L)
        within += noise
        between += max(float(np.average(spread**2, weights=num_L)) - noise * len(num_L) / len(left_P), 0.0)
    return float(np.clip(within / max(between, 1e-9), *SHRINKAGE))


def admit(learned: Learned, incumbents: OutcomeMatrix, name: str, rows: Rows, rewards_N: Floats) -> "Extended":
    """Let a newcomer join a trained router.

    Args:
        learned: the router of the incumbents, trained on their matrix.
        incumbents: that matrix.
        name: of the newcomer.
        rows: the prompts that it answered.
        rewards_N: how well, same order.

    Raises:
        UserError: the name is taken.
    """
    if name in incumbents.teachers:
        raise UserError(f"add-teacher: '{name}' is in the router's pool already")
    imputed = impute_column(incumbents, rows, rewards_N)
    column_P = imputed.rewards_P
    means_T = teacher_means(incumbents.rewards_PT)
    prompt_P = np.nanmean(incumbents.rewards_PT - means_T, axis=1)
    mean = float((column_P - prompt_P).mean())
    left_P1 = (column_P - prompt_P - mean)[:, None]
    prior = fit_columns(learned.prior, incumbents.queries, left_P1)
    text = None
    if learned.text is not None and learned.penalty is not None:
        left_P1 = left_P1 - prior.predict(incumbents.queries)
        text = fit_more(learned.text, incumbents.queries, left_P1, learned.penalty)
    place = int(np.searchsorted(incumbents.teachers, name))
    own = Learned(np.array([mean]), prior, learned.price, text, learned.penalty)
    joined = join_column(learned, own, place, _price(learned, incumbents.queries.languages[rows], imputed))
    return Extended(joined, tuple(np.insert(np.asarray(incumbents.teachers, dtype=object), place, name)), len(rows))


@dataclass(frozen=True, slots=True)
class Extended:
    """A router with one more teacher.

    Attributes:
        teachers: all names, sorted: the columns of the predictor.
        num_prompts: how many the newcomer was seen on.
    """

    predictor: Learned
    teachers: tuple[str, ...]
    num_prompts: int

    @property
    def is_explore_only(self) -> bool:
        """Tell whether too little is known of the newcomer to ask it on its merit."""
        return self.num_prompts < EXPLORE_ONLY_BELOW


def join_column(learned: Learned, own: Learned, place: int, price_R: Floats) -> Learned:
    """Put the one column of `own` beside those of `learned`; `price_R` is taken off it, unseen languages last."""

    def insert(many: Floats, one: Floats) -> Floats:
        return np.insert(many, place, one[..., 0], axis=-1)

    prior = learned.prior.with_weights(insert(learned.prior.weights_XT, own.prior.weights_XT))
    text = learned.text
    if text is not None and own.text is not None:
        weights_FT = np.insert(text.weights_FT, place, own.text.weights_FT[:, 0], axis=1)
        text = TextRidge(text.ngrams, weights_FT)
    price = Table(
        learned.price.vocabulary,
        insert(learned.price.means_T, -price_R[-1:]),
        insert(learned.price.departures_RT, (price_R[-1] - price_R[:-1])[:, None]),
    )
    return Learned(insert(learned.means_T, own.means_T), prior, price, text, learned.penalty)


def _price(learned: Learned, languages_N: NDArray[Any], imputed: Imputed) -> Floats:
    """Return what is taken off a newcomer by language, and at the end where training saw none."""
    num_R = np.array(
        [np.count_nonzero(languages_N == language) for language in learned.price.vocabulary.values] + [0]
    )
    priced_R: Floats = CAUTION * imputed.error * np.sqrt(1.0 / (num_R + imputed.shrinkage) + 1.0 / len(languages_N))
    return priced_R + (NEVER if len(languages_N) < EXPLORE_ONLY_BELOW else 0.0)


def pick_calibration(queries: Queries, cluster_P: Rows, prompt_ids: Sequence[str], size: int) -> Rows:
    """Pick prompts on which newcomers are tried: fixed, and stratified by language and task.

    Each stratum gets its share of prompts, by largest remainders, after one for each language while there is room;
    within it clusters are taken in the order of a hash of the prompt's id, no cluster twice before all others.
    """
    strata = np.asarray([f"{lang}\t{task}" for lang, task in zip(queries.languages, queries.tasks, strict=True)])
    names, index_P, num_S = np.unique(strata, return_inverse=True, return_counts=True)
    take_S = _allot(num_S, min(size, len(prompt_ids)), [name.split("\t")[0] for name in names])
    picked: list[int] = []
    used: set[int] = set()
    for stratum in range(len(names)):
        rows = np.flatnonzero(index_P == stratum)
        hashed = {row: content_id("calibration", prompt_ids[row]) for row in rows.tolist()}
        for _ in range(take_S[stratum]):
            row = min(hashed, key=lambda r: (cluster_P[r] in used, hashed[r]))
            used.add(int(cluster_P[row]))
            picked.append(row)
            del hashed[row]
    return np.asarray(sorted(picked), np.int64)


def _allot(num_S: Rows, size: int, languages: Sequence[str]) -> Rows:
    """Share `size` places among strata in proportion to their numbers, each language getting one first if it can."""
    take_S = np.zeros(len(num_S), np.int64)
    for language in dict.fromkeys(languages):
        if take_S.sum() < size:
            strata = [s for s, name in enumerate(languages) if name == language]
            take_S[max(strata, key=lambda s: num_S[s])] = 1
    wanted_S = num_S / num_S.sum() * size
    while take_S.sum() < size:
        short_S = np.where(take_S < num_S, wanted_S - take_S, -np.inf)
        take_S[int(np.argmax(short_S))] += 1
    return take_S


def _ridge(design_NX: Floats, target_N: Floats, penalty: float) -> Floats:
    """Return the coefficients; the last column, the constant, is not shrunken."""
    squares = design_NX.T @ design_NX
    squares[np.diag_indices(len(squares) - 1)] += penalty
    squares[-1, -1] += 1e-9
    found: Floats = solve(squares, design_NX.T @ target_N, assume_a="pos")
    return found


def _left_out_error(design_NX: Floats, target_N: Floats, penalty: float) -> float:
    """Return the mean squared leave-one-out error, from the hat matrix (Allen 1974)."""
    squares = design_NX.T @ design_NX
    squares[np.diag_indices(len(squares) - 1)] += penalty
    squares[-1, -1] += 1e-9
    hat_N = np.einsum("nx,nx->n", design_NX, solve(squares, design_NX.T, assume_a="pos").T)
    residual_N = target_N - design_NX @ _ridge(design_NX, target_N, penalty)
    return float((((residual_N) / np.maximum(1.0 - hat_N, 1e-3)) ** 2).mean())
