"""Quality against cost: money, and generations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arbitrage.candidates.matrix import Floats, RewardMatrix, chosen
from arbitrage.candidates.queries import Rows
from arbitrage.records import content_id

NUM_POINTS = 33
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of prompts, the least certain first, that a second teacher is sampled for."""


@dataclass(frozen=True, slots=True)
class CostPoint:
    """Mean cost and reward of a prompt at one `cost_weight`."""

    cost_weight: float
    cost: float
    mean_reward: float


@dataclass(frozen=True, slots=True)
class Frontier:
    """The cost–quality frontier of a router.

    Attributes:
        points: by falling cost weight; those that cost more and yield less than another are left out.
        area: under the frontier, as a share of the rectangle from the cheapest to the most expensive teacher and from
            the
        worst to the oracle; `area_of_singles` is that of mixing single teachers at random.
    """

    points: Sequence[CostPoint]
    area: float
    area_of_singles: float


@dataclass(frozen=True, slots=True)
class Generations:
    """Mean reward of the best candidate when several teachers are sampled per prompt.

    Attributes:
        per_prompt: mean number of teachers sampled.
        how: `top k`, or the share of prompts, the least certain ones, that get a second candidate.
    """

    per_prompt: float
    how: str
    mean_reward: float


def trace_frontier(expected_PT: Floats, matrix: RewardMatrix) -> Frontier | None:
    """Trace the frontier over weights of cost against predicted reward; None if no costs are known."""
    if matrix.cost_PT is None or not np.isfinite(matrix.cost_PT[matrix.admitted_PT]).all():
        return None
    typical_T = np.nanmean(np.where(matrix.admitted_PT, matrix.cost_PT, np.nan), axis=0)  # known before sampling
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


def count_generations(expected_PT: Floats, matrix: RewardMatrix) -> list[Generations]:
    """Sample the top k, or the second best where the margin between the two best is small; eligible teachers only.

    Equal margins are ordered by a hash of the prompt's id, so that a share is exactly that share of the prompts.
    """
    open_PT = np.where(matrix.admitted_PT, expected_PT, -np.inf)
    ranked_PT = np.argsort(-open_PT, axis=1, kind="stable")
    rewards_PT = np.take_along_axis(np.where(matrix.admitted_PT, matrix.rewards_PT, -np.inf), ranked_PT, axis=1)
    best_PT = np.maximum.accumulate(rewards_PT, axis=1)
    num_P = matrix.admitted_PT.sum(axis=1)
    doubtful = _least_sure_first(np.take_along_axis(open_PT, ranked_PT, axis=1), num_P, matrix.prompt_ids)
    found: list[Generations] = []
    for share in SHARES:
        place_P = np.zeros(len(num_P), np.int64)
        place_P[doubtful[: round(share * len(num_P))]] = 1
        reward = float(chosen(best_PT, place_P).mean())
        found.append(Generations(1.0 + float(place_P.mean()), f"{share:.0%} unsure get 2", reward))
    tops = [
        Generations(float(np.minimum(k, num_P).mean()), f"top {k}", float(best_PT[:, k - 1].mean()))
        for k in range(2, best_PT.shape[1] + 1)
    ]
    return found + tops


def _least_sure_first(sorted_PT: Floats, num_P: Rows, prompt_ids: Sequence[str]) -> Rows:
    """Return the prompts that have a second teacher, by the margin between their two best."""
    rows = np.flatnonzero(num_P > 1)
    hashes = np.array([content_id("generations", prompt_ids[row]) for row in rows], dtype=str)
    margins = sorted_PT[rows, 0] - sorted_PT[rows, 1] if len(rows) else np.zeros(0)
    ordered: Rows = rows[np.lexsort((hashes, margins))]
    return ordered


def _weights(expected_PT: Floats, typical_T: Floats) -> Floats:
    """Return cost weights from one at which cost decides everything, down to 0."""
    gap = max(float(np.ptp(expected_PT, axis=1).max()), 1e-12)
    steps = np.diff(np.unique(typical_T))
    most = gap / max(float(steps.min()), 1e-12) if len(steps) else 1.0
    least = gap / max(float(np.ptp(typical_T)), 1e-12) * 1e-3
    return np.append(np.geomspace(max(most, least), least, NUM_POINTS - 1), 0.0)


def _point(weight: float, expected_PT: Floats, typical_T: Floats, matrix: RewardMatrix) -> CostPoint:
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
    """Return the area under the upper hull; points between two policies are reached by mixing them at random."""
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
