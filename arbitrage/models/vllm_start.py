"""Start vLLM's `AsyncLLM` for teachers and reward models: environment, arguments, and informative errors."""

import os
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from arbitrage.errors import EngineStartError
from arbitrage.models.vllm_stats import VllmStats
from arbitrage.processes.orphans import end_engines_with_this_process
from arbitrage.processes.stderr_tail import causes, stderr_tail

ENVIRONMENT: Mapping[str, str] = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",  # its six warnings at every start on CPUs concern its own defaults
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output is for results
    # FlashInfer compiles its sampler on first use and needs nvcc and ninja for it, which the wheels do not bring
    # (vllm-project/vllm#49497). Seeded and greedy rows, all of ours, take vLLM's own sampler anyway.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    # The process that starts the engine has threads: a fork of it may hang on a lock that a thread held.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
"""Environment variables for vLLM; a value set by the user is kept."""

_FAILURES = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError)
"""Errors of vLLM for a model that it cannot load; its own error types are added if they exist."""


def set_environment() -> None:
    """Set vLLM's environment variables. Call it before vLLM is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def executor(tensor_parallel_size: int) -> str | None:
    """Return how the ranks of an engine are started: as processes of this host, which has all of a replica's GPUs.

    By default vLLM finds the placement group of its Ray actor and starts its ranks as Ray actors, which need one
    bundle for each GPU: "Placement group bundle cannot have more than 1 GPU".
    """
    return "mp" if tensor_parallel_size > 1 else None


def start_engine(who: str, model: str, arguments: Mapping[str, object], stats: VllmStats | None = None) -> Any:
    """Return a running `AsyncLLM`.

    Args:
        who: name of the teacher or reward in errors, such as "teacher 'a'".
        model: the model's reference, for errors.
        arguments: arguments of vLLM's `AsyncEngineArgs`; None: vLLM's default.
        stats: receives the engine's figures.

    Raises:
        EngineStartError: with the last errors that the engine's processes logged.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.exceptions import VLLMError
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    end_engines_with_this_process()
    lines: deque[str] = deque()
    try:
        with stderr_tail() as lines:
            args = AsyncEngineArgs(**{name: value for name, value in arguments.items() if value is not None})
            # The defaults for offline work: batches of 8,192 to 16,384 tokens a step instead of 2,048.
            loggers = None if stats is None else [stats.logger()]
            return AsyncLLM.from_engine_args(args, usage_context=UsageContext.LLM_CLASS, stat_loggers=loggers)
    except (*_FAILURES, VLLMError) as error:
        raise EngineStartError(f"{who}: vLLM cannot load {model}: {_why(error, lines)}") from error


def _why(error: Exception, lines: Sequence[str]) -> str:
    own = (str(error) or type(error).__name__).strip().splitlines()[0][:300]
    if "root cause above" not in str(error):
        return own
    return f"{own.partition('. ')[0]}: {causes(lines) or 'its processes ended without a message'}"


def checkpoint_quantization(model: str, revision: str | None) -> str | None:
    """Return the quantisation method that a checkpoint was saved with, such as "compressed-tensors", or None.

    Raises:
        OSError: the model's config cannot be read.
        ValueError: it cannot be understood.
    """
    from vllm.transformers_utils.config import get_config

    config = get_config(model, trust_remote_code=False, revision=revision)
    text = config.get_text_config()
    for holder in (config, text):
        for name in ("quantization_config", "compression_config"):
            if found := getattr(holder, name, None):
                return _method(found)
    return None


def _method(found: Any) -> str:
    known = found if isinstance(found, Mapping) else vars(found)
    inner = known.get("quantization")  # modelopt's own file nests it
    algorithm = inner.get("quant_algo") if isinstance(inner, Mapping) else None
    return str(known.get("quant_method") or known.get("quant_algo") or algorithm or "an unnamed method")
