"""The verbs `score` (one reward over one teacher's candidates) and `check` (all checks over them, in one step)."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from arbitrage.candidates.table import CandidateShard
from arbitrage.contracts.rewards import Reward, Scorable
from arbitrage.contracts.steps import LoadedModel, Step, StepConfig, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Load, Output, ShardWorker
from arbitrage.errors import ConfigError, ConservationError
from arbitrage.records import Record, Score
from arbitrage.rewards import CheckConfig, RewardConfig
from arbitrage.rewards.options import ScorerOptions, TextReward
from arbitrage.tables import to_table


def score_items(pairs: Iterable[Scorable]) -> list[Item]:
    """List the candidates that a scoring step must give a Score for."""
    return [Item(s.candidate.candidate_id, s.prompt.language, s.candidate.teacher) for s in pairs]


CHUNK = 256
"""Candidates given to a model at once: several batches, which it sorts by length; a crash loses no more than that."""

CHUNKS_UNDER_WAY = 2


class ScorerStep(StepConfig):
    """Base of the configs of steps whose Scores are calibrated and combined under one name."""

    @property
    def scorer(self) -> ScorerOptions:
        """The scorer."""
        raise TypeError(f"{type(self).__name__} does not name its scorer")


class ScoreStep(ScorerStep):
    """Scores candidates with one reward. Names no teacher, so that all candidates share one loaded model."""

    step_kind: ClassVar[str] = "score"

    reward: RewardConfig

    @property
    def scorer(self) -> ScorerOptions:
        """The reward."""
        return self.reward

    def loaded(self) -> LoadedModel | None:
        """Return the reward's model, if it is one."""
        reward = self.reward
        return LoadedModel(reward.engine, reward.model, reward.precision) if reward.kind == "classifier" else None

    def build(self) -> "TextRewardWorker | ModelWorker":
        """Load the reward and make it a worker; scores of a model are journaled."""
        reward = self.reward.build()
        return ModelWorker(reward) if self.reward.is_model else TextRewardWorker(reward)


def score(reward: RewardConfig, teacher_name: str, prompts: Step, candidates: Step) -> Step:
    """Score one teacher's candidates; all steps of one reward share a pool, so its model is loaded once."""
    return Step(
        facts=StepFacts(
            verb="score", label=f"{reward.name}-{teacher_name}", teacher=teacher_name, scorer=reward.name
        ),
        config=ScoreStep(reward=reward),
        produces=Score,
        inputs={"prompts": (prompts,), "candidates": (candidates,)},
        resources=reward.resources,
        pool=f"score-{reward.name}",
        version=reward.version,
    )


class TextRewardWorker:
    """Scores a shard with a reward that is cheap to run again: a `ShardWorker`."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    def items(self, inputs: Inputs) -> list[Item]:
        """List the candidates."""
        return score_items(CandidateShard(inputs).joined())

    async def run(self, inputs: Inputs) -> Output:
        """Return one Score for each candidate, in the order of the candidates."""
        return Output(to_table(await _scores(self._reward, CandidateShard(inputs).joined()), Score))

    async def close(self) -> None:
        """Release the reward."""
        await self._reward.close()


class ModelWorker:
    """Scores a shard with a model, whose scores are expensive and journaled: a `RequestWorker`."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    def begin(self, inputs: Inputs) -> "RewardModelShard":
        """Read a shard's candidates."""
        return RewardModelShard(self._reward, CandidateShard(inputs).by_id)

    def load(self) -> Load:
        """Return nothing that the counters do not say already."""
        return Load()

    async def close(self) -> None:
        """Release the reward."""
        await self._reward.close()


@dataclass(frozen=True, slots=True)
class RewardModelShard:
    """One shard's candidates beside their prompts, by candidate id."""

    reward: Reward
    pairs: Mapping[str, Scorable]

    @property
    def items(self) -> list[Item]:
        """The candidates."""
        return score_items(self.pairs.values())

    async def results(self, item_ids: Iterable[str]) -> AsyncGenerator[Record, None]:
        """Yield the Score of each candidate, chunk by chunk, the next one begun before the last has ended."""
        todo = iter(item_ids)
        under_way: deque[asyncio.Task[list[Score]]] = deque()
        try:
            while True:
                while len(under_way) < CHUNKS_UNDER_WAY and (chunk := list(islice(todo, CHUNK))):
                    pairs = [self.pairs[item_id] for item_id in chunk]
                    under_way.append(asyncio.create_task(_scores(self.reward, pairs)))
                if not under_way:
                    return
                for one in await under_way.popleft():
                    yield one
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    def crash_reject(self, item_id: str) -> Record:
        """Return a Score without a value for a candidate that crashes the model's engine."""
        prompt_id = self.pairs[item_id].prompt.prompt_id
        return Score(
            candidate_id=item_id, prompt_id=prompt_id, reward=self.reward.name, value=None, error="engine_died"
        )


async def _scores(reward: Reward, pairs: Sequence[Scorable]) -> list[Score]:
    scores = await reward.score(pairs)
    if [s.candidate_id for s in scores] != [p.candidate.candidate_id for p in pairs]:
        raise ConservationError(f"{reward.name} did not return one score for each candidate, in order")
    return scores


class CheckStep(StepConfig):
    """Runs checks, in the order of their names."""

    step_kind: ClassVar[str] = "check"

    checks: tuple[CheckConfig, ...]

    def build(self) -> "CheckWorker":
        """Make the worker."""
        return CheckWorker([check.build() for check in self.checks])


def check(checks: Sequence[CheckConfig], teacher_name: str, prompts: Step, candidates: Step) -> Step:
    """Check one teacher's candidates: one Score for each candidate and check.

    Raises:
        ConfigError: two checks have one name, or there are none.
    """
    names = sorted(c.name for c in checks)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"checks: {', '.join(twice)}: named twice; give one of them another `name`")
    if not names:
        raise ConfigError("checks: is empty; leave the step out instead")
    return Step(
        facts=StepFacts(verb="check", label=teacher_name, teacher=teacher_name),
        config=CheckStep(checks=tuple(sorted(checks, key=lambda c: c.name))),
        produces=Score,
        inputs={"prompts": (prompts,), "candidates": (candidates,)},
        version=sum(c.version for c in checks),
    )


class CheckWorker(ShardWorker):
    """Checks shard after shard."""

    def __init__(self, checks: Sequence[TextReward]) -> None:
        self._checks = checks

    def items(self, inputs: Inputs) -> list[Item]:
        """List the candidates."""
        return score_items(CandidateShard(inputs).joined())

    async def run(self, inputs: Inputs) -> Output:
        """Return the Scores in the order of the candidates, those of one candidate by name of check."""
        pairs = CandidateShard(inputs).joined()
        scores = [check.score_one(pair) for pair in pairs for check in self._checks]
        return Output(to_table(scores, Score))
