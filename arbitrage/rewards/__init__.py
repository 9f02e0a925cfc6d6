"""Opinions on candidates: reward models and recorded scores, cheap text checks, their calibration and ensembles."""

from typing import Annotated

from pydantic import Field

from arbitrage.rewards.classifier import RewardModelConfig
from arbitrage.rewards.column import ColumnConfig
from arbitrage.rewards.fake import FakeRewardConfig
from arbitrage.rewards.language_confusion import LanguageConfusionCheckConfig
from arbitrage.rewards.text_checks import (
    EmptinessConfig,
    ExactConfig,
    ReasoningLeftConfig,
    RefusalConfig,
    RepetitionCheckConfig,
    TruncationConfig,
)

RewardConfig = Annotated[RewardModelConfig | ColumnConfig | FakeRewardConfig, Field(discriminator="kind")]

CheckConfig = Annotated[
    EmptinessConfig
    | ExactConfig
    | LanguageConfusionCheckConfig
    | ReasoningLeftConfig
    | RefusalConfig
    | RepetitionCheckConfig
    | TruncationConfig,
    Field(discriminator="kind"),
]
