"""The steps `train` and `route` for a router that is trained within the run that uses it, and the fit itself."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from arbitrage.candidates.matrix import RewardMatrix, teacher_means
from arbitrage.candidates.matrix_builder import MatrixBuilder
from arbitrage.candidates.table import CandidateShard
from arbitrage.contracts.routers import PoolMember
from arbitrage.contracts.steps import PureCorpusStep, PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.records import Route, RouterPart
from routers.choice import ChoiceConfig
from routers.learning import AnyLearner
from routers.learning.artifact import Artifact
from routers.learning.auto import AutoLearner
from routers.learning.learned import Learned
from routers.learning.learner import LearnerConfig, one_thread
from routers.learning.packing import pack, unpack
from routers.step import RouteWorker, members_of


def fit_router(learner: AnyLearner, matrix: RewardMatrix, num_dropped: int = 0) -> Artifact:
    """Fit a router on all prompts; equal matrices give equal routers.

    `about` describes the training: prompts, languages, each teacher's mean advantage over the others, and what was
    chosen.
    """
    with one_thread():
        chosen: LearnerConfig = learner
        about: dict[str, Any] = {"learner": learner.model_dump(mode="json")}
        if isinstance(learner, AutoLearner):
            choice = learner.choose(matrix)
            chosen = choice.learner
            gains = {name: round(gain, 6) for name, gain in sorted(choice.gains.items())}
            about |= {"chosen": chosen.label, "reason": choice.reason, "gains": gains}
        predictor = chosen.fit(matrix)
        means_T = teacher_means(matrix.rewards_PT)
    if isinstance(predictor, Learned):
        about["strengths"] = dict(sorted(predictor.prior.strengths.items())) | {"text_penalty": predictor.penalty}
    about |= {
        "num_prompts": len(matrix),
        "num_dropped": num_dropped,
        "num_clusters": len(set(matrix.cluster_P.tolist())),
        "languages": dict(sorted(Counter(matrix.queries.languages.tolist()).items())),
        "advantages": {t: round(float(mean), 6) for t, mean in zip(matrix.teachers, means_T, strict=True)},
        "rewards": sorted(matrix.rewards_by_name),
    }
    return Artifact(str(getattr(chosen, "kind", "")), matrix.teachers, predictor, about)


ROUTER = "router"
ROUTER_STEP = StepFacts(verb="train", label=ROUTER).name
VERSION = 1


@dataclass(frozen=True, slots=True)
class Explored:
    """The steps of a candidate table in which every eligible teacher was sampled."""

    prompts: Step
    routes: Step
    candidates: tuple[Step, ...]
    final: Step


class TrainRouterStep(PureCorpusStep):
    """Config of a train step: the learner, the teachers of the columns, and what a missing candidate means.

    Attributes:
        absent_is_lowest: a teacher without a scored candidate failed there. Else the prompt is left out.
    """

    step_kind: ClassVar[str] = "train_router"

    learner: AnyLearner
    teachers: tuple[str, ...]
    absent_is_lowest: bool = False

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Return the router as a table."""
        builder = MatrixBuilder(self.teachers, absent_is_lowest=self.absent_is_lowest)
        for shard in shards:
            builder.add(CandidateShard(shard))
        built = builder.build()
        return Output(pack(fit_router(self.learner, built.matrix, built.num_dropped)))


def train(
    learner: AnyLearner,
    pool: Sequence[PoolMember],
    explored: Explored,
    label: str = ROUTER,
    *,
    absent_is_lowest: bool = False,
) -> Step:
    """Train a router on the candidates and final scores of all teachers; one table for the whole run.

    Args:
        learner: the learner.
        pool: the teachers that were sampled.
        explored: their candidates and scores.
        label: of the step, where a pipeline trains several routers.
        absent_is_lowest: a teacher without a scored candidate failed there, such as a translator whose translation
            was rejected.
    """
    return Step(
        facts=StepFacts(verb="train", label=label),
        config=TrainRouterStep(
            learner=learner,
            teachers=tuple(member.name for member in members_of(pool)),
            absent_is_lowest=absent_is_lowest,
        ),
        produces=RouterPart,
        inputs={
            "prompts": (explored.prompts,),
            "routes": (explored.routes,),
            "candidates": explored.candidates,
            "final": (explored.final,),
        },
        scope="corpus",
        version=VERSION,
    )


class RouteTrainedConfig(PureStep):
    """How to choose by a router that another step trains."""

    step_kind: ClassVar[str] = "route_trained"

    choice: ChoiceConfig
    pool: tuple[PoolMember, ...]

    async def run(self, inputs: Inputs) -> Output:
        """Route the prompts; one whose language no teacher supports is rejected."""
        artifact = unpack(inputs.table("router", RouterPart), ROUTER_STEP)
        router = self.choice.with_predictor(artifact, self.pool, ROUTER_STEP)
        return await RouteWorker(router).run(inputs)


def route_trained(choice: ChoiceConfig, pool: Sequence[PoolMember], prompts: Step, trained: Step, label: str) -> Step:
    """Decide for each prompt which teachers it is sent to, by a router that an earlier step trains.

    Raises:
        ConfigError: the pool is empty or names a teacher twice, or `choice` names one that is not in it.
    """
    choice.require_pool(pool)
    return Step(
        facts=StepFacts(verb="route", label=label),
        config=RouteTrainedConfig(choice=choice, pool=members_of(pool)),
        produces=Route,
        inputs={"prompts": (prompts,), "router": (trained,)},
        version=VERSION,
    )
