"""Opinions on candidates: reward models and recorded scores, cheap text checks, their calibration and ensembles."""

from typing import Annotated

from pydantic import Field

from arbitrage.rewards.emptiness import EmptinessConfig
from arbitrage.rewards.exact import ExactConfig
from arbitrage.rewards.fake import FakeRewardConfig
from arbitrage.rewards.truncation import TruncationConfig

RewardConfig = Annotated[FakeRewardConfig, Field(discriminator="kind")]

CheckConfig = Annotated[EmptinessConfig | ExactConfig | TruncationConfig, Field(discriminator="kind")]
