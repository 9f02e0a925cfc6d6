"""Opinions on candidates: reward models and recorded scores, cheap text checks, their calibration and ensembles."""

from typing import Annotated

from pydantic import Field

from arbitrage.rewards.classifier import ClassifierConfig
from arbitrage.rewards.column import ColumnConfig
from arbitrage.rewards.emptiness import EmptinessConfig
from arbitrage.rewards.exact import ExactConfig
from arbitrage.rewards.fake import FakeRewardConfig
from arbitrage.rewards.fidelity import FidelityConfig
from arbitrage.rewards.reasoning_left import ReasoningLeftConfig
from arbitrage.rewards.refusal import RefusalConfig
from arbitrage.rewards.repetition import RepetitionConfig
from arbitrage.rewards.truncation import TruncationConfig

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
