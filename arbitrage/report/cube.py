"""The candidate table as dense arrays: prompt × teacher × sample, with the reward's and the metric's opinion.

100,000 prompts × 12 teachers × 5 samples take 48 MB for each array of floats. NaN means "no value" in these arrays
only; rows and summaries have None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Metric:
    """What strategies are judged by.

    Attributes:
        name: `exact@1`, the name of a reward, or that of the ensemble.
        kind: an `accuracy` is in [0, 1] and an absent answer counts as 0; a `score` has no zero, so absent
            answers are left out and relative differences make no sense.
        is_held_out: False where it had a say in the selection: the chosen answers then lead by it whatever they are
            worth, so that a lead is no evidence.
    """

    name: str
    kind: Literal["accuracy", "score"]
    is_held_out: bool

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the greatest mean there can be."""
        return (0.0, 1.0) if self.kind == "accuracy" else None


@dataclass(frozen=True, slots=True)
class Cube:
    """One table, all strategies.

    Attributes:
        languages, teachers: names, sorted; the codes and axes below count along them.
        language_P: language of each prompt.
        cluster_P: prompts that translate each other share a number.
        asked_PT: the run's router named this teacher.
        answered_PTS: an answer lies in the table (it may be gated).
        reward_PTS: the score by which selection chooses; NaN where there is none or a filter dropped the answer.
        metric_PTS: the score by which strategies are compared; NaN where there is none.
        metric: the judge.
        routes: for each other router that ran, whom it would have asked.
    """

    languages: tuple[str, ...]
    teachers: tuple[str, ...]
    language_P: Ints
    cluster_P: Ints
    asked_PT: Bools
    answered_PTS: Bools
    reward_PTS: Floats
    metric_PTS: Floats
    metric: Metric
    routes: Mapping[str, Bools]

    @property
    def num_prompts(self) -> int:
        """Prompts in the table."""
        return len(self.language_P)

    @property
    def num_samples(self) -> int:
        """Samples drawn of each teacher."""
        return int(self.answered_PTS.shape[2])

    @property
    def has_reward(self) -> bool:
        """Tell whether any answer has a reward, without which nothing can be chosen by it."""
        return bool(np.isfinite(self.reward_PTS).any())

    def only(self, keep_P: Bools) -> "Cube":
        """Return the cube of some of the prompts."""
        return replace(
            self,
            language_P=self.language_P[keep_P],
            cluster_P=self.cluster_P[keep_P],
            asked_PT=self.asked_PT[keep_P],
            answered_PTS=self.answered_PTS[keep_P],
            reward_PTS=self.reward_PTS[keep_P],
            metric_PTS=self.metric_PTS[keep_P],
            routes={name: route_PT[keep_P] for name, route_PT in self.routes.items()},
        )

    def with_teachers_sorted(self) -> "Cube":
        """Return the same cube with its teachers in alphabetical order."""
        order = sorted(range(len(self.teachers)), key=lambda t: self.teachers[t])
        return replace(
            self,
            teachers=tuple(self.teachers[t] for t in order),
            asked_PT=self.asked_PT[:, order],
            answered_PTS=self.answered_PTS[:, order],
            reward_PTS=self.reward_PTS[:, order],
            metric_PTS=self.metric_PTS[:, order],
            routes={name: route_PT[:, order] for name, route_PT in self.routes.items()},
        )
