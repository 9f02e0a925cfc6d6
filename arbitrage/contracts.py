"""The borders between parts: what a step is, and the one-method protocols its workers are made of.

A pipeline is a DAG of `Step`. Running shard k of a step means: build the step's worker from its config, hand it
shard k of each input, and store what it returns as shard k of its output.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, Protocol, TypeVar, runtime_checkable

import pyarrow as pa
from pydantic import Field

from arbitrage.config import Config, Raw
from arbitrage.records import (
    Candidate,
    FinishReason,
    Message,
    Prompt,
    Record,
    Reject,
    Route,
    Score,
)
from arbitrage.tables import concat, empty_table, from_table

R = TypeVar("R", bound=Record)


# --- steps -------------------------------------------------------------------------------------------------


def _counted(number: float, thing: str) -> str:
    return f"{number:g} {thing}" if number == 1 else f"{number:g} {thing}s"


class Resources(Config):
    """What one replica of a step's worker holds while it lives. A worker with none shares the driver's cores."""

    cpus: float = Field(default=0.0, ge=0.0)
    gpus: float = Field(default=0.0, ge=0.0)
    replicas: int = Field(default=1, ge=1)

    def each(self) -> str:
        """Say what one replica holds: '2 CPUs, 1 GPU'."""
        held = [_counted(self.cpus, "CPU"), _counted(self.gpus, "GPU")] if self.gpus else [_counted(self.cpus, "CPU")]
        return ", ".join(held)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Shard k of a step's inputs, by role; a role fed by several steps holds one table for each, in order."""

    tables: Mapping[str, tuple[pa.Table, ...]]

    def records(self, role: str, record: type[R]) -> list[R]:
        """Return all rows of a role as records, the tables one after the other."""
        return from_table(self.table(role, record), record)

    def table(self, role: str, record: type[R]) -> pa.Table:
        """Return all rows of a role as one table."""
        return concat(self.tables.get(role, ()), record)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a shard consumed."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """What a worker returns for one shard: rows of the step's record, and the rejects."""

    table: pa.Table
    rejects: pa.Table = field(default_factory=lambda: empty_table(Reject))
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a step owes an answer for: it must come out as a row or as a Reject, never both, never neither."""

    item_id: str
    language: str
    teacher: str | None = None


class ShardWorker(Protocol):
    """Turns shard k of a step's inputs into shard k of its output. Pure but for what engines say."""

    def items(self, inputs: Inputs) -> list[Item]:
        """List what this shard owes, before doing it. Item ids equal the `item_key` of the produced record."""
        ...

    async def run(self, inputs: Inputs) -> Output:
        """Do the shard. Two shards may be under way at once."""
        ...

    async def close(self) -> None:
        """Release engines, connections and memory."""
        ...


class AskedShard(Protocol):
    """One shard of an `AnswerWorker`, read and ready to be asked item by item."""

    @property
    def items(self) -> Sequence[Item]:
        """What the shard owes, in the order in which it is asked and its rows are written."""
        ...

    def answers(self, item_ids: Iterable[str]) -> AsyncGenerator[Record, None]:
        """Yield the row or the Reject of each item as it arrives, in any order.

        Args:
            item_ids: the items still open. An item is taken from it when there is room to begin with it: what was
                taken and has no answer is what is in flight, and what is suspected should the engine die.
        """
        ...

    def condemned(self, item_id: str) -> Record:
        """Return the answer of an item that was found to kill its engine whenever it is asked."""
        ...


@runtime_checkable
class AnswerWorker(Protocol):
    """Does shards item by item, where every answer is dear: each is journaled as it arrives, none asked for twice."""

    def begin(self, inputs: Inputs) -> AskedShard:
        """Read a shard. Two shards may be under way at once."""
        ...

    def load(self) -> "Load":
        """Return how busy the worker's engine is. Called from another thread."""
        ...

    async def close(self) -> None:
        """Release engines, connections and memory."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an engine is: requests under way, requests that wait for room, and what it had to ask again."""

    num_in_flight: int = 0
    num_waiting: int = 0
    num_retries: int = 0
    num_refusals: int = 0  # 429 and 503


