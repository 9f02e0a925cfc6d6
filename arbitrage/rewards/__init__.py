"""Scores of candidates: reward models, recorded scores, rule-based checks, their calibration and combination."""

from typing import Annotated

from pydantic import Field

from arbitrage.rewards.classifier import RewardModelConfig
from arbitrage.rewards.column import ColumnConfig
from arbitrage.rewards.fake import FakeRewardConfig
from arbitrage.rewards.language_confusion import LanguageConfusionCheckConfig, ReasoningLanguageConfig
from arbitrage.rewards.text_checks import (
    EmptinessConfig,
    ExactConfig,
    ReasoningLeftConfig,
    RefusalConfig,
    RepetitionCheckConfig,
    TruncationConfig,
)
from arbitrage.rewards.translation_length import TranslationLengthConfig

RewardConfig = Annotated[RewardModelConfig | ColumnConfig | FakeRewardConfig, Field(discriminator="kind")]

CheckConfig = Annotated[
    EmptinessConfig
    | ExactConfig
    | LanguageConfusionCheckConfig
    | ReasoningLanguageConfig
    | ReasoningLeftConfig
    | RefusalConfig
    | RepetitionCheckConfig
    | TranslationLengthConfig
    | TruncationConfig,
    Field(discriminator="kind"),
]
