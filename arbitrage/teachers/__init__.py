"""Teachers: models that generate training data. The engines that can serve one:"""

from typing import Annotated

from pydantic import Field

from arbitrage.teachers.engines.fake import FakeConfig
from arbitrage.teachers.engines.openai.batch_config import OpenAIBatchConfig
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from arbitrage.teachers.engines.replay import ReplayConfig
from arbitrage.teachers.engines.transformers import TransformersConfig
from arbitrage.teachers.engines.vllm import VllmConfig

EngineConfig = Annotated[
    TransformersConfig | VllmConfig | OpenAIConfig | OpenAIBatchConfig | ReplayConfig | FakeConfig,
    Field(discriminator="kind"),
]
