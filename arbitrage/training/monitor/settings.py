"""Settings of the monitor: the probe set, the checks, and the alarms."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from arbitrage.config import Config, Operational, as_tuple
from arbitrage.training.sources import Source


class AlarmConfig(Config):
    """Thresholds of the alarms for over-optimisation.

    Attributes:
        entropy_checks: m: the top-10 entropy must have fallen at this many checks in a row, all after its maximum,
        entropy_fall: and must be below its maximum by this share; smaller falls are noise of a small probe set.
        mass_drop: x: the top-10 probability mass must be below its first value by this difference.
    """

    entropy_checks: int = Field(default=3, ge=1)
    entropy_fall: float = Field(default=0.1, ge=0, lt=1)
    mass_drop: float = Field(default=0.05, gt=0, lt=1)


class MonitorConfig(Config):
    """The over-optimisation monitor.

    Attributes:
        probe: preference rows: runs, exports (their `test` split, if there is one), files.
        dataset: name of the data set, for runs.
        every: optimiser steps between checks; there is one before the first step and one after the last.
        per_language: number of rows of each language, the same at every check.
        max_tokens: maximum length of a prompt with its response; longer responses are measured up to it, longer
            prompts are skipped.
        max_new_tokens: maximum length of a sampled response.
        temperature: sampling temperature; 0 is greedy.
        language_minimum: a sampled response with a smaller share in its prompt's language is counted as confused.
        seed: seed of sampling, the same at every check.
        batch_size: number of rows in one forward pass.
        alarms: thresholds of the alarms.
        early_stop: stop training at an alarm for all languages together.
    """

    probe: Annotated[
        tuple[Source, ...],
        BeforeValidator(as_tuple, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ]
    dataset: str = "preference"
    every: int = Field(default=50, ge=1)
    per_language: int = Field(default=32, ge=1)
    max_tokens: int = Field(default=1024, ge=2)
    max_new_tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    language_minimum: float = Field(default=0.8, ge=0, le=1)
    seed: int = 0
    batch_size: Annotated[int, Field(ge=1), Operational] = 8
    alarms: AlarmConfig = AlarmConfig()
    early_stop: bool = False
