"""Classifiers on vLLM's pooling runner (https://docs.vllm.ai/en/latest/models/pooling_models/), GPU or CPU build."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from arbitrage.errors import EngineDiedError, MissingDependencyError, UserError
from arbitrage.models.labels import label_of
from arbitrage.models.loading import DTYPES, check_weights, load_config, loading, longest_input, padding_id
from arbitrage.models.references import loadable
from arbitrage.models.vllm_start import executor, set_environment, start_engine

if TYPE_CHECKING:
    from arbitrage.rewards.classifier import RewardModelConfig

MAX_IN_FLIGHT = 512
"""Maximum number of requests in the engine: enough to fill any batch, with a short queue."""


CPU_CACHE_BYTES = 1 << 30
"""Memory of the key-value cache; by default the CPU build would use half of the machine's memory."""

LONGEST_BY_DEFAULT = 16_384
"""Maximum tokens of a conversation if `max_tokens` is not given."""


class VllmClassifier:
    """One engine process. Requests of all shards under way are batched together."""

    def __init__(self, config: "RewardModelConfig", tokenizer: Any) -> None:
        self._name = config.name
        model_config = load_config(config.model, config.revision, config.owner, "vLLM")
        self._label = label_of(config.label, model_config, owner=config.owner, model=config.model)
        check_weights(config.model, config.revision, config.owner, loader="AutoModelForSequenceClassification")
        self.pad_id = padding_id(model_config.get_text_config())
        self._engine = _start(config, self.pad_id)
        lengths = (self._engine.model_config.max_model_len, longest_input(model_config, tokenizer))
        self.max_length: int | None = min(length for length in lengths if length)
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

        # The default activation is a sigmoid (or a softmax): request the logits themselves.
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


def _start(config: "RewardModelConfig", pad_id: int | None) -> Any:
    set_environment()
    who = config.owner
    try:
        from vllm.platforms import current_platform
    except ImportError as error:
        raise MissingDependencyError(f"{who}: engine vllm is not installed: pip install 'arbitrage[vllm]'") from error
    _require_gpus(config, current_platform.is_cpu())
    with loading(who, config.model, "vLLM"):
        model = loadable(config.model)
        max_tokens = config.max_tokens or _longest(model, config)
        return start_engine(who, config.model, engine_args(config, model, max_tokens, pad_id))


def engine_args(
    config: "RewardModelConfig", model: str, max_tokens: int, pad_id: int | None = 0
) -> dict[str, object]:
    """Return the arguments of vLLM's `AsyncEngineArgs`; `pad_id` is None where the model has no usable one."""
    gpus = config.resources.gpus
    return {
        "model": model,
        "revision": config.revision,
        "tokenizer_revision": config.revision,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "runner": "pooling",
        "convert": "classify",
        "dtype": DTYPES[config.precision],
        "max_model_len": max_tokens,
        "gpu_memory_utilization": config.gpu_memory_utilization * (gpus if 0 < gpus < 1 else 1.0),
        "kv_cache_memory_bytes": None if gpus else CPU_CACHE_BYTES,
        "tensor_parallel_size": config.tensor_parallel_size,
        "distributed_executor_backend": executor(config.tensor_parallel_size),
        "enforce_eager": config.enforce_eager,
        "language_model_only": True,
        "hf_overrides": None if pad_id is not None else {"pad_token_id": None},
        "disable_log_stats": True,
    }


def _require_gpus(config: "RewardModelConfig", is_cpu_build: bool) -> None:
    """Refuse a replica that would use GPUs it does not reserve: Ray hides none from a worker that reserves none."""
    gpus, ranks = config.resources.gpus, config.tensor_parallel_size
    if not is_cpu_build and gpus == 0:
        raise UserError(
            f"reward '{config.name}': resources.gpus is 0, but the installed vLLM is the GPU build, which would take "
            f"a GPU that others hold; add resources: {{gpus: {ranks}}}"
        )
    if gpus and ranks > 1 and gpus != ranks:
        raise UserError(
            f"reward '{config.name}': tensor_parallel_size is {ranks}, but resources.gpus is {gpus:g}; set both alike"
        )


def _longest(model: str, config: "RewardModelConfig") -> int:
    """Return the default maximum length: the model's own limit, but at most 16,384.

    vLLM reserves its key-value cache for one input of this length. Skywork-Reward-V2-Llama-3.1-8B states
    131,072 positions, and that is 16 GiB.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    arguments = engine_args(config, model, 0) | {"max_model_len": None}
    known = AsyncEngineArgs(**{k: v for k, v in arguments.items() if v is not None}).create_model_config()
    return min(int(known.max_model_len), LONGEST_BY_DEFAULT)
