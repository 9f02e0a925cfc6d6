"""Strategies as queries over one candidate table: which teachers each routes to, and which rows it keeps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from arbitrage.config import Config
from arbitrage.contracts.routers import PoolMember
from arbitrage.contracts.steps import Span, Step
from arbitrage.report.students import SINGLE
from arbitrage.selection.routed import Keep, RoutedSelection, select_routed
from pipelines.candidates import ShardRange, TableBuild
from routers import RouterConfig
from routers.choice import ChoiceConfig
from routers.learning import AnyLearner
from routers.learning.train import Explored, route_trained, train
from routers.single import SingleConfig
from routers.step import route

StrategyName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
"""A name that is valid in step names and directories."""


class StrategyConfig(Config):
    """One strategy.

    Attributes:
        name: name of its data set.
        router: the router.
        learner: instead of `router`: a router that is trained on the half of the table that it does not route.
        keep: the best candidate by score, all, or (an oracle) one that the exact check finds correct.
        samples: number of candidates of each teacher that it uses.
    """

    name: StrategyName
    router: RouterConfig | None = None
    learner: AnyLearner | None = None
    keep: Keep = "best"
    samples: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _has_one_router(self) -> Self:
        if (self.router is None) == (self.learner is None):
            raise ValueError(f"strategy '{self.name}': give either `router` or `learner`")
        return self


def single(teacher: str) -> StrategyConfig:
    """Return the strategy that samples one teacher in every language, whatever languages it declares."""
    return StrategyConfig(name=f"{SINGLE}{teacher}", router=SingleConfig(teacher=teacher, language_filter="off"))


@dataclass(frozen=True, slots=True)
class Planned:
    """A strategy's steps: its routes, and the rows it keeps."""

    routes: tuple[Step, ...]
    rows: Step


def plan_strategy(
    strategy: StrategyConfig, table: TableBuild, members: Sequence[PoolMember], num_shards: int
) -> Planned:
    """Build a strategy's steps over a table in which every teacher was sampled.

    Raises:
        ConfigError: its router names a teacher that is not in the pool.
    """
    if strategy.learner is not None:
        routes = tuple(_learned(strategy.name, strategy.learner, table, members, num_shards))
    else:
        assert strategy.router is not None
        routes = (route(strategy.router, members, table.prompts, f"{strategy.name}-rows"),)
    selection = RoutedSelection(strategy=strategy.name, keep=strategy.keep, samples=strategy.samples)
    return Planned(
        routes, select_routed(selection, table.prompts, routes, table.candidates, table.final, table.scores.steps)
    )


def _learned(
    name: str, learner: AnyLearner, table: TableBuild, members: Sequence[PoolMember], num_shards: int
) -> Iterator[Step]:
    """Train on either half of the shards and route the other: no prompt is routed by a model trained on it."""
    middle = num_shards // 2
    halves = (ShardRange(Span(0, middle), "first"), ShardRange(Span(middle), "rest"))
    explored = Explored(table.prompts, table.routes, table.candidates, table.final)
    for learns, chooses in (halves, halves[::-1]):
        trained = learns.of(train(learner, members, explored, name))
        yield chooses.of(route_trained(ChoiceConfig(), members, table.prompts, trained, name))
