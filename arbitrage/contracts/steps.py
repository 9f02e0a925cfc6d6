"""Steps: a pipeline is a DAG of `Step`.

Running shard k of a step means: build the step's worker from its config, hand it shard k of each input, and store
what it returns as shard k of its output.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field

from arbitrage.config import Config, Raw
from arbitrage.contracts.workers import DEFERRED_SHARDS_IN_HAND, SHARDS_IN_HAND, Inputs, Item, Output
from arbitrage.records import Prompt, Record


def _counted(number: float, thing: str) -> str:
    return f"{number:g} {thing}" if number == 1 else f"{number:g} {thing}s"


ACCELERATOR = r"^[A-Za-z0-9._-]+$"


def _is_none(value: object) -> bool:
    return value is None


def whole_or_part(gpus: float) -> float:
    """Return a number of GPUs that Ray accepts: whole ones, or a share of one."""
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(f"{gpus:g} GPUs cannot be reserved: give a whole number, or a share of one GPU such as 0.5")
    return gpus


class Resources(Config):
    """Resources that one replica of a step's worker reserves. A worker without any shares a process with others.

    Attributes:
        cpus: CPU cores.
        gpus: whole GPUs, or a share of one.
        replicas: number of replicas; null: as many as the free GPUs allow if each holds whole GPUs, else 1.
        accelerator: required GPU model, by Ray's name, such as "H100"; None: any.
    """

    cpus: float = Field(default=0.0, ge=0.0)
    gpus: Annotated[float, Field(ge=0.0), AfterValidator(whole_or_part)] = 0.0
    replicas: int | None = Field(default=None, ge=1)
    accelerator: Annotated[str, Field(pattern=ACCELERATOR)] | None = Field(default=None, exclude_if=_is_none)

    @property
    def is_nothing(self) -> bool:
        """Whether a replica reserves neither cores nor GPUs: it only waits for servers."""
        return not self.cpus and not self.gpus

    @property
    def max_replicas(self) -> int | None:
        """The number of replicas; None: as many as fit."""
        if self.replicas is None and self.gpus >= 1:
            return None
        return self.replicas or 1

    def all(self) -> str:
        """Return the resources of all replicas as text: '2 × (2 CPUs, 1 GPU)'."""
        number = self.max_replicas
        return f"{'as many as fit' if number is None else number} × ({self.each()})"

    def each(self) -> str:
        """Return one replica's resources as text: '2 CPUs, 1 GPU (H100)'."""
        held = [_counted(self.cpus, "CPU"), _counted(self.gpus, "GPU")] if self.gpus else [_counted(self.cpus, "CPU")]
        return ", ".join(held) + (f" ({self.accelerator})" if self.accelerator else "")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """The model that a step's worker loads or sends requests to.

    Attributes:
        engine: what runs the model, such as "vllm"; for an endpoint, the protocol.
        model: its reference in the config.
        precision: precision of the weights; None if a server runs the model.
    """

    engine: str
    model: str
    precision: str | None


class StepConfig(Config):
    """Config of a step: its identity enters the fingerprint, `build` makes its worker (on the machine it runs on).

    Attributes:
        step_kind: kind of the step in its fingerprint, so that a class can be renamed without invalidating runs.
    """

    step_kind: ClassVar[str]

    def build(self) -> Any:
        """Build the worker. Heavy work (loading a model) belongs here, not in the config."""
        raise TypeError(f"{type(self).__name__} does not implement `build`")

    @property
    def is_remote(self) -> bool:
        """Whether the worker loads no model and only waits for servers: it may share a process with others."""
        return False

    @property
    def is_deferred(self) -> bool:
        """Whether its requests are answered hours later, and go on without this process.

        Silence is then no stall, and a run that stops does not wait for them: the next one finds them again.
        """
        return False

    @property
    def shards_in_hand(self) -> int:
        """How many shards a worker has under way at most."""
        return DEFERRED_SHARDS_IN_HAND if self.is_deferred else SHARDS_IN_HAND

    def loaded(self) -> LoadedModel | None:
        """Return the model that the worker loads or sends requests to; None if there is none."""
        return None

    def load_key(self) -> str | None:
        """Return a digest of what the worker loads; workers of one process with equal keys share it. None: nothing.

        It may read the headers of a model's files: call it where workers are built.
        """
        return None

    def replica_key(self) -> str | None:
        """Return what identifies a model and its user; steps of equal keys share replicas. None: they do not."""
        return None

    def identity_for(self, reader: str) -> Raw | None:
        """Return what decides the part of the output that one reader uses, or None for the whole config.

        With the router `all`, a teacher's step depends only on the teacher's own languages: adding a teacher to the
        pool costs only the new teacher's candidates.
        """
        return None


class PureStep(StepConfig, ABC):
    """Config of a step that loads nothing and so is its own worker: rows are a function of config and inputs."""

    def build(self) -> Self:
        """Return itself."""
        return self

    def items(self, inputs: Inputs) -> list[Item]:
        """List the prompts: each becomes a row (or several) or a Reject."""
        return [Item(prompt.prompt_id, prompt.language) for prompt in inputs.records("prompts", Prompt)]

    @abstractmethod
    async def run(self, inputs: Inputs) -> Output:
        """Do a shard."""

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""


