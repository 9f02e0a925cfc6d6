"""Learn who is best asked: ask everybody, score, train.

What was learned routes other runs: `router: {kind: learned, artifact: …}`.
"""

from typing import Literal

from arbitrage.contracts.steps import Pipeline
from arbitrage.export.format import Trainer
from arbitrage.runs.manifest import Notes
from arbitrage.runs.paths import AnyPath
from arbitrage.teachers.pool import pool_members
from pipelines.candidates import CandidatesConfig, build_table
from pipelines.routing.trained import describe_router, export_router, trained_by
from routers.all import AllConfig
from routers.learning import AnyLearner
from routers.learning.learned import LearnedLearner
from routers.learning.train import Explored, train


class TrainRouterConfig(CandidatesConfig):
    """Config of a run that trains a router.

    Attributes:
        router: everybody who speaks the language is asked, or who would have been best is not known.
        learner: how to learn.
        export: no data set is written; `arbitrage export candidates` writes the answers.
    """

    kind: Literal["train_router"]
    router: AllConfig = AllConfig()
    learner: AnyLearner = LearnedLearner()
    export: tuple[Trainer, ...] = ()

    def build(self) -> Pipeline:
        """Build the steps."""
        table = build_table(self)
        explored = Explored(table.prompts, table.routes, table.drafts, table.final)
        trained = train(self.learner, pool_members(self.selected_teachers()), explored)
        return table.pipeline({}, trained)

    def finish(self, run_dir: AnyPath) -> Notes:
        """Write the router as files."""
        artifact = trained_by(run_dir)
        place = export_router(run_dir, artifact)
        lines = (*describe_router(artifact), f"router: {place}")
        return Notes(lines=lines, figures={"router": str(place)})
