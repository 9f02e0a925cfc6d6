"""The JSON files of a run: `run.json` (the plan, written first), `_live.json` (rewritten every second),
`manifest.json` (the results, written last).
"""

import time
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import ValidationError, model_validator

from arbitrage.config import Config
from arbitrage.contracts.steps import Scope, StepFacts
from arbitrage.errors import StorageError, UserError
from arbitrage.runs.paths import AnyPath, path_component, read_bytes


class Account(Config):
    """Accounting of one language and teacher in one step: num_in = num_out + rejected."""

    language: str
    teacher: str | None
    num_in: int
    num_out: int
    rejected: dict[str, int]  # reason → items


class FileMark(Config):
    """Expected size and digest of a file."""

    size_bytes: int
    digest: str


class ShardStats(Config):
    """Counts of one shard, and what its files must be; `seconds` is worker time."""

    num_in: int
    num_rows: int
    accounts: tuple[Account, ...]
    seconds: float
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    num_replayed: int = 0  # items completed by an earlier attempt and read from its journal
    notes: dict[str, int] = {}  # counters a step wants shown, such as language disagreements
    num_damaged_lines: int = 0  # of the journal: dropped, and their items generated again
    size_bytes: int = 0  # of the shard's file
    digest: str = ""  # of the shard's file: to find damage
    content: str = ""  # digest of its rows: shards made from them are valid while it stays the same
    rejects: FileMark | None = None  # of the shard's rejects, if it has any
    made_from: dict[str, str] = {}  # name of each step that was read → `content` of the shard that was


class StepPlan(Config):
    """One step as planned: its facts, and where its files are."""

    name: str
    facts: StepFacts
    record: str  # name of the record class of its rows
    scope: Scope
    directory: str  # below the run directory
    fingerprint: str
    inputs: dict[str, tuple[str, ...]]  # role → step names
    config: dict[str, Any]
    shards: tuple[int, ...] | None = None  # those it does, or reads where its scope is the corpus; null: all


class StepReport(Config):
    """One step as completed, summed over its shards."""

    name: str
    num_shards: int
    num_reused: int  # shards found complete
    num_in: int  # items, rows in
    num_rows: int  # rows written (several per item where a step says so)
    num_rejected: int
    rejected: dict[str, int]
    accounts: tuple[Account, ...]
    seconds: float  # worker time, summed over shards
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    num_replayed: int = 0  # items completed by an attempt that did not finish its shard
    num_damaged_lines: int = 0  # of journals: dropped, and their items generated again
    notes: dict[str, int] = {}


class EngineReport(Config):
    """Speed of a step in the last pass that generated tokens for it, and figures of its engines if they report any.

    Attributes:
        seconds: wall clock.
        tokens_per_s: completion tokens a second, over all replicas.
        peak_kv_use: largest share of a replica's key-value cache in use, 0..1.
        peak_running: most requests in the batches.
        peak_waiting: most requests in the queues of the engines.
        num_preemptions: requests taken out of a batch for want of cache, and computed again.
        prefix_hits: share of prompt tokens found in the prefix cache.
    """

    seconds: float
    tokens_per_s: float
    peak_kv_use: float | None = None
    peak_running: int | None = None
    peak_waiting: int | None = None
    num_preemptions: int | None = None
    prefix_hits: float | None = None


class Notes(Config):
    """`notes.json`: what a pipeline reports about a finished run besides its data sets."""

    lines: tuple[str, ...] = ()  # for people
    figures: dict[str, Any] = {}  # the same, for scripts


class RunPlan(Config):
    """`run.json`."""

    format_version: int = 1
    name: str
    pipeline: str
    fingerprint: str
    num_shards: int  # that prompts are assigned to
    shards: tuple[int, ...]  # those this run does
    config: dict[str, Any]
    steps: tuple[StepPlan, ...]  # in topological order
    datasets: dict[str, str]  # data set name → the step that writes it, such as {"sft": "select-sft"}
    table: dict[str, tuple[str, ...]] = {}  # role → steps of the candidate table, for reports and exports
    backend: str = "local"
    started_at: str = ""
    seconds_before: float = 0.0  # wall clock of earlier passes: interrupted ones, and those of another config
    engines_before: dict[str, EngineReport] = {}  # step → its engines in the last pass that finished

    @cached_property
    def facts(self) -> dict[str, StepFacts]:
        """Facts of each step, by name."""
        return {step.name: step.facts for step in self.steps}

    @model_validator(mode="after")
    def _names_stay_below(self) -> Self:
        """Refuse names that lead out of the run directory or of an export's directory, whoever wrote the plan."""
        try:
            for step in self.steps:
                path_component(step.directory, "the step directory")
            for name in self.datasets:
                path_component(name, "the data set")
        except UserError as error:
            raise ValueError(str(error)) from error
        return self


class Manifest(Config):
    """`manifest.json`: the plan, the results, and the environment."""

    plan: RunPlan
    status: Literal["complete", "pilot"]  # pilot: only some of the shards were requested
    over_budget: tuple[str, ...] = ()  # steps with more rejects than max_rejected allows, one sentence each
    steps: tuple[StepReport, ...]
    engines: dict[str, EngineReport] = {}  # step → its engines in the last pass that generated for it
    seconds: float  # wall clock of the last pass; `plan.seconds_before` holds that of the passes before
    finished_at: str
    git_commit: str | None
    packages: dict[str, str]


LIVE_FILE = "_live.json"

FRESH_S = 10.0
"""If the file is older than this, its driver has ended."""


class LiveStep(Config):
    """Counters of the shards of one step that are under way."""

    num_items: int = 0
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
    num_running: int = 0  # in the engines' batches; likewise the next four, of engines that report them
    num_queued: int = 0  # in the engines' queues
    kv_use: float | None = None  # largest share of a replica's key-value cache in use
    num_preemptions: int = 0
    prefix_hits: float | None = None  # share of prompt tokens found in the prefix cache
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
        """Estimated time left for the step; None if nothing is done yet, or nothing is left."""
        answered = self.num_shards * self.num_answered / self.num_items if self.num_items else 0.0
        replayed = self.num_shards * self.num_replayed / self.num_items if self.num_items else 0.0
        done, left = self.shards_done + answered, self.shards_left - answered - replayed
        return self.seconds * left / done if done > 0 and left > 0 and self.seconds >= 1.0 else None


class LiveRun(Config):
    """All steps under way; `at` in seconds since the epoch."""

    at: float
    steps: dict[str, LiveStep]


def read_live(run_dir: AnyPath) -> LiveRun | None:
    """Return the live state of a run, or None if no driver is running."""
    found = _last(run_dir)
    return found if found and time.time() - found.at < FRESH_S else None


def last_seen(run_dir: AnyPath) -> float | None:
    """Return when the last pass of a run was last active, in seconds since the epoch; None: unknown."""
    found = _last(run_dir)
    return found.at if found else None


def _last(run_dir: AnyPath) -> LiveRun | None:
    try:
        return LiveRun.model_validate_json(read_bytes(run_dir / LIVE_FILE))
    except (OSError, ValidationError, StorageError):
        return None  # only for display: an unreadable file is not shown
