"""The verb `score`: one reward's opinion of one teacher's answers."""

from arbitrage.contracts import Inputs, Item, Output, Reward, Step, StepConfig
from arbitrage.errors import ConservationError
from arbitrage.records import Score
from arbitrage.rewards import RewardConfig
from arbitrage.rewards.scorables import owed, scorables
from arbitrage.tables import to_table


class ScoreStep(StepConfig):
    """Scores drafts with one reward. Names no teacher, so that all drafts share one loaded model."""

    reward: RewardConfig

    def build(self) -> "ScoreWorker":
        """Load the reward and make it a worker."""
        return ScoreWorker(self.reward.build())


def score(reward: RewardConfig, teacher_name: str, prompts: Step, drafts: Step) -> Step:
    """Score one teacher's drafts; all steps of one reward share a pool, so its model is loaded once."""
    return Step(
        name=f"score-{reward.name}-{teacher_name}",
        config=ScoreStep(reward=reward),
        produces=Score,
        inputs={"prompts": (prompts,), "drafts": (drafts,)},
        resources=reward.resources,
        pool=f"score-{reward.name}",
        version=reward.version,
    )


class ScoreWorker:
    """Scores shard after shard with one reward."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    def items(self, inputs: Inputs) -> list[Item]:
        """List the candidates."""
        return owed(inputs)

    async def run(self, inputs: Inputs) -> Output:
        """Return one Score for each candidate, in the order of the drafts."""
        pairs = scorables(inputs)
        scores = await self._reward.score(pairs)
        if [s.candidate_id for s in scores] != [p.candidate.candidate_id for p in pairs]:
            raise ConservationError(f"{self._reward.name} did not return one score for each candidate, in order")
        return Output(to_table(scores, Score))

    async def close(self) -> None:
        """Release the reward."""
        await self._reward.close()
