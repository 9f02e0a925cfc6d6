"""The reward matrix: how well each teacher of a pool answered each prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from arbitrage.candidates.queries import Queries, Rows

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RewardMatrix:
    """Rewards of P prompts × T teachers.

    Attributes:
        prompt_ids: P, in no particular order.
        queries: what a router may know of the prompts.
        cluster_P: codes of the clusters; prompts of one cluster (translations, segments of a document) are never
            split between training and test.
        teachers: T names, sorted.
        rewards_PT: mean reward of a teacher's answers; NaN where the teacher is not admitted to the language.
        rewards_by_name: single rewards, (P, T) each, where several were given; `rewards_PT` is then their blend.
        judge_PT: scores of a second judge, which routers are not trained for, if there is one.
        cost_PT: cost of a completion, in the unit of the source; None if unknown.
    """

    prompt_ids: tuple[str, ...]
    queries: Queries
    cluster_P: Rows
    teachers: tuple[str, ...]
    rewards_PT: Floats
    rewards_by_name: Mapping[str, Floats] = field(default_factory=dict)
    judge_PT: Floats | None = None
    cost_PT: Floats | None = None

    def __len__(self) -> int:
        """Return the number of prompts, P."""
        return len(self.prompt_ids)

    @property
    def admitted_PT(self) -> Bools:
        """Which teacher may be sampled for which prompt."""
        return np.isfinite(self.rewards_PT)

    def take(self, rows: Rows) -> "RewardMatrix":
        """Return some of the prompts, in the order of `rows`."""
        return replace(
            self,
            prompt_ids=tuple(self.prompt_ids[row] for row in rows),
            queries=self.queries.take(rows),
            cluster_P=self.cluster_P[rows],
            rewards_PT=self.rewards_PT[rows],
            rewards_by_name={name: reward_PT[rows] for name, reward_PT in self.rewards_by_name.items()},
            judge_PT=None if self.judge_PT is None else self.judge_PT[rows],
            cost_PT=None if self.cost_PT is None else self.cost_PT[rows],
        )

    def rewarded_by(self, rewards_PT: Floats) -> "RewardMatrix":
        """Return the same prompts and teachers with other rewards."""
        return replace(self, rewards_PT=rewards_PT)

    def among(self, teachers: Sequence[str]) -> "RewardMatrix":
        """Return the matrix of some of the teachers."""
        columns = [self.teachers.index(name) for name in sorted(teachers)]
        return replace(
            self,
            teachers=tuple(sorted(teachers)),
            rewards_PT=self.rewards_PT[:, columns],
            rewards_by_name={name: reward_PT[:, columns] for name, reward_PT in self.rewards_by_name.items()},
            judge_PT=None if self.judge_PT is None else self.judge_PT[:, columns],
            cost_PT=None if self.cost_PT is None else self.cost_PT[:, columns],
        )


def best_admitted(expected_PT: Floats, matrix: RewardMatrix) -> Rows:
    """Return the column of the best teacher among those admitted, shape (P,)."""
    choice_P: Rows = np.where(matrix.admitted_PT, expected_PT, -np.inf).argmax(axis=1)
    return choice_P


def chosen(values_PT: Floats, choice_P: Rows) -> Floats:
    """Return the value of the chosen teacher of each prompt, shape (P,)."""
    found_P: Floats = values_PT[np.arange(len(choice_P)), choice_P]
    return found_P


def teacher_means(rewards_PT: Floats) -> Floats:
    """Return each teacher's mean advantage over the other models, shape (T,), summing to zero.

    Where not every teacher was sampled for every prompt, easy prompts must not pass for good teachers: reward =
    prompt + teacher is fitted by least squares. Teachers that no prompt links are centred each among their own.
    """
    return centred(rewards_PT)[1]


def centred(rewards_PT: Floats) -> tuple[Floats, Floats]:
    """Remove from rewards what the prompt and the teacher contribute on average.

    Returns:
        The residuals, (P, T), 0 where a teacher was not sampled; and the teachers' mean advantage, (T,).
    """
    asked_PT = np.isfinite(rewards_PT)
    filled_PT = np.where(asked_PT, rewards_PT, 0.0)
    num_P, num_T = np.maximum(asked_PT.sum(axis=1), 1), asked_PT.sum(axis=0)
    if asked_PT.all():
        means_T = filled_PT.mean(axis=0) if len(filled_PT) else np.zeros(filled_PT.shape[1])
    else:  # the normal equations without the prompts, which each follow from the teachers
        share_PT = asked_PT / num_P[:, None]
        links_TT = np.diag(num_T) - asked_PT.T @ share_PT
        above_T = (filled_PT - share_PT * filled_PT.sum(axis=1, keepdims=True)).sum(axis=0)
        means_T = np.linalg.pinv(links_TT, rcond=1e-9, hermitian=True) @ above_T
    means_T = means_T - means_T.mean()
    prompt_P = (filled_PT - asked_PT * means_T).sum(axis=1) / num_P
    return np.where(asked_PT, filled_PT - prompt_P[:, None] - means_T, 0.0), means_T
