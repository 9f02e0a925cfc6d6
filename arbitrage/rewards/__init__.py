"""Opinions on candidates: reward models and recorded scores, cheap text checks, their calibration and ensembles."""

from typing import Annotated

from pydantic import Field

from arbitrage.rewards.classifier import ClassifierConfig
from arbitrage.rewards.column import ColumnConfig
from arbitrage.rewards.fake import FakeRewardConfig
from arbitrage.rewards.language_confusion import FidelityConfig
from arbitrage.rewards.text_checks import (
    EmptinessConfig,
    ExactConfig,
    ReasoningLeftConfig,
    RefusalConfig,
    RepetitionConfig,
    TruncationConfig,
)

RewardConfig = Annotated[ClassifierConfig | ColumnConfig | FakeRewardConfig, Field(discriminator="kind")]

CheckConfig = Annotated[
    EmptinessConfig
    | ExactConfig
    | FidelityConfig
    | ReasoningLeftConfig
    | RefusalConfig
    | RepetitionConfig
    | TruncationConfig,
    Field(discriminator="kind"),
]