class CorpusWorker(Protocol):
    """Sees all shards, one after the other, and returns one small table."""

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Do the whole corpus."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """A piece of what a source read: `num_read` rows became prompts or rejects."""

    prompts: Sequence[Prompt]
    rejects: Sequence[Reject]
    notes: Mapping[str, int] = field(default_factory=dict)  # counters worth showing, summed over batches

    @property
    def num_read(self) -> int:
        """Rows read from the source for this batch."""
        return len(self.prompts) + len(self.rejects)


class SourceWorker(Protocol):
    """Reads prompts from outside; the backend deals them out to shards by the hash of their id."""

    def read(self) -> Iterator[Batch]:
        """Yield batches in the order of the source."""
        ...


class StepConfig(Config):
    """Config of a step: its identity enters the fingerprint, `build` makes its worker (on the machine it runs on)."""

    def build(self) -> Any:
        """Build the worker. Heavy work (loading a model) belongs here, not in the config."""
        raise TypeError(f"{type(self).__name__} does not say how to build its worker")

    def seen_by(self, reader: str) -> Raw | None:
        """Return what decides the part of the output that one reader takes, or None if that is the whole config.

        A router that asks everybody tells a teacher's step that only the teacher's own languages matter to it; so a
        pool that grows costs the answers of the new teacher alone.
        """
        return None


Scope = Literal["source", "shard", "corpus"]

SHARDS_IN_HAND = 4
"""Shards under way on one worker: one takes up items, one is read and ready, two wait for their last answers."""


@dataclass(frozen=True)
class Step:
    """The one node type of the DAG.

    Attributes:
        name: unique in the pipeline, such as `generate-aya-8b`; the part before the first '-' is the verb.
        config: what to do; built into a worker where it runs.
        inputs: role → the steps that feed it.
        produces: the record of its output rows.
        resources: what a replica holds; steps with equal `pool` share replicas (and so loaded models).
        scope: shard k → shard k; or one task over the corpus; or a source.
        pool: the replicas' identity; by default the step's own.
        narrows: role → what this step's rows depend on of an input of which it reads only a part (`seen_by`).
        version: raise it when the code changes what comes out.
    """

    name: str
    config: StepConfig
    produces: type[Record]
    inputs: Mapping[str, tuple["Step", ...]] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    scope: Scope = "shard"
    pool: str | None = None
    narrows: Mapping[str, Raw] = field(default_factory=dict)
    version: int = 1

    @cached_property
    def upstream(self) -> tuple["Step", ...]:
        """The steps this one reads, in order of role."""
        return tuple(step for role in sorted(self.inputs) for step in self.inputs[role])


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a pipeline file builds: the data sets it writes, and the candidate table that reports read.

    Attributes:
        datasets: data set name → the step that writes it.
        candidates: role (prompts, routes, drafts, scores, calibration, final) → the steps that hold it.
    """

    datasets: Mapping[str, Step]
    candidates: Mapping[str, tuple[Step, ...]]

    @property
    def targets(self) -> tuple[Step, ...]:
        """Every step somebody reads at the end."""
        return (*(step for role in self.candidates.values() for step in role), *self.datasets.values())


# --- teachers ----------------------------------------------------------------------------------------------


class Sampling(Config):
    """How a teacher is asked. Hedged sampling [2506.20544]: n − 1 warm samples plus one greedy."""

    n: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float, Field(ge=0.0)] = 0.7
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    max_tokens: Annotated[int, Field(ge=1)] = 512
    hedged: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One candidate to be sampled. Requests of one prompt come one after the other (prefix caches like that)."""

    candidate_id: str
    prompt_id: str
    messages: tuple[Message, ...]
    sample_index: int
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    source_id: str = ""  # of the prompt: recordings made elsewhere know it by this
    language: str = "und"  # of the prompt


@dataclass(frozen=True, slots=True)
class Completion:
    """A sampled answer. `cumulative_logprob`: natural log, summed over completion tokens, at temperature 1."""

    candidate_id: str
    text: str
    finish_reason: FinishReason
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cumulative_logprob: float | None = None


GenerationFailure = Literal[
    "empty_prompt",
    "prompt_too_long",
    "bad_request",
    "content_filter",
    "engine_error",
    "engine_died",
    "timeout",
    "no_recording",
]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one request has no answer; becomes a Reject. Other requests are not harmed."""

    candidate_id: str
    reason: GenerationFailure
    detail: str | None = None


class Engine(Protocol):
    """Something that answers. Yields each result as it arrives, in any order, exactly one for each request.

    It takes the next request when it has room for it, no earlier: what it took and has not answered is in flight.

    Raises (from the iterator) only what ends the whole step: TeacherAccessError, TeacherUnreachableError,
    EngineDiedError.
    """

    def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Completion | Failure, None]:
        """Answer all requests."""
        ...

    async def close(self) -> None:
        """Release processes, connections and memory."""
        ...


# --- routers -----------------------------------------------------------------------------------------------


class PoolMember(Config):
    """What a router may know of a teacher."""

    name: str
    languages: tuple[str, ...]


class Router(Protocol):
    """Says who is asked. A prompt that no teacher may answer gets None and becomes a Reject."""

    def route(self, prompts: Sequence[Prompt]) -> list[Route | None]:
        """Return one route for each prompt, in order."""
        ...


# --- rewards -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scorable:
    """A candidate beside the prompt it answers."""

    prompt: Prompt
    candidate: Candidate


class Reward(Protocol):
    """An opinion on candidates: a reward model, a check, a recorded column."""

    @property
    def name(self) -> str:
        """`name@version`, as it stands in Score.reward."""
        ...

    async def score(self, items: Sequence[Scorable]) -> list[Score]:
        """Return one Score for each item, in order; a value or an error, never NaN."""
        ...

    async def close(self) -> None:
        """Release processes and memory."""
        ...
