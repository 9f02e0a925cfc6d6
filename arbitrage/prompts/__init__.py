"""Where prompts come from. One file per source; `PromptsConfig` is the union of their configs."""

from typing import Annotated

from pydantic import Field

from arbitrage.prompts.csv import CsvConfig
from arbitrage.prompts.dataset import DatasetConfig
from arbitrage.prompts.jsonl import JsonlConfig
from arbitrage.prompts.parquet import ParquetConfig
from arbitrage.prompts.world import WorldConfig

PromptsConfig = Annotated[
    JsonlConfig | CsvConfig | ParquetConfig | DatasetConfig | WorldConfig, Field(discriminator="kind")
]
