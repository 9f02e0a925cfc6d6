"""Classifiers on vLLM's pooling runner (https://docs.vllm.ai/en/latest/models/pooling_models/), GPU or CPU build."""

import asyncio
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from arbitrage.errors import DataError, EngineDiedError, EngineStartError, MissingDependencyError
from arbitrage.models import loadable

if TYPE_CHECKING:
    from arbitrage.rewards.classifier import ClassifierConfig

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

MAX_IN_FLIGHT = 512
"""Requests the engine knows of at one time: enough to fill any batch, few enough to keep its queue short."""


CPU_CACHE_BYTES = 1 << 30
"""By default the CPU build would take half of the machine's memory."""


class VllmClassifier:
    """One engine process. Requests of all shards under way are batched together."""

    def __init__(self, config: "ClassifierConfig") -> None:
        self._name = config.name
        self._label = config.label
        self._engine = _start(config)
        model_config = self._engine.model_config
        self.max_length: int | None = model_config.max_model_len
        self.pad_id: int | None = model_config.hf_config.get_text_config().pad_token_id
        if config.label >= model_config.hf_config.num_labels:
            self._engine.shutdown()
            raise EngineStartError(
                f"reward '{config.name}': label {config.label}: "
                f"{config.model} has {model_config.hf_config.num_labels} label(s)"
            )
        self._numbers = itertools.count()
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def logits(self, rows: Sequence[list[int]]) -> list[float | None]:
        """Return the raw logit of each row, in order.

        Raises:
            EngineDiedError: the engine process is gone.
        """
        return await asyncio.gather(*(self._one(row) for row in rows))

    async def close(self) -> None:
        """Stop the engine process."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.shutdown()

    async def _one(self, ids: list[int]) -> float | None:
        from vllm import PoolingParams
        from vllm.exceptions import VLLMClientError
        from vllm.inputs import TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError

        # The default activation is a sigmoid (or a softmax): ask for the logits themselves.
        params = PoolingParams(task="classify", use_activation=False)
        number = f"{self._name}-{next(self._numbers)}"
        async with self._slots:
            try:
                async for output in self._engine.encode(TokensPrompt(prompt_token_ids=ids), params, number):
                    if output.finished:
                        return float(output.outputs.data.flatten()[self._label])
            except VLLMClientError:
                return None
            except EngineDeadError as error:
                raise EngineDiedError(f"reward '{self._name}': vLLM's engine process died") from error
        return None


def _start(config: "ClassifierConfig") -> Any:
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # standard output is for results
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise MissingDependencyError(
            f"reward '{config.name}': engine vllm is not installed: pip install 'arbitrage[vllm]'"
        ) from error
    try:
        arguments = AsyncEngineArgs(
            model=loadable(config.model),
            revision=config.revision,
            tokenizer_revision=config.revision,
            trust_remote_code=False,
            load_format="safetensors",
            runner="pooling",
            convert="classify",
            dtype=_DTYPES[config.precision],
            max_model_len=config.max_tokens,
            gpu_memory_utilization=config.gpu_memory_utilization,
            kv_cache_memory_bytes=None if config.resources.gpus else CPU_CACHE_BYTES,
            tensor_parallel_size=config.tensor_parallel_size,
            enforce_eager=config.enforce_eager,
            disable_log_stats=True,
        )
        return AsyncLLM.from_engine_args(arguments)
    except (OSError, ValueError, KeyError, RuntimeError, DataError) as error:
        raise EngineStartError(f"reward '{config.name}': vLLM cannot load {config.model}: {error}") from error
