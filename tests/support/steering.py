"""Candidates with made-up scores and measurements, for tests of steering without a run."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arbitrage.contracts.workers import Inputs, Output
from arbitrage.metrics.length import LengthConfig
from arbitrage.records import Candidate, Measurement, Prompt, Score, SteeringChoice, TargetQuantiles
from arbitrage.steering.objectives import Objective, RewardTerm, SteerConfig
from arbitrage.steering.scale import ScaleStep
from arbitrage.steering.steer import SteerStep
from arbitrage.tables import from_table, to_table
from tests.support.scoring import a_candidate, a_prompt, a_score

CHARACTERS = LengthConfig(unit="characters")


@dataclass(frozen=True)
class Answer:
    """One candidate: its final score, and its value of `characters` or the reason for none."""

    reward: float | None
    value: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class World:
    """Prompts in languages, each with its answers."""

    prompts: tuple[Prompt, ...]
    candidates: tuple[Candidate, ...]
    scores: tuple[Score, ...]
    measures: tuple[Measurement, ...]

    def inputs(self, **more: object) -> Inputs:
        """Return the shard that the steering steps read."""
        tables = {
            "prompts": (to_table(self.prompts, Prompt),),
            "candidates": (to_table(self.candidates, Candidate),),
            "final": (to_table(self.scores, Score),),
            "measures": (to_table(self.measures, Measurement),),
        }
        return Inputs(tables | dict(more))  # type: ignore[arg-type]

    def value(self, candidate_id: str) -> float | None:
        """Return a candidate's characters."""
        return next(m.value for m in self.measures if m.candidate_id == candidate_id)

    def score(self, candidate_id: str) -> float | None:
        """Return a candidate's final score."""
        return next(s.value for s in self.scores if s.candidate_id == candidate_id)


def a_world(answers: Mapping[tuple[str, str], Sequence[Answer]]) -> World:
    """Make candidates of (language, question) → answers; the texts differ, the values are as stated."""
    prompts, candidates, scores, measures = [], [], [], []
    for (language, question), given in answers.items():
        prompt = a_prompt(question, language)
        prompts.append(prompt)
        for number, answer in enumerate(given):
            candidate = a_candidate(prompt, f"answer {number}", teacher=f"t{number}")
            candidates.append(candidate)
            error = None if answer.reward is not None else "filter:language-confusion"
            scores.append(a_score(candidate, "ensemble@1", answer.reward, error))
            reason = None if answer.value is not None else answer.reason or "too_short"
            measures.append(
                Measurement(
                    candidate_id=candidate.candidate_id,
                    prompt_id=prompt.prompt_id,
                    metric="characters",
                    value=answer.value,
                    reason=reason,
                )
            )
    return World(tuple(prompts), tuple(candidates), tuple(scores), tuple(measures))


def toward(direction: str | float | None, **options: object) -> SteerConfig:
    """Return a config that steers characters, by the metric alone unless told otherwise."""
    reward = options.pop("reward", RewardTerm(weight=0.0, floor_quantile=None))
    more = {name: options.pop(name) for name in ("k", "seed", "max_reward_loss") if name in options}
    objective = Objective.model_validate({"metric": CHARACTERS, "toward": direction} | options)
    return SteerConfig.model_validate({"objectives": (objective,), "reward": reward} | more)


def steered(config: SteerConfig, world: World, targets: Sequence[TargetQuantiles] = ()) -> Output:
    """Scale, then steer one shard."""
    scales = ScaleStep(shrinkage=config.shrinkage).run([world.inputs()]).table
    inputs = world.inputs(scales=(scales,), targets=(to_table(list(targets), TargetQuantiles),))
    return asyncio.run(SteerStep(steer=config, aims=()).run(inputs))


def choices(config: SteerConfig, world: World, targets: Sequence[TargetQuantiles] = ()) -> list[SteeringChoice]:
    """Return what is chosen."""
    return list(from_table(steered(config, world, targets).table, SteeringChoice))
