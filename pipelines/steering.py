"""Steered data: generate, score, measure, and select towards the objectives; with a control.

candidates ─> measure-<teacher> ─> scale-metrics ─> steer ─> select-steered, select-control, select-…-preference
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import model_validator

from arbitrage.config import Operational
from arbitrage.contracts.steps import Pipeline, Resources, Step
from arbitrage.profile.target import TargetData, look_like
from arbitrage.prompts.step import read_prompts
from arbitrage.selection.mix import QuotaConfig
from arbitrage.steering.measure import measure
from arbitrage.steering.objectives import SteerConfig
from arbitrage.steering.scale import scale_metrics
from arbitrage.steering.select import CONTROL, SelectStep, SteeredPairs, select_steered, steering_quota
from arbitrage.steering.steer import steer
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
from routers.step import route


class SteeringConfig(CandidatesConfig):
    """Config of a steering run.

    Attributes:
        steering: objectives, weight and floor of the reward, and watched metrics.
        like: the target data set of objectives with `toward: like`.
        quotas: rows wanted of each language; null keeps all.
        pairs: the steered candidate against the farthest one; null writes none.
        measuring: resources of a replica that measures metrics with a model.
    """

    kind: Literal["steering"]
    steering: SteerConfig
    like: TargetData | None = None
    quotas: QuotaConfig | None = None
    pairs: SteeredPairs | None = SteeredPairs()
    measuring: Annotated[Resources, Operational] = Resources()

    @model_validator(mode="after")
    def _target_is_given(self) -> Self:
        if self.steering.needs_target and self.like is None:
            raise ValueError("an objective is `toward: like`, but `like` names no data set")
        if self.like is not None and not self.steering.needs_target:
            raise ValueError("`like` names a data set, but no objective is `toward: like`")
        return self

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
        measures = [
            measure(self.steering.metrics, teacher.name, prompts, candidates, self.measuring)
            for teacher, candidates in zip(teachers, candidates, strict=True)
        ]
        scales = scale_metrics(self.steering.shrinkage, prompts, measures, final)
        wanted = [o.metric for o in self.steering.objectives if o.toward == "like"]
        targets = look_like(self.like, wanted) if self.like is not None else None
        choices = steer(self.steering, prompts, candidates, final, measures, scales, targets)
        limits = steering_quota(self.quotas, choices) if self.quotas is not None else None
        datasets = self._datasets(table, measures, choices, limits)
        return table.pipeline(
            datasets, measures=measures, scales=scales, choices=choices, quotas=limits, targets=targets
        )

    def _datasets(
        self, table: TableBuild, measures: Sequence[Step], choices: Step, limits: Step | None
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
            name: select_steered(config, table.prompts, table.candidates, measures, choices, limits)
            for name, config in kinds.items()
        }
