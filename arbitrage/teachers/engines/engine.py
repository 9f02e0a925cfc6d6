"""What every engine's config has in common: the teacher that it serves, and what it reports about itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from arbitrage.config import Config
from arbitrage.contracts.engines import Completion, Engine, Failure, GenerationRequest
from arbitrage.models.chat import ChatTokenizer
from arbitrage.records import content_id

Precision = Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4"]
"""How weights are held. A quantised build is a different teacher [2407.03211], so it is part of its identity."""

Level = Literal["ok", "warn", "error"]

Result = Completion | Failure
"""An engine's result for one request."""


@dataclass(frozen=True, slots=True)
class UsabilityCheck:
    """One thing `arbitrage teachers check` found out."""

    level: Level
    what: str  # such as "package", "key", "endpoint", "model"
    detail: str


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What an engine must know of the teacher it serves.

    Attributes:
        teacher: the teacher's name, for messages.
        model: a Hugging Face id, a local directory, or the name an endpoint serves it by.
        revision: commit of a Hugging Face id; None for the newest.
        precision: how weights are held.
        context_length: tokens of prompt and answer together; None for the model's own limit.
        template_options: passed to the chat template, such as {"enable_thinking": False}.
        chat_template: the source of a template in place of the model's.
        gpus: GPUs that one replica holds; less than one is a part of a GPU. None: as many as the engine needs.
        reasoning_parser: how reasoning is told from the answer.
        reasoning_effort: of all requests; None leaves it to the model.
        uses: names of the parameters of `DecodingOptions` that requests set.
    """

    teacher: str
    model: str
    revision: str | None = None
    precision: Precision = "bf16"
    context_length: int | None = None
    template_options: Mapping[str, bool | int | str] = field(default_factory=dict)
    chat_template: str | None = None
    gpus: float | None = None
    reasoning_parser: str = "auto"
    reasoning_effort: str | None = None
    uses: frozenset[str] = frozenset()

    @property
    def owner(self) -> str:
        """What an error about the model begins with."""
        return f"teacher '{self.teacher}'"

    def chat(self, tokenizer: Any, *, local_files_only: bool = False) -> ChatTokenizer:
        """Return the tokenizer with the model's chat template.

        Raises:
            EngineStartError: a user's turn does not come out of the template.
        """
        return ChatTokenizer(
            tokenizer,
            self.template_options,
            owner=self.owner,
            model=self.model,
            revision=self.revision,
            local_files_only=local_files_only,
            effort=self.reasoning_effort,
            template=self.chat_template,
        )


class EngineOptions(Config):
    """Base of engine configs. A subclass adds `kind: Literal[...]` and builds its engine."""

    loads_model: ClassVar[bool] = False
    """Whether it reads the weights itself, so that `model` is a directory or a Hugging Face id."""

    needs_model: ClassVar[bool] = True
    """Whether `model` must be given."""

    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "bf16", "fp16", "fp8", "int8", "int4")
    """What it can serve."""

    cannot: ClassVar[frozenset[str]] = frozenset()
    """Sampling parameters that it refuses, of `DecodingOptions`."""

    def build(self, spec: ModelSpec) -> Engine:
        """Load what is needed and return the engine. Blocks while it loads.

        Raises:
            UserError: something the user must set up is absent (a package, a key).
            EngineStartError: the model cannot be loaded.
        """
        raise TypeError(f"{type(self).__name__} does not say how to build its engine")

    def num_gpus(self) -> float:
        """Return the GPUs one replica holds."""
        return 0.0

    def num_cpus(self) -> float:
        """Return the CPU cores one replica holds; 0 where it only waits for others."""
        return 0.0

    def recorded_revision(self) -> str | None:
        """Return what stands for the model's revision where the engine, not a model, decides the answers."""
        return None

    def require(self, spec: ModelSpec) -> None:
        """Check cheaply that the engine could be built here: packages and keys.

        Raises:
            UserError: with what to do about it.
        """

    async def check(self, spec: ModelSpec) -> list[UsabilityCheck]:
        """Find out, without loading weights, whether the teacher could be served from here."""
        return []


def refuse_empty(request: GenerationRequest) -> Failure | None:
    """Return the Failure of a request without any text, else None."""
    if any(m.role != "system" and m.content.strip() for m in request.messages):
        return None
    return Failure(request.candidate_id, "empty_prompt")


def fit(num_prompt_tokens: int, max_tokens: int, context_length: int) -> int:
    """Return how many tokens may be generated: max_tokens, clipped to the context; 0 if nothing fits."""
    return max(0, min(max_tokens, context_length - num_prompt_tokens))


def too_long(request: GenerationRequest, num_prompt_tokens: int, context_length: int) -> Failure:
    """Return the Failure of a prompt that leaves no room for an answer."""
    detail = f"{num_prompt_tokens} tokens do not fit a context of {context_length}"
    return Failure(request.candidate_id, "prompt_too_long", detail)


def chance(request: GenerationRequest, purpose: str) -> float:
    """Return a number in [0, 1) that depends on the request and the purpose alone."""
    return int(content_id("chance", purpose, request.candidate_id), 16) / 16**20


def json_hash(value: object) -> str:
    """Hash a JSON value to 20 hex digits, independent of key order."""
    return content_id(json.dumps(value, sort_keys=True, ensure_ascii=True))
