"""Sources of prompts; `PromptsConfig` is the union of their configs."""

from typing import Annotated

from pydantic import Field

from arbitrage.demo.prompts import DemoPromptsConfig
from arbitrage.prompts.run_source import RunPromptsConfig
from arbitrage.prompts.sources import CsvConfig, DatasetConfig, JsonlConfig, ParquetConfig

PromptsConfig = Annotated[
    JsonlConfig | CsvConfig | ParquetConfig | DatasetConfig | DemoPromptsConfig | RunPromptsConfig,
    Field(discriminator="kind"),
]
