"""`teachers.yaml`: who may answer, in which languages, on which engine, at what cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from arbitrage.config import Config, LanguageTag, Operational, Raw, parse, paths_beside
from arbitrage.contracts.engines import SamplingParams
from arbitrage.contracts.routers import PoolMember
from arbitrage.contracts.steps import ACCELERATOR, Resources, whole_or_part
from arbitrage.errors import UserError, closest, did_you_mean
from arbitrage.languages import script_of
from arbitrage.models.references import UNPINNED, absolute_model, is_pinned, local_directory, revision_of
from arbitrage.teachers import EngineConfig
from arbitrage.teachers.engines.engine import ModelSpec, Precision
from arbitrage.yaml_text import load_yaml

TokenCount = Annotated[int, Field(ge=1)]


class SamplingDefaults(Config):
    """How a teacher likes to be asked, where the run does not say.

    Attributes:
        n: number of candidates of each prompt.
        temperature: sampling temperature; 0 is greedy.
        top_p: nucleus sampling: share of the probability mass that is sampled from.
        max_tokens: maximum number of tokens of a completion.
    """

    n: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0.0)] = None
    top_p: Annotated[float | None, Field(gt=0.0, le=1.0)] = None
    max_tokens: TokenCount | None = None


class Cost(Config):
    """What answers cost: by token, or by the hour of a GPU.

    Attributes:
        usd_per_million_prompt_tokens: price of an endpoint.
        usd_per_million_completion_tokens: price of an endpoint.
        usd_per_gpu_hour: rent of one GPU; needs `tokens_per_second`.
        tokens_per_second: completion tokens of one replica, an estimate.
    """

    usd_per_million_prompt_tokens: Annotated[float, Field(ge=0.0)] = 0.0
    usd_per_million_completion_tokens: Annotated[float, Field(ge=0.0)] = 0.0
    usd_per_gpu_hour: Annotated[float, Field(ge=0.0)] = 0.0
    tokens_per_second: Annotated[float, Field(gt=0.0)] | None = None

    @model_validator(mode="after")
    def _rate_known(self) -> Self:
        if self.usd_per_gpu_hour and self.tokens_per_second is None:
            raise ValueError("usd_per_gpu_hour needs tokens_per_second")
        return self

    def usd(self, prompt_tokens: int, completion_tokens: int, num_gpus: float) -> float:
        """Return the cost of so many tokens on a replica of so many GPUs, in US dollars."""
        by_token = (
            prompt_tokens * self.usd_per_million_prompt_tokens
            + completion_tokens * self.usd_per_million_completion_tokens
        ) / 1e6
        seconds = completion_tokens / self.tokens_per_second if self.tokens_per_second else 0.0
        return by_token + seconds / 3600 * self.usd_per_gpu_hour * num_gpus


class TeacherResources(Config):
    """What one replica holds; None leaves it to the engine (vLLM: a GPU for each tensor-parallel rank).

    Attributes:
        cpus: CPU cores.
        gpus: whole GPUs, or a part of one: 0.5 shares a GPU with others, and its memory likewise.
        replicas: how many there are.
        accelerator: the GPU model it needs, by Ray's name, such as "H100", "A100" or "L4"; None takes any.
    """

    cpus: Annotated[float, Field(ge=0.0)] | None = None
    gpus: Annotated[float, Field(ge=0.0), AfterValidator(whole_or_part)] | None = None
    replicas: Annotated[int, Field(ge=1)] = 1
    accelerator: Annotated[str, Field(pattern=ACCELERATOR)] | None = None


class TeacherConfig(Config):
    """One teacher.

    What it may answer, what it costs and where it runs stay out of its identity: changing them must not throw away
    answers that are already there (which prompts it gets is the router's config, and that has the languages).

    Attributes:
        name: as it stands in routes and candidates.
        engine: what serves it.
        model: a Hugging Face id, a directory, `demo:<name>`, or the name an endpoint serves it by.
        revision: commit of a Hugging Face id.
        languages: what it may be sampled in. Routers do not send it prompts in others unless told to by name.
        verified_languages: languages in which this very build was checked. The only languages not in Latin script
            that a 4-bit build may be asked in (quantisation costs most there [2407.03211]).
        precision: how the weights are held. Another precision is another teacher: give it another name.
        licence: SPDX identifier, or the name of the licence where SPDX has none.
        context_length: tokens of prompt and answer together; None for the model's own limit.
        family: models of one maker; a reviewer should be of another.
        template_options: passed to the chat template, such as {enable_thinking: false}.
        sampling: how it likes to be asked; the run's own values go first.
        cost: what answers cost.
        resources: what a replica holds, and how many there are.
        notes: for people.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=80)
    engine: EngineConfig
    model: str = ""
    revision: str | None = None
    languages: Annotated[tuple[LanguageTag, ...], Field(min_length=1), Operational]
    verified_languages: Annotated[tuple[LanguageTag, ...], Operational] = ()
    precision: Precision = "bf16"
    licence: Annotated[str | None, Operational] = None
    context_length: TokenCount | None = None
    family: Annotated[str | None, Operational] = None
    template_options: dict[str, bool | int | str] = {}
    sampling: Annotated[SamplingDefaults, Operational] = SamplingDefaults()  # resolved into each run's sampling
    cost: Annotated[Cost | None, Operational] = None
    resources: Annotated[TeacherResources, Operational] = TeacherResources()
    notes: Annotated[str | None, Operational] = None

    @field_validator("model")
    @classmethod
    def _model_stays_found(cls, model: str, info: ValidationInfo) -> str:
        engine = info.data.get("engine")
        return absolute_model(model) if engine is not None and engine.loads_model and model else model

    @model_validator(mode="after")
    def _engine_fits(self) -> Self:
        if self.engine.needs_model and not self.model:
            raise ValueError(f"engine '{self.engine.kind}' needs a model")
        if self.precision not in self.engine.precisions:
            allowed = ", ".join(self.engine.precisions)
            raise ValueError(f"engine '{self.engine.kind}' serves {allowed}, not '{self.precision}'")
        return self

    def identity(self) -> Raw:
        """Return what tells this teacher's answers from another's. Reads a local model's files to digest them."""
        return self.identity_at(self.weights_revision())

    def identity_at(self, revision: str) -> Raw:
        """Return the identity of weights whose revision is known already; reads no files."""
        pinned_by_digest = self.engine.loads_model and local_directory(self.model) is not None
        model = "" if pinned_by_digest else self.model  # a copy elsewhere is the same teacher
        return super().identity() | {"model": model, "revision": revision}

    def weights_revision(self) -> str:
        """Return what pins the answers: a digest of local files, a commit, or "unpinned"."""
        recorded = self.engine.recorded_revision()
        if recorded is not None:
            return recorded
        if not self.engine.loads_model:
            return self.revision or UNPINNED
        return revision_of(self.model, self.revision)

    @property
    def is_pinned(self) -> bool:
        """Tell whether the same config can only mean the same weights."""
        if not self.engine.needs_model:
            return True
        return is_pinned(self.model, self.revision) if self.engine.loads_model else self.revision is not None

    def spec(self) -> ModelSpec:
        """Return what the engine must know."""
        return ModelSpec(
            teacher=self.name,
            model=self.model,
            revision=self.revision,
            precision=self.precision,
            context_length=self.context_length,
            template_options=self.template_options,
            gpus=self.held_resources().gpus,
        )

    def held_resources(self) -> Resources:
        """Return what one replica holds, and the number of replicas."""
        cpus, gpus = self.resources.cpus, self.resources.gpus
        return Resources(
            cpus=self.engine.num_cpus() if cpus is None else cpus,
            gpus=self.engine.num_gpus() if gpus is None else gpus,
            replicas=self.resources.replicas,
            accelerator=self.resources.accelerator,
        )

    def resolved_sampling(self, wanted: SamplingParams) -> SamplingParams:
        """Return how to ask: values the run gives explicitly, else the teacher's, else the defaults."""
        own = {k: v for k, v in self.sampling.model_dump().items() if v is not None}
        return wanted.model_copy(update={k: v for k, v in own.items() if k not in wanted.model_fields_set})


