"""What all engine configs share: the teacher to serve, and the check of its usability."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from arbitrage.config import Config, Raw
from arbitrage.contracts.engines import Completion, Engine, Failure, GenerationRequest
from arbitrage.errors import DataError, EngineStartError
from arbitrage.models.adapters import Adapter, load_adapter
from arbitrage.models.chat import ChatTokenizer
from arbitrage.models.loading import load_config, load_tokenizer
from arbitrage.models.template_shapes import NoToolsError
from arbitrage.records import content_id
from arbitrage.teachers.tools import ToolParser

Precision = Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4"]
"""Precision of the weights. A quantised build is a different teacher [2407.03211], so it is part of the identity."""

Level = Literal["ok", "warn", "error"]

Result = Completion | Failure
"""An engine's result for one request."""


@dataclass(frozen=True, slots=True)
class UsabilityCheck:
    """One finding of `arbitrage teachers check`."""

    level: Level
    what: str  # such as "package", "key", "endpoint", "model"
    detail: str


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The model that an engine serves.

    Attributes:
        teacher: the teacher's name, for messages.
        model: a Hugging Face id, a local directory, or the name an endpoint serves it by.
        revision: commit of a Hugging Face id; None for the newest.
        precision: precision of the weights.
        context_length: maximum tokens of prompt and completion together; None for the model's own limit.
        template_options: passed to the chat template, such as {"enable_thinking": False}.
        chat_template: the source of a template in place of the model's.
        gpus: GPUs per replica; less than one is a share of a GPU. None: as many as the engine needs.
        reasoning_parser: how reasoning is told from the answer.
        tool_parser: how calls of tools are read out of a completion.
        reasoning_effort: of all requests; None leaves it to the model.
        uses: names of the parameters of `DecodingOptions` that requests set.
        adapter: a LoRA adapter of the model: a directory or a Hugging Face id.
        adapter_revision: commit of the adapter's Hugging Face id.
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
    tool_parser: str = "auto"
    reasoning_effort: str | None = None
    uses: frozenset[str] = frozenset()
    adapter: str | None = None
    adapter_revision: str | None = None

    @property
    def owner(self) -> str:
        """The beginning of an error message about the model."""
        return f"teacher '{self.teacher}'"

    def read_adapter(self, *, local_files_only: bool = False) -> Adapter | None:
        """Return the adapter's files, compared with the model; None without an adapter.

        Args:
            local_files_only: never download.

        Raises:
            EngineStartError: it cannot be found or read, or belongs to another model.
        """
        if self.adapter is None:
            return None
        where = (self.adapter, self.adapter_revision)
        return load_adapter(*where, self.model, self.owner, local_files_only=local_files_only)

    def template_key(self) -> str:
        """Return what decides the marks of reasoning in the tokenizer, as text."""
        return json.dumps([self.adapter, self.adapter_revision, self.chat_template, dict(self.template_options)])

    def tokenizer(self, *, local_files_only: bool = False) -> Any:
        """Load the tokenizer: the adapter's if it brings one, else the model's.

        Raises:
            EngineStartError: it cannot be loaded, or has tokens that the model does not know.
        """
        adapter = self.read_adapter(local_files_only=local_files_only)
        if adapter is None or not adapter.has_tokenizer:
            found = load_tokenizer(self.model, self.revision, self.owner, local_files_only=local_files_only)
            if adapter is not None and adapter.chat_template is not None:
                found.chat_template = adapter.chat_template
            return found
        found = load_tokenizer(str(adapter.directory), None, self.owner, local_files_only=local_files_only)
        known = load_config(self.model, self.revision, self.owner).get_text_config().vocab_size
        if len(found) > known:
            raise EngineStartError(
                f"{self.owner}: adapter {self.adapter}: its tokenizer has {len(found):,} tokens and {self.model} "
                f"{known:,}: it was trained with tokens of its own; merge it into the model and give the result "
                "as model"
            )
        if not getattr(found, "chat_template", None):
            base = load_tokenizer(self.model, self.revision, self.owner, local_files_only=local_files_only)
            found.chat_template = getattr(base, "chat_template", None)
        return found

    def chat(self, tokenizer: Any, *, local_files_only: bool = False) -> ChatTokenizer:
        """Return the tokenizer with the model's chat template.

        Raises:
            EngineStartError: the template drops a user turn.
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
    """Base of engine configs. A subclass defines `kind: Literal[...]` and builds its engine."""

    loads_model: ClassVar[bool] = False
    """Whether the engine loads the weights, so that `model` is a directory or a Hugging Face id."""

    needs_model: ClassVar[bool] = True
    """Whether `model` must be given."""

    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "bf16", "fp16", "fp8", "int8", "int4")
    """Precisions that it can serve."""

    unsupported: ClassVar[frozenset[str]] = frozenset()
    """Sampling parameters that it refuses, of `DecodingOptions`."""

    takes_adapters: ClassVar[bool] = False
    """Whether it applies LoRA adapters."""

    is_deferred: ClassVar[bool] = False
    """Whether requests are answered hours later, and go on without this process."""

    price_factor: ClassVar[float] = 1.0
    """Share of the teacher's prices that it pays."""

    def build(self, spec: ModelSpec) -> Engine:
        """Load everything and return the engine. Blocks while it loads.

        Raises:
            UserError: a package or key is missing.
            EngineStartError: the model cannot be loaded.
        """
        raise TypeError(f"{type(self).__name__} does not implement `build`")

    def load_identity(self, spec: ModelSpec) -> Raw | None:
        """Return what `build` loads, without what each request brings: adapter, template, sampling parameters.

        Engines of equal identity share one loaded model where they are built in one process. None: nothing to share.
        """
        return None

    def num_gpus(self) -> float:
        """Return the number of GPUs per replica."""
        return 0.0

    def num_cpus(self) -> float:
        """Return the number of CPU cores per replica; 0 if it only waits for servers."""
        return 0.0

    def recorded_revision(self) -> str | None:
        """Return the revision, if the engine and not a model decides the completions."""
        return None

    def require(self, spec: ModelSpec) -> None:
        """Check cheaply that the engine could be built here: packages and keys.

        Raises:
            UserError: with what to do about it.
        """

    async def check(self, spec: ModelSpec) -> list[UsabilityCheck]:
        """Check, without loading weights, whether the teacher is usable from this machine."""
        return []


