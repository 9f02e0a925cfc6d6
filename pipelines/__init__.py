"""Pipelines: one file per kind of run, its steps in order; its YAML is beside it."""

from typing import Annotated

from pydantic import Field

from pipelines.compare_strategies import CompareStrategiesConfig
from pipelines.explore_commit import ExploreCommitConfig
from pipelines.preference import PreferenceConfig
from pipelines.sft import SftConfig
from pipelines.steering import SteeringConfig
from pipelines.train_router import TrainRouterConfig
from pipelines.translate import TranslateConfig

PipelineConfig = Annotated[
    PreferenceConfig
    | SftConfig
    | TrainRouterConfig
    | ExploreCommitConfig
    | SteeringConfig
    | CompareStrategiesConfig
    | TranslateConfig,
    Field(discriminator="kind"),
]
