"""Choose teachers by predicted reward: the best, and more of them where the predictions are close."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from arbitrage.candidates.queries import queries_of
from arbitrage.contracts.routers import PoolMember
from arbitrage.records import Prompt, Route
from routers.language_filter import LanguageFilter, LanguageFilterConfig

if TYPE_CHECKING:
    from routers.learning.artifact import Artifact

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DECIMALS: Final = 9
"""Decimals of predicted rewards. Later digits depend on which prompts are predicted together."""


class ChoiceConfig(LanguageFilterConfig):
    """How a learned router chooses.

    Attributes:
        top_k: number of teachers that a prompt is sent to.
        sample_more_below: teachers whose expected reward is lower than the best by less than this are sampled
            too, in units of the reward; 0 adds none.
        max_teachers: maximum number of teachers that a prompt is sent to, with `sample_more_below`.
        cost_weight: λ; teachers are ranked by expected reward − λ · cost.
        costs: cost of sampling each teacher once, in any unit; a teacher that is not named costs nothing.
    """

    top_k: int = Field(default=1, ge=1)
    sample_more_below: float = Field(default=0.0, ge=0.0)
    max_teachers: int = Field(default=3, ge=1)
    cost_weight: float = Field(default=0.0, ge=0.0)
    costs: dict[str, Annotated[float, Field(ge=0.0)]] = {}

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if self.cost_weight and not self.costs:
            raise ValueError("cost_weight needs `costs`, and none are given")
        if self.sample_more_below and self.max_teachers < self.top_k:
            raise ValueError(f"max_teachers is less than top_k, which is {self.top_k}")
        return self

    def with_predictor(self, artifact: "Artifact", pool: Sequence[PoolMember], where: str) -> "LearnedRouter":
        """Build the router around a trained predictor.

        Raises:
            UserError: it was trained for another pool.
            ConfigError: a name in `costs` or `unfiltered` is not in the pool.
        """
        from routers.learning.artifact import require_pool

        language_filter = self.require_pool(pool)
        require_pool(artifact, language_filter.names, where)
        return LearnedRouter(self, artifact, language_filter)

    def require_pool(self, pool: Sequence[PoolMember]) -> LanguageFilter:
        """Return the eligible teachers by language.

        Raises:
            ConfigError: the pool is empty or names a teacher twice, or a name in `costs` or `unfiltered` is unknown.
        """
        language_filter = LanguageFilter(self, pool)
        language_filter.require(sorted(self.costs), "router.costs")
        return language_filter


@dataclass(frozen=True, slots=True)
class TeacherRanking:
    """Teachers of each prompt, best first and ineligible ones last; and how many of them are chosen."""

    order_PT: NDArray[np.int64]
    num_chosen_P: NDArray[np.int64]


class LearnedRouter:
    """Sends a prompt to the eligible teachers with the highest predicted reward."""

    def __init__(self, config: ChoiceConfig, artifact: "Artifact", language_filter: LanguageFilter) -> None:
        self._config, self._artifact, self._filter = config, artifact, language_filter
        self._teachers = artifact.teachers

    def route(self, prompts: Sequence[Prompt]) -> list[Route | None]:
        """Return one route for each prompt, in order; None where no teacher supports the language."""
        from routers.learning.learner import one_thread

        if not prompts:
            return []
        queries = queries_of(prompts)
        with one_thread():
            expected_PT = np.round(self._artifact.predictor.predict(queries), DECIMALS)
        ranking = rank(self._config, expected_PT, self._admitted(queries.languages), self._costs())
        values_PT = np.take_along_axis(expected_PT, ranking.order_PT, axis=1).tolist()
        rows = zip(prompts, ranking.order_PT.tolist(), values_PT, ranking.num_chosen_P.tolist(), strict=True)
        return [self._one(prompt, order, values, num) for prompt, order, values, num in rows]

    def _one(self, prompt: Prompt, order: list[int], values: list[float], num: int) -> Route | None:
        if not num:
            return None
        return Route(
            prompt_id=prompt.prompt_id,
            router="learned",
            teachers=tuple(self._teachers[t] for t in order[:num]),
            expected=tuple(values[:num]),
            propensity=1.0,
        )

    def _admitted(self, languages: NDArray[np.object_]) -> Bools:
        names, code_P = np.unique(languages.astype(str), return_inverse=True)
        eligible = [set(self._filter.eligible(str(name))) for name in names]
        admitted_LT = np.array([[teacher in some for teacher in self._teachers] for some in eligible])
        admitted_PT: Bools = admitted_LT[code_P]
        return admitted_PT

    def _costs(self) -> Floats:
        return np.array([self._config.costs.get(name, 0.0) for name in self._teachers])


def rank(config: ChoiceConfig, expected_PT: Floats, admitted_PT: Bools, cost_T: Floats) -> TeacherRanking:
    """Rank the teachers of each prompt; ties go to the earlier name.

    A teacher without a prediction (NaN) is not chosen.
    """
    admitted_PT = admitted_PT & ~np.isnan(expected_PT)
    worth_PT = np.where(admitted_PT, expected_PT - config.cost_weight * cost_T, -np.inf)
    order_PT = np.argsort(-worth_PT, axis=1, kind="stable")
    best_P = worth_PT.max(axis=1, keepdims=True)
    num_close_P = (admitted_PT & (worth_PT > best_P - config.sample_more_below)).sum(axis=1)
    most = max(config.top_k, config.max_teachers)
    num_P = (
        np.clip(num_close_P, config.top_k, most) if config.sample_more_below else np.full(len(order_PT), config.top_k)
    )
    return TeacherRanking(order_PT, np.minimum(num_P, admitted_PT.sum(axis=1)))
