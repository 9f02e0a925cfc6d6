"""What quality costs: money against reward, and generations against reward."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arbitrage.outcomes.matrix import Floats, OutcomeMatrix, chosen

NUM_POINTS = 33
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of prompts, those least sure, for which a second teacher is asked."""


@dataclass(frozen=True, slots=True)
class CostPoint:
    """Mean cost and reward of a prompt when cost is weighed by `cost_weight`."""

    cost_weight: float
    cost: float
    mean_reward: float


@dataclass(frozen=True, slots=True)
class Frontier:
    """The cost–quality frontier of a router.

    Attributes:
        points: by falling cost weight; those that cost more and yield less than another are left out.
        area: under the frontier, as a share of the rectangle from the cheapest to the dearest teacher and from the
            worst to the oracle; `area_of_singles` is that of mixing single teachers at random.
    """

    points: Sequence[CostPoint]
    area: float
    area_of_singles: float


@dataclass(frozen=True, slots=True)
class Generations:
    """Mean reward of the best answer when more than one teacher is asked.

    Attributes:
        per_prompt: mean number of teachers asked.
        how: `top k`, or which share of prompts, the least sure, gets a second answer.
    """

    per_prompt: float
    how: str
    mean_reward: float


def trace_frontier(expected_PT: Floats, matrix: OutcomeMatrix) -> Frontier | None:
    """Weigh cost against expected reward, from not at all to nothing but cost; None if no costs are known."""
    if matrix.cost_PT is None or not np.isfinite(matrix.cost_PT[matrix.admitted_PT]).all():
        return None
    typical_T = np.nanmean(np.where(matrix.admitted_PT, matrix.cost_PT, np.nan), axis=0)  # known before asking
    weights = _weights(expected_PT, typical_T)
    points = [_point(weight, expected_PT, typical_T, matrix) for weight in weights]
    singles = [
        CostPoint(0.0, float(np.nanmean(matrix.cost_PT[:, t])), float(np.nanmean(matrix.rewards_PT[:, t])))
        for t in range(len(matrix.teachers))
    ]
    low, high = min(p.cost for p in singles), max(p.cost for p in singles)
    floor = min(p.mean_reward for p in singles)
    top = float(np.nanmax(matrix.rewards_PT, axis=1).mean())
    areas = [_area(found, low, high, floor, top) for found in (points, singles)]
    return Frontier(_undominated(points), areas[0], areas[1])


def count_generations(expected_PT: Floats, matrix: OutcomeMatrix) -> list[Generations]:
    """Ask the top k, or the second best where the margin between the two best is small."""
    ranked_PT = np.argsort(-np.where(matrix.admitted_PT, expected_PT, -np.inf), axis=1, kind="stable")
    rewards_PT = np.take_along_axis(np.where(matrix.admitted_PT, matrix.rewards_PT, -np.inf), ranked_PT, axis=1)
    best_PT = np.maximum.accumulate(rewards_PT, axis=1)
    sorted_PT = np.take_along_axis(expected_PT, ranked_PT, axis=1)
    margin_P = sorted_PT[:, 0] - sorted_PT[:, 1]
    found: list[Generations] = []
    for share in SHARES:
        unsure_P = margin_P <= np.quantile(margin_P, share) if share else np.zeros(len(margin_P), bool)
        reward_P = np.where(unsure_P, best_PT[:, 1], best_PT[:, 0])
        found.append(Generations(1.0 + float(unsure_P.mean()), f"{share:.0%} unsure get 2", float(reward_P.mean())))
    tops = [
        Generations(float(k + 1), f"top {k + 1}", float(best_PT[:, k].mean())) for k in range(1, best_PT.shape[1])
    ]
    return found + tops


def _weights(expected_PT: Floats, typical_T: Floats) -> Floats:
    """Return cost weights from one at which cost decides everything, down to 0."""
    gap = max(float(np.ptp(expected_PT, axis=1).max()), 1e-12)
    steps = np.diff(np.unique(typical_T))
    most = gap / max(float(steps.min()), 1e-12) if len(steps) else 1.0
    least = gap / max(float(np.ptp(typical_T)), 1e-12) * 1e-3
    return np.append(np.geomspace(max(most, least), least, NUM_POINTS - 1), 0.0)


def _point(weight: float, expected_PT: Floats, typical_T: Floats, matrix: OutcomeMatrix) -> CostPoint:
    worth_PT = np.where(matrix.admitted_PT, expected_PT - weight * typical_T, -np.inf)
    choice_P = worth_PT.argmax(axis=1)
    if matrix.cost_PT is None:
        raise ValueError("a frontier needs costs")
    cost = float(chosen(matrix.cost_PT, choice_P).mean())
    return CostPoint(float(weight), cost, float(chosen(matrix.rewards_PT, choice_P).mean()))


def _undominated(points: Sequence[CostPoint]) -> list[CostPoint]:
    kept: list[CostPoint] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.mean_reward)):
        if not kept or point.mean_reward > kept[-1].mean_reward:
            kept.append(point)
    return kept


def _area(points: Sequence[CostPoint], low: float, high: float, floor: float, top: float) -> float:
    """Return the area under the upper hull: between two points one may draw lots."""
    hull: list[CostPoint] = []
    for point in _undominated(points):
        while len(hull) > 1 and _turns_up(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    costs = np.clip([p.cost for p in hull], low, high)
    heights = np.clip([(p.mean_reward - floor) / max(top - floor, 1e-12) for p in hull], 0.0, 1.0)
    grid = np.linspace(low, high, 513)
    under = np.interp(grid, costs, heights, left=0.0)
    return float(under.mean())


def _turns_up(a: CostPoint, b: CostPoint, c: CostPoint) -> bool:
    return (b.mean_reward - a.mean_reward) * (c.cost - a.cost) <= (c.mean_reward - a.mean_reward) * (b.cost - a.cost)
