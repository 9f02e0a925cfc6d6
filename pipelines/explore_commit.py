"""Explore, then commit: ask everybody on the first shards, learn who is best asked, ask only these on the rest.

    prompts ─> route-all ─> generate, score ─> ensemble-explore ─> train-router        the first shards
    prompts ────────────────────────────────────────> route-learned ─> generate, score    the rest
    select: from both

A shard is a fair sample, so what holds on the first ones holds on the rest. Rewards are calibrated on the first ones
for all: there everybody was asked, and nobody is judged on the prompts he was chosen for.
"""

from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from arbitrage.contracts.steps import Pipeline, Span, Step
from arbitrage.prompts.step import read_prompts
from arbitrage.runs.manifest import Notes
from arbitrage.runs.paths import AnyPath
from arbitrage.selection.pairs import PairSelection
from arbitrage.selection.sft import SftSelection, select_sft
from arbitrage.teachers.pool import pool_members
from pipelines.candidates import (
    CandidatesConfig,
    ShardRange,
    TableBuild,
    combine_scores,
    compare,
    preference_pairs,
    sample_and_score,
    scale,
)
from pipelines.routing.savings import savings_of
from pipelines.routing.trained import describe_router, export_router, trained_by
from routers import RouterConfig
from routers.all import AllConfig
from routers.choice import ChoiceConfig
from routers.learning import AnyLearner
from routers.learning.learned import LearnedLearner
from routers.learning.train import Explored, route_trained, train
from routers.step import route
from routers.uniform import UniformConfig

COMMITTED = "learned"


class ExploreCommitConfig(CandidatesConfig):
    """Config of a run that learns whom to ask while it runs.

    Attributes:
        explore: on how many shards everybody is asked.
        router: who may be asked there; its language filter holds for the rest as well.
        learner: how to learn from these shards.
        commit: how to choose on the others.
        sft: which answers are worth imitating; null writes no SFT data.
        pairs: which answers are set against each other: on the rest, those of `commit.top_k` teachers; null writes
            none.
    """

    kind: Literal["explore_commit"]
    explore: int = Field(default=2, ge=1)
    router: AllConfig = AllConfig()
    learner: AnyLearner = LearnedLearner()
    commit: ChoiceConfig = ChoiceConfig()
    sft: SftSelection | None = SftSelection()
    pairs: PairSelection | None = None

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.explore >= self.num_shards:
            raise ValueError(f"explore: all {self.num_shards} shards would be explored; raise num_shards")
        return self

    def build(self) -> Pipeline:
        """Build the steps."""
        teachers = self.selected_teachers()
        members = pool_members(teachers)
        first, rest = ShardRange(Span(0, self.explore)), ShardRange(Span(self.explore), "commit")
        prompts = read_prompts(self.prompts)
        everybody = first.of(route(self.router, members, prompts))
        explored = sample_and_score(self, teachers, prompts, everybody, first)
        calibration = scale(self, prompts, explored, first)
        rated = combine_scores(self, prompts, explored, calibration, first).part("explore")
        trained = first.of(train(self.learner, members, Explored(prompts, everybody, explored.drafts, rated)))
        chosen = replace(route_trained(self._choice(), members, prompts, trained, COMMITTED), span=rest.span)
        asked = explored + sample_and_score(self, teachers, prompts, chosen, rest, explored.levels)
        final = combine_scores(self, prompts, asked, calibration)
        compared = compare(self, members, prompts)
        table = TableBuild(prompts, everybody, compared, asked.drafts, asked.scores, calibration, final, asked.levels)
        return table.pipeline(self._datasets(table), trained)

    def routers(self) -> tuple[tuple[Span, RouterConfig], ...]:
        """Return who is asked: everybody on the first shards; on the rest one at random stands in for the best."""
        stand_in = UniformConfig(language_filter=self.router.language_filter, unfiltered=self.router.unfiltered)
        return (Span(0, self.explore), self.router), (Span(self.explore), stand_in)

    def finish(self, run_dir: AnyPath) -> Notes:
        """Write the router as files, and say what it saved."""
        artifact = trained_by(run_dir)
        place = export_router(run_dir, artifact)
        saved = savings_of(run_dir)
        figures = {"router": str(place)} | ({"savings": saved.figures()} if saved else {})
        lines = (*(saved.lines() if saved else ()), *describe_router(artifact), f"router: {place}")
        return Notes(lines=lines, figures=figures)

    def _choice(self) -> ChoiceConfig:
        declared = {"language_filter": self.router.language_filter, "unfiltered": self.router.unfiltered}
        return self.commit.model_copy(update=declared)

    def _datasets(self, table: TableBuild) -> dict[str, Step]:
        found = {}
        if self.sft is not None:
            found["sft"] = select_sft(self.sft, table.prompts, table.drafts, table.final)
        if self.pairs is not None:
            found["preference"] = preference_pairs(self.pairs, self.selected_teachers(), table)
        return found