def encoded_prompt(chat: ChatTokenizer, tools: ToolParser, request: GenerationRequest) -> list[int] | Failure:
    """Return the tokens of a request's prompt, or why it has none."""
    if failure := refuse_empty(request) or tools.problem(request):
        return failure
    try:
        return chat.encode(request.messages, tools=request.tools)
    except NoToolsError as error:
        return Failure(request.candidate_id, "tools_unsupported", str(error))
    except DataError as error:
        return Failure(request.candidate_id, "bad_request", str(error))


def refuse_empty(request: GenerationRequest) -> Failure | None:
    """Return the Failure of a request without any text, else None."""
    if any(m.role != "system" and m.content.strip() for m in request.messages):
        return None
    return Failure(request.candidate_id, "empty_prompt")


def fit(num_prompt_tokens: int, max_tokens: int, context_length: int) -> int:
    """Return how many tokens may be generated: max_tokens, clipped to the context; 0 if nothing fits."""
    return max(0, min(max_tokens, context_length - num_prompt_tokens))


def too_long(request: GenerationRequest, num_prompt_tokens: int, context_length: int) -> Failure:
    """Return the Failure of a prompt that leaves no room for a completion."""
    detail = f"{num_prompt_tokens} tokens do not fit a context of {context_length}"
    return Failure(request.candidate_id, "prompt_too_long", detail)


def chance(request: GenerationRequest, purpose: str) -> float:
    """Return a number in [0, 1) that depends only on the request and the purpose."""
    return int(content_id("chance", purpose, request.candidate_id), 16) / 16**20


def json_hash(value: object) -> str:
    """Hash a JSON value to 20 hex digits, independent of key order."""
    return content_id(json.dumps(value, sort_keys=True, ensure_ascii=True))