class PureCorpusStep(StepConfig, ABC):
    """As `PureStep`, for a step that sees all shards."""

    def build(self) -> Self:
        """Return itself."""
        return self

    @abstractmethod
    def run(self, shards: Iterable[Inputs]) -> Output:
        """Do the whole corpus."""


Scope = Literal["source", "shard", "corpus"]

Verb = Literal[
    "prompts",
    "route",
    "expand",
    "generate",
    "translate",
    "fuse",
    "score",
    "check",
    "measure",
    "review",
    "adjudicate",
    "calibrate",
    "ensemble",
    "select",
    "pair",
    "mix",
    "quota",
    "scale",
    "steer",
    "target",
    "train",
    "answers",
    "judge",
    "verdicts",
]


class StepFacts(Config):
    """Facts about a step, for readers of plans and finished runs. The step's name is made of them and never parsed.

    Attributes:
        verb: what the step does.
        label: distinguishes it from other steps of the verb, such as a teacher, a router's kind or a data set.
        part: part of the run, if a pipeline does the same step twice, such as "commit".
        teacher: the teacher whose candidates it generates, scores, checks or measures.
        scorer: the reward, committee, judge or reviewer whose scores or verdicts it makes.
        is_budgeted: whether its rejects are losses and count against `max_rejected`; a selector's rejects are its
            decisions.
    """

    verb: Verb
    label: str = ""
    part: str = ""
    teacher: str | None = None
    scorer: str | None = None
    is_budgeted: bool = False

    @property
    def name(self) -> str:
        """The step's name, such as "generate-aya-8b-commit"."""
        return "-".join(filter(None, (self.verb, self.label, self.part)))

    @property
    def title(self) -> str:
        """The step's display name, such as "generate aya-8b-commit"."""
        return " ".join(filter(None, (self.verb, self.subject)))

    @property
    def subject(self) -> str:
        """The name without the verb, such as "aya-8b-commit"."""
        return "-".join(filter(None, (self.label, self.part)))


@dataclass(frozen=True, slots=True)
class Span:
    """Some of a run's shards: from `first` up to `end` (exclusive; None: to the last)."""

    first: int = 0
    end: int | None = None

    def __contains__(self, shard: int) -> bool:
        """Tell whether a shard is in the span."""
        return self.first <= shard and (self.end is None or shard < self.end)

    def covers(self, other: "Span") -> bool:
        """Tell whether all shards of another span are in it."""
        return self.first <= other.first and (self.end is None or (other.end is not None and other.end <= self.end))


ALL_SHARDS = Span()


@dataclass(frozen=True)
class Step:
    """The only node type of the DAG.

    Attributes:
        facts: its facts; its name, such as `generate-aya-8b`, is made of them and unique in the pipeline.
        config: what to do; built into a worker where it runs.
        inputs: role → the steps that feed it.
        produces: the record of its output rows.
        resources: resources of a replica; steps with equal `pool` share replicas (and so loaded models).
        scope: shard k → shard k; or one task over all shards; or a source.
        pool: identity of the replicas (default: the step's own).
        span: the shards it does, or reads if its scope is the corpus; reading other shards of it yields no rows.
        narrows: role → the part of an input's identity that this step's rows depend on, if it reads only a part
            (`identity_for`).
        version: increase it when a change of the code changes the rows.
    """

    facts: StepFacts
    config: StepConfig
    produces: type[Record]
    inputs: Mapping[str, tuple["Step", ...]] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    scope: Scope = "shard"
    pool: str | None = None
    span: Span = ALL_SHARDS
    narrows: Mapping[str, Raw] = field(default_factory=dict)
    version: int = 1

    @cached_property
    def name(self) -> str:
        """Its name, unique in the pipeline."""
        return self.facts.name

    def part(self, name: str, span: Span | None = None) -> "Step":
        """Return the same step for a part of the run.

        Args:
            name: of the part; "" keeps the step's name.
            span: the shards of the part; None keeps the step's.
        """
        facts = self.facts.model_copy(update={"part": name}) if name else self.facts
        return replace(self, facts=facts, span=self.span if span is None else span)

    @cached_property
    def upstream(self) -> tuple["Step", ...]:
        """The steps this one reads, in order of role."""
        return tuple(step for role in sorted(self.inputs) for step in self.inputs[role])


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The result of a pipeline file: the data sets it writes, and the candidate table for reports.

    Attributes:
        datasets: data set name → the step that writes it.
        table: role (prompts, routes, candidates, scores, calibration, final) → the steps that hold it.
    """

    datasets: Mapping[str, Step]
    table: Mapping[str, tuple[Step, ...]]

    @property
    def targets(self) -> tuple[Step, ...]:
        """Every step whose output is needed at the end of the run."""
        return (*(step for role in self.table.values() for step in role), *self.datasets.values())