class TeacherPool(Config):
    """All teachers of one file.

    Attributes:
        teachers: the teachers; names are unique.
    """

    teachers: tuple[TeacherConfig, ...] = Field(min_length=1)

    @field_validator("teachers")
    @classmethod
    def _names_are_unique(cls, teachers: tuple[TeacherConfig, ...]) -> tuple[TeacherConfig, ...]:
        names = [teacher.name for teacher in teachers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the name '{twice[0]}' is given to more than one teacher")
        return teachers

    @property
    def names(self) -> tuple[str, ...]:
        """The teachers' names, in the order of the file."""
        return tuple(teacher.name for teacher in self.teachers)

    def select(self, names: Sequence[str]) -> tuple[TeacherConfig, ...]:
        """Return the named teachers, in the order asked for.

        Raises:
            UserError: one is not in the pool; names the nearest that is.
        """
        by_name = {teacher.name: teacher for teacher in self.teachers}
        for name in names:
            if name not in by_name:
                hint = did_you_mean(closest(name, by_name))
                raise UserError(f"no teacher is named '{name}'{hint}; the pool has {', '.join(by_name)}")
        return tuple(by_name[name] for name in dict.fromkeys(names))


def load_pool(path: Path) -> TeacherPool:
    """Read `teachers.yaml`.

    Raises:
        ConfigError: file, key, value found and values allowed, one line for each problem.
    """
    with paths_beside(path):
        return parse(load_yaml(path), TeacherPool, str(path))


def pool_members(teachers: Sequence[TeacherConfig]) -> list[PoolMember]:
    """Return what routers may know, 4-bit builds only in Latin scripts and in the languages verified."""
    return [PoolMember(name=teacher.name, languages=usable_languages(teacher)) for teacher in teachers]


def usable_languages(teacher: TeacherConfig) -> tuple[str, ...]:
    """Return the languages a teacher may be asked in: those declared, for a 4-bit build only the safe ones."""
    if teacher.precision != "int4":
        return teacher.languages
    return tuple(tag for tag in teacher.languages if script_of(tag) == "Latn" or tag in teacher.verified_languages)
