"""Train a router: sample every teacher, score, train.

The router then routes other runs: `router: {kind: learned, artifact: …}`.
"""

from typing import Literal

from arbitrage.contracts.steps import Pipeline
from arbitrage.export.format import Trainer
from arbitrage.prompts.step import read_prompts
from arbitrage.runs.manifest import Notes
from arbitrage.runs.paths import AnyPath
from arbitrage.teachers.generate import generate
from arbitrage.teachers.pool import pool_members
from pipelines.candidates import (
    CandidatesConfig,
    TableBuild,
    calibrate_scores,
    combine_scores,
    compare_routers,
    score_candidates,
)
from pipelines.routing.trained import describe_router, export_router, trained_by
from routers.all import AllConfig
from routers.learning import AnyLearner
from routers.learning.learned import LearnedLearner
from routers.learning.train import Explored, train
from routers.step import route


class TrainRouterConfig(CandidatesConfig):
    """Config of a run that trains a router.

    Attributes:
        router: every teacher that declares the language is sampled, because the best one must be known.
        learner: how the router is learned.
        export: no data set is written; `arbitrage export candidates` writes the candidates.
    """

    kind: Literal["train_router"]
    router: AllConfig = AllConfig()
    learner: AnyLearner = LearnedLearner()
    export: tuple[Trainer, ...] = ()

    def build(self) -> Pipeline:
        """Build the steps."""
        pool = self.load_pool()
        teachers = self.select_teachers(pool)
        members = pool_members(teachers)
        prompts = read_prompts(self.prompts)
        routes = route(self.router, members, prompts)
        candidates = [generate(teacher, prompts, routes, self.sampling) for teacher in teachers]
        scores = score_candidates(self, pool, prompts, teachers, candidates)
        calibration = calibrate_scores(self, prompts, candidates, scores)
        final = combine_scores(self, prompts, candidates, scores, calibration)
        compared = compare_routers(self, members, prompts)
        table = TableBuild(prompts, routes, compared, tuple(candidates), scores, calibration, final)
        router = train(self.learner, members, Explored(prompts, routes, table.candidates, final))
        return table.pipeline({}, router=router)

    def finish(self, run_dir: AnyPath) -> Notes:
        """Write the router beside the run."""
        artifact = trained_by(run_dir)
        place = export_router(run_dir, artifact)
        lines = (*describe_router(artifact), f"router: {place}")
        return Notes(lines=lines, figures={"router": str(place)})
