"""Prompts to steered data: ask, score, measure, and keep what moves towards the objectives; beside it the control.

candidates ─> measure-<teacher> ─> scale-metrics ─> steer ─> select-steered, select-control, select-…-preference
"""

from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import model_validator

from arbitrage.config import Operational
from arbitrage.contracts.steps import Pipeline, Resources, Step
from arbitrage.profile.target import TargetData, look_like
from arbitrage.selection.mix import QuotaConfig
from arbitrage.steering.measure import measure
from arbitrage.steering.objectives import SteerConfig
from arbitrage.steering.scale import scale_metrics
from arbitrage.steering.select import CONTROL, SelectStep, SteeredPairs, select_steered, steering_quota
from arbitrage.steering.steer import steer
from pipelines.candidates import CandidatesConfig, TableBuild, build_table


class SteeringConfig(CandidatesConfig):
    """Config of a steering run.

    Attributes:
        steering: objectives, the weight and floor of the reward, and what is watched.
        like: the data set that objectives `toward: like` are to resemble.
        quotas: rows wanted of each language; null keeps all.
        pairs: toward against away; null writes none.
        measuring: what a replica that measures holds, for metrics with a model.
    """

    kind: Literal["steering"]
    steering: SteerConfig
    like: TargetData | None = None
    quotas: QuotaConfig | None = None
    pairs: SteeredPairs | None = SteeredPairs()
    measuring: Annotated[Resources, Operational] = Resources()

    @model_validator(mode="after")
    def _target_is_given(self) -> Self:
        if self.steering.wants_target and self.like is None:
            raise ValueError("an objective is `toward: like`, but `like` names no data set")
        if self.like is not None and not self.steering.wants_target:
            raise ValueError("`like` names a data set, but no objective is `toward: like`")
        return self

    def build(self) -> Pipeline:
        """Build the steps."""
        table = build_table(self)
        teachers = self.selected_teachers()
        measures = tuple(
            measure(self.steering.metrics, teacher.name, table.prompts, drafts, self.measuring)
            for teacher, drafts in zip(teachers, table.drafts, strict=True)
        )
        scales = scale_metrics(self.steering.shrinkage, table.prompts, measures, table.final)
        wanted = [o.metric for o in self.steering.objectives if o.toward == "like"]
        targets = look_like(self.like, wanted) if self.like is not None else None
        choices = steer(self.steering, table.prompts, table.drafts, table.final, measures, scales, targets)
        limits = steering_quota(self.quotas, choices) if self.quotas is not None else None
        pipeline = table.pipeline(self._datasets(table, measures, choices, limits))
        roles = {
            "measures": measures,
            "scales": (scales,),
            "choices": (choices,),
            "quotas": (limits,) if limits else (),
            "targets": (targets,) if targets else (),
        }
        return replace(pipeline, candidates={**pipeline.candidates, **roles})

    def _datasets(
        self, table: TableBuild, measures: tuple[Step, ...], choices: Step, limits: Step | None
    ) -> dict[str, Step]:
        label, quotas = self.steering.label, self.quotas
        kinds = {
            "steered": SelectStep(rows="steered", objective=label, quotas=quotas),
            "control": SelectStep(rows="control", objective=CONTROL, quotas=quotas),
        }
        if self.pairs is not None:
            kinds["steered_preference"] = SelectStep(
                rows="preference", objective=label, quotas=quotas, min_gap=self.pairs.min_gap
            )
        return {
            name: select_steered(config, table.prompts, table.drafts, measures, choices, limits)
            for name, config in kinds.items()
        }
