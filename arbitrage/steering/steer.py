"""The step `steer`: for each prompt, choose the steered candidate, the control, and the candidate farthest away.

    total = w_r · z(reward) + Σ wᵢ · z(metricᵢ)        z within the language [2407.01490]

The control is drawn from the same k candidates, above the reward floor or not: random-of-k, the fair baseline.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from arbitrage.candidates.ranked import PromptCandidates, rank_candidates
from arbitrage.candidates.table import CandidateShard
from arbitrage.config import Config
from arbitrage.contracts.steps import PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.records import Measurement, MetricScale, Reject, SteeringChoice, TargetQuantiles
from arbitrage.steering.objectives import SteerConfig
from arbitrage.steering.position import CandidateChooser, Found, SteeredChoice
from arbitrage.steering.scale import ScaleTable
from arbitrage.tables import from_table, to_table


class ResolvedObjective(Config):
    """An objective as text: the name of its metric, and its direction or target."""

    metric: str
    label: str


class SteerStep(PureStep):
    """Chooses by objectives. Watched metrics are not used.

    Attributes:
        steer: the objectives, the reward, the seed.
        aims: names and labels of the objectives, for readers of the plan.
    """

    step_kind: ClassVar[str] = "steer"

    steer: SteerConfig
    aims: tuple[ResolvedObjective, ...]

    async def run(self, inputs: Inputs) -> Output:
        """Choose within each prompt, in order of prompt id."""
        scales = ScaleTable(inputs.records("scales", MetricScale))
        judge = CandidateChooser(self.steer, scales, inputs.records("targets", TargetQuantiles))
        found = measured_by_candidate(inputs, "metric", (o.name for o in self.steer.objectives))
        choices: list[SteeringChoice] = []
        rejects: list[Reject] = []
        for ranked in rank_candidates(CandidateShard(inputs)):
            row = _decide(judge, ranked, found)
            if isinstance(row, SteeringChoice):
                choices.append(row)
            else:
                rejects.append(row)
        return Output(to_table(choices, SteeringChoice), to_table(rejects, Reject))


def steer(
    config: SteerConfig,
    prompts: Step,
    candidates: Sequence[Step],
    final: Step,
    measures: Sequence[Step],
    scales: Step,
    targets: Step | None,
) -> Step:
    """Choose among candidates.

    Args:
        config: objectives, reward and seed.
        prompts: each becomes a SteeringChoice or a Reject.
        candidates: steps of Candidate rows, one for each teacher.
        final: the ensemble; candidates without a score are not considered.
        measures: steps of Measurement rows over those candidates.
        scales: the step of `scale_metrics`.
        targets: the step of `look_like`, if an objective needs it.
    """
    return Step(
        facts=StepFacts(verb="steer"),
        config=SteerStep(
            steer=config.model_copy(update={"watch": ()}),
            aims=tuple(ResolvedObjective(metric=o.name, label=o.label) for o in config.objectives),
        ),
        produces=SteeringChoice,
        inputs={
            "prompts": (prompts,),
            "candidates": tuple(candidates),
            "final": (final,),
            "measures": tuple(measures),
            "scales": (scales,),
        }
        | ({} if targets is None else {"targets": (targets,)}),
    )


def measured_by_candidate(
    inputs: Inputs, column: Literal["metric", "candidate_id"], among: Iterable[str]
) -> dict[str, dict[str, Measurement]]:
    """Return candidate id → metric → Measurement, of the metrics or the candidates named."""
    found: dict[str, dict[str, Measurement]] = defaultdict(dict)
    table = inputs.table("measures", Measurement)
    wanted = pc.is_in(table[column], value_set=pa.array(sorted(set(among)), pa.string()))
    for row in from_table(table.filter(wanted), Measurement):  # most metrics are only watched
        found[row.candidate_id][row.metric] = row
    return found


def _decide(judge: CandidateChooser, ranked: PromptCandidates, found: Mapping[str, Found]) -> SteeringChoice | Reject:
    prompt = ranked.prompt
    considered = judge.candidates_of(ranked.candidates)
    choice = judge.choose(judge.positions(prompt, considered, found)) if considered else ranked.why_nothing()
    if not isinstance(choice, SteeredChoice):
        return Reject(item_id=prompt.prompt_id, reason=choice, detail=ranked.census())
    steered, control, away = choice.steered, choice.control, choice.away
    return SteeringChoice(
        prompt_id=prompt.prompt_id,
        language=prompt.language,
        considered=tuple(c.candidate.candidate_id for c in considered),
        steered_id=steered.candidate_id,
        steered_pull=steered.objective_score,
        steered_reward=steered.reward,
        control_id=control.candidate_id,
        control_pull=control.objective_score,
        control_reward=control.reward,
        away_id=away.candidate_id if away else None,
        away_pull=away.objective_score if away else None,
        away_reward=away.reward if away else None,
    )
