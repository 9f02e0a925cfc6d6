"""`_live.json`: where a run under way stands, rewritten every second by its driver. For `arbitrage status`."""

import time

from pydantic import ValidationError

from arbitrage.config import Config
from arbitrage.errors import StorageError
from arbitrage.shards.place import Place, read_bytes

LIVE_FILE = "_live.json"

FRESH_S = 10.0
"""Older than this, nobody writes it any more."""


class LiveStep(Config):
    """Counters of the shards of one step that are under way."""

    num_owed: int = 0
    num_replayed: int = 0
    num_answered: int = 0
    num_rejected: int = 0
    num_in_flight: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    num_waiting: int = 0
    num_retries: int = 0
    num_refusals: int = 0
    replicas: int = 0
    restarts: int = 0
    num_shards: int = 0
    seconds: float = 0.0  # wall clock since the step began, in this pass; likewise all below
    shards_done: int = 0
    shards_left: int = 0  # those under way included
    rows_done: int = 0  # rows of the shards done
    tokens_done: int = 0  # completion tokens of the shards done

    @property
    def rows_per_s(self) -> float | None:
        """Rows a second by the wall clock; None in the first second."""
        return (self.rows_done + self.num_answered) / self.seconds if self.seconds >= 1.0 else None

    @property
    def tokens_per_s(self) -> float | None:
        """Completion tokens a second by the wall clock; None in the first second."""
        return (self.tokens_done + self.completion_tokens) / self.seconds if self.seconds >= 1.0 else None

    @property
    def seconds_left(self) -> float | None:
        """Time left for the step at the pace so far; None where nothing is done yet, or nothing is left."""
        answered = self.num_shards * self.num_answered / self.num_owed if self.num_owed else 0.0
        replayed = self.num_shards * self.num_replayed / self.num_owed if self.num_owed else 0.0
        done, left = self.shards_done + answered, self.shards_left - answered - replayed
        return self.seconds * left / done if done > 0 and left > 0 and self.seconds >= 1.0 else None


class LiveRun(Config):
    """All steps under way; `at` in seconds since the epoch."""

    at: float
    steps: dict[str, LiveStep]


def read_live(run_dir: Place) -> LiveRun | None:
    """Return where the run stands, or None if nobody is at work."""
    found = _last(run_dir)
    return found if found and time.time() - found.at < FRESH_S else None


def last_seen(run_dir: Place) -> float | None:
    """Return when the last pass of a run was at work for the last time, in seconds since the epoch; None: unknown."""
    found = _last(run_dir)
    return found.at if found else None


def _last(run_dir: Place) -> LiveRun | None:
    try:
        return LiveRun.model_validate_json(read_bytes(run_dir / LIVE_FILE))
    except (OSError, ValidationError, StorageError):
        return None  # shown, not used: what cannot be read is not shown
