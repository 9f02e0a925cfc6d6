"""Teachers: models that answer. The engines that can serve one:"""

from typing import Annotated

from pydantic import Field

from arbitrage.teachers.fake import FakeEngine
from arbitrage.teachers.openai import OpenAIEngine
from arbitrage.teachers.replay import ReplayEngine
from arbitrage.teachers.transformers import TransformersEngine
from arbitrage.teachers.vllm import VllmEngine

EngineConfig = Annotated[
    TransformersEngine | VllmEngine | OpenAIEngine | ReplayEngine | FakeEngine, Field(discriminator="kind")
]
