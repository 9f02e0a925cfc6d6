"""What data is steered towards: metrics with a direction or a target, bounds, and a floor under the reward."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from arbitrage.config import Config
from arbitrage.metrics import MetricConfig
from arbitrage.metrics.defaults import CHEAP_METRICS

REWARD = "reward"
"""Name of the final score among the scaled metrics."""


class Objective(Config):
    """One metric, and its direction, target or bounds.

    Attributes:
        metric: any metric of one text.
        toward: `up` or `down`; a target value in the metric's unit; `like`, the distribution in the data set `like`;
            or null, if there are only bounds.
        weight: weight of this metric, in standard deviations, against the reward and the other objectives.
        floor: lowest value allowed, in the metric's unit, inclusive.
        ceiling: highest value allowed, inclusive.
        missing: a candidate without a value counts as average (`neutral`) or is not chosen (`drop`). Bounds always
            drop it. Where the metric is undefined in the language, neither bounds nor `drop` apply.
    """

    metric: MetricConfig
    toward: Literal["up", "down", "like"] | float | None = None
    weight: float = Field(default=1.0, gt=0.0)
    floor: float | None = None
    ceiling: float | None = None
    missing: Literal["neutral", "drop"] = "neutral"

    @model_validator(mode="after")
    def _wants_something(self) -> Self:
        if self.toward is None and not self.has_bounds:
            raise ValueError(f"{self.name}: has no `toward`, `floor` or `ceiling`")
        if self.floor is not None and self.ceiling is not None and self.floor > self.ceiling:
            raise ValueError(f"{self.name}: the floor {self.floor:g} is above the ceiling {self.ceiling:g}")
        return self

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.metric.metric_name

    @property
    def has_bounds(self) -> bool:
        """Whether a floor or ceiling is given."""
        return self.floor is not None or self.ceiling is not None

    def allows(self, value: float) -> bool:
        """Tell whether a value is within the bounds."""
        return (self.floor is None or value >= self.floor) and (self.ceiling is None or value <= self.ceiling)

    @property
    def label(self) -> str:
        """Return a short label: 'mtld:up', 'characters:120', 'lists:within'."""
        to = f"{self.toward:g}" if isinstance(self.toward, float) else self.toward
        return f"{self.name}:{to or 'within'}"


class RewardTerm(Config):
    """The weight of the reward, and the floor under it.

    Attributes:
        weight: weight of the reward, in standard deviations; 0 leaves only the floor.
        floor_quantile: share of the language's candidates, the lowest by final score, that is not chosen; null: no
            floor.
        floor_z: the same floor in standard deviations from the language's mean; both may be given.
    """

    weight: float = Field(default=1.0, ge=0.0)
    floor_quantile: float | None = Field(default=0.25, ge=0.0, lt=1.0)
    floor_z: float | None = None


class SteerConfig(Config):
    """How data is steered.

    Attributes:
        objectives: at least one with a direction or target.
        reward: weight and floor of the final score.
        watch: further metrics to measure, without an objective, to show what else changes (default: all that need no
            model).
        k: number of candidates of each prompt to choose from, in pseudo-random order; null: all.
        shrinkage: number of candidates at which a language's mean and deviation have the same weight as those of the
            level above.
        max_reward_loss: of pairs: maximum reward, in standard deviations, by which the rejected candidate may be
            better.
        seed: seed of the pseudo-random order.
    """

    objectives: tuple[Objective, ...] = Field(min_length=1)
    reward: RewardTerm = RewardTerm()
    watch: tuple[MetricConfig, ...] = CHEAP_METRICS
    k: int | None = Field(default=None, ge=2)
    shrinkage: float = Field(default=20.0, ge=0.0)
    max_reward_loss: float = Field(default=0.5, ge=0.0)
    seed: int = 0

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if all(objective.toward is None for objective in self.objectives):
            raise ValueError("no objective has a direction; give one of them `toward`")
        names = [objective.name for objective in self.objectives]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two objectives for '{twice[0]}'; put bounds and `toward` into one")
        if REWARD in names:
            raise ValueError(f"'{REWARD}' is the final score; give the metric another `name`")
        return self

    @property
    def metrics(self) -> tuple[MetricConfig, ...]:
        """All metrics to measure: those of the objectives, then the watched ones."""
        return with_watched([objective.metric for objective in self.objectives], self.watch)

    @property
    def label(self) -> str:
        """Return the labels of the objectives: 'mtld:up+characters:120'."""
        return "+".join(objective.label for objective in self.objectives)

    @property
    def needs_target(self) -> bool:
        """Whether an objective is `toward: like`."""
        return any(objective.toward == "like" for objective in self.objectives)


def with_watched(wanted: Sequence[MetricConfig], watched: Sequence[MetricConfig]) -> tuple[MetricConfig, ...]:
    """Return the wanted metrics, then the watched ones with other names; no name twice."""
    found = {metric.metric_name: metric for metric in (*reversed(watched), *reversed(wanted))}
    return tuple(found[name] for name in dict.fromkeys(m.metric_name for m in (*wanted, *watched)))
