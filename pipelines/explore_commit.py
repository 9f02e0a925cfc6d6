"""Explore, then commit: sample every teacher on the first shards, train a router, use it for the other shards.

    prompts ─> route-all ─> generate, score ─> ensemble-explore ─> train-router        the first shards
    prompts ────────────────────────────────────────> route-learned ─> generate, score    the rest
    select: from both

Prompts are assigned to shards by hash, so the first shards are a fair sample. Rewards are calibrated there, for all
shards: every teacher was sampled there, so calibration does not depend on the routes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from arbitrage.contracts.steps import Pipeline, Span, Step
from arbitrage.prompts.step import read_prompts
from arbitrage.runs.manifest import Notes
from arbitrage.runs.paths import AnyPath
from arbitrage.selection.pairs import PairSelection
from arbitrage.selection.sft import SftSelection, select_sft
from arbitrage.teachers.generate import generate
from arbitrage.teachers.pool import TeacherConfig, pool_members
from pipelines.candidates import (
    CandidatesConfig,
    ShardRange,
    TableBuild,
    calibrate_scores,
    combine_scores,
    compare_routers,
    preference_pairs,
    score_candidates,
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
    """Config of a run that trains its router while it runs.

    Attributes:
        explore: number of shards in which every eligible teacher is sampled.
        router: routes these shards; its language filter holds for the other shards, too.
        learner: how the router is learned from these shards.
        commit: how the router chooses in the other shards.
        sft: how SFT data are selected; null writes none.
        pairs: how preference pairs are selected (in the other shards, among candidates of `commit.top_k` teachers);
            null writes none.
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
        pool = self.load_pool()
        teachers = self.select_teachers(pool)
        members = pool_members(teachers)
        first, rest = ShardRange(Span(0, self.explore)), ShardRange(Span(self.explore), "commit")
        prompts = read_prompts(self.prompts)

        all_routes = first.of(route(self.router, members, prompts))
        explored = [first.of(generate(teacher, prompts, all_routes, self.sampling)) for teacher in teachers]
        explored_scores = score_candidates(self, pool, prompts, teachers, explored, first)
        calibration = calibrate_scores(self, prompts, explored, explored_scores, first)
        rewards = combine_scores(self, prompts, explored, explored_scores, calibration, first).part("explore")
        router = first.of(train(self.learner, members, Explored(prompts, all_routes, tuple(explored), rewards)))

        routes = replace(route_trained(self._choice(), members, prompts, router, COMMITTED), span=rest.span)
        committed = [rest.of(generate(teacher, prompts, routes, self.sampling)) for teacher in teachers]
        levels = explored_scores.levels
        committed_scores = score_candidates(self, pool, prompts, teachers, committed, rest, levels)

        candidates, scores = (*explored, *committed), explored_scores + committed_scores
        final = combine_scores(self, prompts, candidates, scores, calibration)
        compared = compare_routers(self, members, prompts)
        table = TableBuild(prompts, all_routes, compared, candidates, scores, calibration, final)
        return table.pipeline(self._datasets(table, teachers), router=router)

    def routers(self) -> tuple[tuple[Span, RouterConfig], ...]:
        """Return the routers: all teachers on the first shards; a random one instead of the learned router."""
        stand_in = UniformConfig(language_filter=self.router.language_filter, unfiltered=self.router.unfiltered)
        return (Span(0, self.explore), self.router), (Span(self.explore), stand_in)

    def finish(self, run_dir: AnyPath) -> Notes:
        """Write the router as files, and report the savings."""
        artifact = trained_by(run_dir)
        place = export_router(run_dir, artifact)
        saved = savings_of(run_dir)
        figures = {"router": str(place)} | ({"savings": saved.figures()} if saved else {})
        lines = (*(saved.lines() if saved else ()), *describe_router(artifact), f"router: {place}")
        return Notes(lines=lines, figures=figures)

    def _choice(self) -> ChoiceConfig:
        declared = {"language_filter": self.router.language_filter, "unfiltered": self.router.unfiltered}
        return self.commit.model_copy(update=declared)

    def _datasets(self, table: TableBuild, teachers: Sequence[TeacherConfig]) -> dict[str, Step]:
        found = {}
        if self.sft is not None:
            found["sft"] = select_sft(self.sft, table.prompts, table.candidates, table.final)
        if self.pairs is not None:
            found["preference"] = preference_pairs(self.pairs, teachers, table)
        return found
