"""Sequence-classification reward models: one forward pass, one raw logit.

The logit is raw, because the sigmoid that serving engines apply reaches exactly 1.0 near logit 17 and makes ties.
"""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import AfterValidator, Field

from arbitrage.config import Operational, Raw
from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.steps import Resources
from arbitrage.errors import DataError
from arbitrage.models.chat import ChatTokenizer
from arbitrage.models.loading import load_config, load_tokenizer
from arbitrage.models.references import absolute_model, local_directory, revision_of
from arbitrage.models.turns import plain_turns
from arbitrage.records import FinishReason, Score, content_id
from arbitrage.rewards.options import CheckResult, RewardName, RewardOptions, score_of, versioned


class RewardModelConfig(RewardOptions):
    """A reward model, loaded with `AutoModelForSequenceClassification`.

    Attributes:
        model: a directory, a Hugging Face id, or `demo:<name>` for a model of the shipped demo world.
        revision: commit of a Hugging Face id.
        engine: `transformers` or `vllm`; both give the same values within 1e-3 in fp32.
        label: which logit is the reward: its number or its name in the model's config; required if there are several.
        max_tokens: maximum length of a conversation (default: the model's own limit; with `vllm` at most 16,384).
        truncate: cut longer conversations at the end instead of leaving them unscored (`too_long`).
        precision: precision of weights and arithmetic; the score itself is computed in fp32.
        template_options: passed to the chat template.
        batch_size: number of conversations in one forward pass, sorted by length (`transformers`).
        threads: CPU threads per replica; None: PyTorch's default.
        gpu_memory_utilization: share of each GPU's memory that vLLM uses; its CPU build uses 1 GB.
        tensor_parallel_size: number of GPUs for one vLLM replica; set `resources.gpus` to the same number.
        enforce_eager: vLLM compiles nothing: starts faster, runs slower.
    """

    version: ClassVar[int] = 2
    is_model: ClassVar[bool] = True

    kind: Literal["classifier"] = "classifier"
    name: RewardName = "rm"
    model: Annotated[str, AfterValidator(absolute_model)]
    revision: str | None = None
    engine: Literal["transformers", "vllm"] = "transformers"
    label: Annotated[int, Field(ge=0)] | str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    truncate: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    template_options: dict[str, str | bool | int] = {}
    batch_size: Annotated[int, Field(ge=1), Operational] = 32
    threads: Annotated[int | None, Field(ge=1), Operational] = None
    gpu_memory_utilization: Annotated[float, Field(gt=0.0, le=1.0), Operational] = 0.9
    tensor_parallel_size: Annotated[int, Field(ge=1), Operational] = 1
    enforce_eager: Annotated[bool, Operational] = False
    resources: Annotated[Resources, Operational] = Resources(cpus=1.0)

    def identity(self) -> Raw:
        """Identify local weights by their content instead of their path."""
        # No label means the only one: the first, as in older configs.
        return super().identity() | {"model": _weights_of(self.model, self.revision), "label": self.label or 0}

    @property
    def owner(self) -> str:
        """The beginning of an error message about the model."""
        return f"reward '{self.name}'"

    @property
    def reward_name(self) -> str:
        """`name@version-weights`."""
        return versioned(self.name, self.version, _weights_of(self.model, self.revision))

    def build(self) -> "RewardModel":
        """Load the model.

        Raises:
            EngineStartError: the model cannot be loaded, or has no such label.
            MissingDependencyError: the engine is not installed.
        """
        load_config(self.model, self.revision, self.owner)  # report broken files first
        tokenizer = load_tokenizer(self.model, self.revision, self.owner)
        chat = ChatTokenizer(
            tokenizer,
            self.template_options,
            owner=self.owner,
            model=self.model,
            revision=self.revision,
            judges_answers=True,
        )
        return RewardModel(self, chat, _engine(self, tokenizer))


class LogitEngine(Protocol):
    """A loaded classifier.

    Attributes:
        max_length: maximum input in tokens; None if the model does not say.
        pad_id: the token that a decoder's pooling skips at the end of an input.
    """

    max_length: int | None
    pad_id: int | None

    async def logits(self, rows: Sequence[list[int]]) -> list[float | None]:
        """Return the raw logit of each row of token ids, in order; None where the engine refuses a row."""
        ...

    async def close(self) -> None:
        """Release processes and memory."""
        ...


class RewardModel:
    """A `Reward`. Errors of its Scores: `candidate_error`, `bad_chat`, `too_long`, `engine_error`, `not_finite`."""

    def __init__(self, config: RewardModelConfig, chat: ChatTokenizer, engine: LogitEngine) -> None:
        self._config = config
        self._chat = chat
        self._engine = engine
        limits = [n for n in (config.max_tokens, engine.max_length) if n]
        self._max_length = min(limits) if limits else None
        self._name = config.reward_name

    @property
    def name(self) -> str:
        """`name@version-weights`."""
        return self._name

    async def score(self, items: Sequence[Scorable]) -> list[Score]:
        """Return one Score for each item, in order."""
        rows = await asyncio.to_thread(lambda: [self._encode(item) for item in items])
        places = [i for i, row in enumerate(rows) if not isinstance(row, CheckResult)]
        values = await self._engine.logits([row for row in rows if not isinstance(row, CheckResult)])
        found = dict(zip(places, values, strict=True))
        judgements = [row if isinstance(row, CheckResult) else _judgement(found[i]) for i, row in enumerate(rows)]
        return [score_of(item, self._name, j) for item, j in zip(items, judgements, strict=True)]

    async def close(self) -> None:
        """Release the model."""
        await self._engine.close()

    def _encode(self, item: Scorable) -> list[int] | CheckResult:
        if item.candidate.finish_reason is FinishReason.ERROR:
            return CheckResult(error="candidate_error")
        turns = plain_turns([*item.prompt.messages, *item.candidate.reply])
        try:
            ids = self._chat.encode(turns, is_complete=True)
        except DataError:
            return CheckResult(error="bad_chat")
        # Transformers pools at the last token that is not padding, vLLM at the last: give both the same input.
        while len(ids) > 1 and ids[-1] == self._engine.pad_id:
            ids.pop()
        if self._max_length and len(ids) > self._max_length:
            if not self._config.truncate:
                return CheckResult(error="too_long")
            ids = self._cut(ids, self._max_length)
        return ids

    def _cut(self, ids: Sequence[int], length: int) -> list[int]:
        """Return the beginning of a conversation, with the tokenizer's closing token."""
        closing = [token for token in self._chat.closing if token != self._engine.pad_id][-length:]
        return [*ids[: length - len(closing)], *closing]


def _judgement(value: float | None) -> CheckResult:
    if value is None:
        return CheckResult(error="engine_error")
    return CheckResult(value=value) if isfinite(value) else CheckResult(error="not_finite")


def _engine(config: RewardModelConfig, tokenizer: Any) -> LogitEngine:
    if config.engine == "vllm":
        from arbitrage.rewards.classifier_vllm import VllmClassifier

        return VllmClassifier(config, tokenizer)
    from arbitrage.rewards.classifier_transformers import TransformersClassifier

    return TransformersClassifier(config, tokenizer)


@lru_cache(maxsize=64)
def _weights_of(model: str, revision: str | None) -> str:
    found = revision_of(model, revision)
    return found if local_directory(model) else content_id("weights", model, found)
