"""Where prompts come from; `PromptsConfig` is the union of their configs."""

from typing import Annotated

from pydantic import Field

from arbitrage.prompts.sources import CsvConfig, DatasetConfig, JsonlConfig, ParquetConfig
from arbitrage.prompts.world import WorldConfig

PromptsConfig = Annotated[
    JsonlConfig | CsvConfig | ParquetConfig | DatasetConfig | WorldConfig, Field(discriminator="kind")
]
