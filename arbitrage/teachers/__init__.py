"""Teachers: models that answer. The engines that can serve one:"""

from typing import Annotated

from pydantic import Field

from arbitrage.teachers.engines.fake import FakeEngine
from arbitrage.teachers.engines.openai.config import OpenAIEngine
from arbitrage.teachers.engines.replay import ReplayEngine
from arbitrage.teachers.engines.transformers import TransformersEngine
from arbitrage.teachers.engines.vllm import VllmEngine

EngineConfig = Annotated[
    TransformersEngine | VllmEngine | OpenAIEngine | ReplayEngine | FakeEngine, Field(discriminator="kind")
]
