"""Sentences: one file per kind of run, the verbs in order; its YAML lies beside it."""

from typing import Annotated

from pydantic import Field

from pipelines.preference import PreferenceConfig
from pipelines.sft import SftConfig

PipelineConfig = Annotated[PreferenceConfig | SftConfig, Field(discriminator="kind")]
