"""Figures of routers: mean reward, the share of the gap they close, regret, shares, cost; intervals are clustered.

gap closed = (router − best single) / (oracle − best single), sums over prompts (METHODS §3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from arbitrage.candidates.matrix import Floats, RewardMatrix
from arbitrage.candidates.queries import Rows
from arbitrage.statistics import Estimate, estimate, resample_ratios
from routers.evaluation.policy import PolicyOutcome

NUM_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class LanguageFigures:
    """One router in one language."""

    num_prompts: int
    mean_reward: float
    gap_closed: Estimate | None


@dataclass(frozen=True, slots=True)
class RouterFigures:
    """One router on all prompts.

    Attributes:
        gap_closed: a fraction; None where there is no gap.
        gain: mean reward above that of the best single teacher.
        regret: mean reward below the oracle's.
        judge_gain: the gain under the second judge, on the prompts for which it has a score of every teacher.
        shares: teacher → share of prompts; shares of 0 are left out.
        cost: mean cost of a prompt.
    """

    name: str
    mean_reward: float
    gap_closed: Estimate | None
    gain: Estimate | None
    regret: float
    judge_gain: Estimate | None
    shares: Mapping[str, float]
    cost: float | None
    per_language: Mapping[str, LanguageFigures] = field(default_factory=dict)
    note: str = ""


def measure(
    outcomes: Sequence[PolicyOutcome],
    single: PolicyOutcome,
    oracle: PolicyOutcome,
    matrix: RewardMatrix,
    seed: int = 0,
) -> list[RouterFigures]:
    """Measure routers side by side, on the same resamples of clusters."""
    gaps = gap_estimates(outcomes, single, oracle, matrix.cluster_P, seed)
    gains = mean_differences([o.reward_P for o in outcomes], single.reward_P, matrix.cluster_P, seed)
    judged = [o.judge_P for o in outcomes if o.judge_P is not None]
    judge_gains: list[Estimate | None] = [None] * len(outcomes)
    if single.judge_P is not None and len(judged) == len(outcomes):
        judge_gains = _judged(judged, single.judge_P, matrix.cluster_P, seed)
    per_language = _by_language(outcomes, single, oracle, matrix, seed)
    found: list[RouterFigures] = []
    for place, outcome in enumerate(outcomes):
        shares_T = outcome.shares_PT.mean(axis=0)
        shares = {name: float(s) for name, s in zip(matrix.teachers, shares_T, strict=True) if s > 0}
        found.append(
            RouterFigures(
                name=outcome.name,
                mean_reward=float(outcome.reward_P.mean()),
                gap_closed=gaps[place],
                gain=gains[place],
                regret=float((oracle.reward_P - outcome.reward_P).mean()),
                judge_gain=judge_gains[place],
                shares=dict(sorted(shares.items(), key=lambda pair: -pair[1])),
                cost=None if outcome.cost_P is None else float(outcome.cost_P.mean()),
                per_language={language: figures[place] for language, figures in per_language.items()},
                note=outcome.note,
            )
        )
    return found


def gap_estimates(
    outcomes: Sequence[PolicyOutcome], single: PolicyOutcome, oracle: PolicyOutcome, cluster_P: Rows, seed: int
) -> list[Estimate | None]:
    """Return the share of the gap each router closes."""
    gain_PO = np.stack([outcome.reward_P - single.reward_P for outcome in outcomes], axis=1)
    gap_P = oracle.reward_P - single.reward_P
    return ratio_estimates(gain_PO, np.repeat(gap_P[:, None], len(outcomes), axis=1), cluster_P, seed)


def mean_differences(
    values: Sequence[Floats], reference_P: Floats, cluster_P: Rows, seed: int
) -> list[Estimate | None]:
    """Return the mean paired difference of each router to the reference."""
    difference_PO = np.stack(values, axis=1) - reference_P[:, None]
    return ratio_estimates(difference_PO, np.ones_like(difference_PO), cluster_P, seed)


def ratio_estimates(
    numerator_PO: Floats, denominator_PO: Floats, cluster_P: Rows, seed: int
) -> list[Estimate | None]:
    """Return Σ numerator / Σ denominator for each column; None where the denominator does not sum to more than 0."""
    draws_RO = resample_ratios(numerator_PO, denominator_PO, cluster_P, seed=seed, num_resamples=NUM_RESAMPLES)
    totals = zip(numerator_PO.sum(axis=0), denominator_PO.sum(axis=0), draws_RO.T, strict=True)
    num_clusters = len(np.unique(cluster_P))
    return [estimate(float(n / d), draws_R, num_clusters) if d > 1e-12 else None for n, d, draws_R in totals]


def _judged(values: Sequence[Floats], single_P: Floats, cluster_P: Rows, seed: int) -> list[Estimate | None]:
    """Compare on the prompts for which the judge has a score of every teacher that a router may choose."""
    has = np.flatnonzero(np.isfinite(np.stack([*values, single_P])).all(axis=0))
    if not len(has):
        return [None] * len(values)
    return mean_differences([value_P[has] for value_P in values], single_P[has], cluster_P[has], seed)


def _by_language(
    outcomes: Sequence[PolicyOutcome], single: PolicyOutcome, oracle: PolicyOutcome, matrix: RewardMatrix, seed: int
) -> dict[str, list[LanguageFigures]]:
    found: dict[str, list[LanguageFigures]] = {}
    for language in sorted(set(matrix.queries.languages.tolist())):
        rows = np.flatnonzero(matrix.queries.languages == language)
        parts = [PolicyOutcome(o.name, o.shares_PT[rows], o.reward_P[rows]) for o in (*outcomes, single, oracle)]
        gaps = gap_estimates(parts[:-2], parts[-2], parts[-1], matrix.cluster_P[rows], seed)
        found[language] = [
            LanguageFigures(len(rows), float(part.reward_P.mean()), gap)
            for part, gap in zip(parts[:-2], gaps, strict=True)
        ]
    return found
