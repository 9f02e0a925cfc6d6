"""What is watched, how often, and what raises an alarm."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from arbitrage.config import Config, Operational, as_tuple
from arbitrage.training.sources import Source


class AlarmConfig(Config):
    """When curves look like over-optimisation.

    Attributes:
        entropy_checks: m: the top-10 entropy has fallen at so many checks in a row, all after its maximum,
        entropy_fall: and is by so much of its maximum below it (a share): less is noise of a small probe set.
        mass_drop: x: the top-10 probability mass is so far below its first value (a difference of probabilities).
    """

    entropy_checks: int = Field(default=3, ge=1)
    entropy_fall: float = Field(default=0.1, ge=0, lt=1)
    mass_drop: float = Field(default=0.05, gt=0, lt=1)


class MonitorConfig(Config):
    """A monitor.

    Attributes:
        probe: preference rows: runs, exports (of which the `test` split, where they have one), files.
        dataset: name of the data set of a run.
        every: optimiser steps between checks; there is one before the first step and one after the last.
        per_language: rows of each language, the same at every check.
        max_tokens: of a prompt with its answer; an answer is measured up to there, a longer prompt passed over.
        max_new_tokens: of a sampled answer.
        temperature: of sampling; 0 takes the likeliest token.
        fidelity_minimum: a sampled answer with a smaller share of its prompt's language is confused.
        seed: of sampling, the same at every check.
        batch_size: rows in one forward pass.
        alarms: when to sound one.
        early_stop: end training when an alarm sounds for all languages together.
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
    fidelity_minimum: float = Field(default=0.8, ge=0, le=1)
    seed: int = 0
    batch_size: Annotated[int, Field(ge=1), Operational] = 8
    alarms: AlarmConfig = AlarmConfig()
    early_stop: bool = False
