"""`engine.args`: arguments of vLLM's `AsyncEngineArgs` that have no key of their own.

Names are held against the installed vLLM's own source, which is parsed and not imported: importing vLLM takes ten
seconds.
"""

import ast
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, JsonValue

from arbitrage.errors import UserError, closest, did_you_mean

_OURS: Final[Mapping[str, str | None]] = {
    "model": "the teacher's model",
    "model_weights": "the teacher's model",
    "served_model_name": "the teacher's name",
    "revision": "the teacher's revision",
    "code_revision": "the teacher's revision",
    "tokenizer_revision": "the teacher's revision",
    "tokenizer": "the teacher's model",
    "dtype": "the teacher's precision",
    "quantization": "engine.quantization",
    "max_model_len": "the teacher's context_length",
    "max_num_seqs": "engine.max_num_seqs",
    "max_num_batched_tokens": "engine.max_num_batched_tokens",
    "tensor_parallel_size": "engine.tensor_parallel_size",
    "gpu_memory_utilization": "engine.gpu_memory_utilization",
    "kv_cache_memory_bytes": "engine.kv_cache_gb",
    "enforce_eager": "engine.enforce_eager",
    "enable_prefix_caching": "engine.enable_prefix_caching",
    "reasoning_parser": "the teacher's reasoning_parser",
    "reasoning_config": "sampling.reasoning_budget",
    "distributed_executor_backend": None,
    "generation_config": "sampling: maker",
    "override_generation_config": "the teacher's sampling",
    "logprobs_mode": None,
    "disable_log_stats": None,
    "load_format": None,
    "seed": "sampling.seed",
    "runner": None,
    "convert": None,
    "skip_tokenizer_init": None,
    "trust_remote_code": None,
    "hf_token": "the environment variable HF_TOKEN",
}
"""Arguments that are set here, and the key that decides them; None: nothing does."""

OPERATIONAL: Final = frozenset(
    [
        "all2all_backend",
        "async_scheduling",
        "block_size",
        "compilation_config",
        "cpu_offload_gb",
        "cudagraph_capture_sizes",
        "data_parallel_backend",
        "data_parallel_size",
        "data_parallel_size_local",
        "disable_custom_all_reduce",
        "download_dir",
        "enable_chunked_prefill",
        "enable_dbo",
        "enable_eplb",
        "enable_lora",
        "enable_expert_parallel",
        "enable_log_requests",
        "eplb_config",
        "expert_placement_strategy",
        "fully_sharded_loras",
        "kv_offloading_backend",
        "kv_offloading_size",
        "long_prefill_token_threshold",
        "max_cudagraph_capture_size",
        "max_cpu_loras",
        "max_lora_rank",
        "max_loras",
        "max_parallel_loading_workers",
        "moe_backend",
        "num_gpu_blocks_override",
        "numa_bind",
        "optimization_level",
        "performance_mode",
        "pipeline_parallel_size",
        "safetensors_load_strategy",
        "scheduling_policy",
        "stream_interval",
        "ubatch_size",
        "use_tqdm_on_load",
    ]
)
"""Arguments that say how a completion is computed and not which: they stay out of the teacher's identity."""


def _allowed(args: dict[str, JsonValue]) -> dict[str, JsonValue]:
    for name in args:
        if name in _OURS:
            key = _OURS[name]
            hint = f"set {key} instead" if key else "it cannot be changed"
            raise ValueError(f"'{name}' is set by this program; {hint}")
    if _holds_remote_code(args):
        raise ValueError("'trust_remote_code' stays off, at any depth")
    return args


def _holds_remote_code(value: JsonValue) -> bool:
    if isinstance(value, list):
        return any(map(_holds_remote_code, value))
    if not isinstance(value, dict):
        return False
    return "trust_remote_code" in value or any(map(_holds_remote_code, value.values()))


EngineArgs = Annotated[dict[str, JsonValue], AfterValidator(_allowed)]


def args_identity(args: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the arguments that can change a completion."""
    return {name: value for name, value in args.items() if name not in OPERATIONAL}


def require_known(args: Mapping[str, JsonValue], owner: str) -> None:
    """Check names against the vLLM that is installed here; where there is none, the node that has one does.

    Raises:
        UserError: vLLM has no such argument.
    """
    known = known_arguments()
    for name in sorted(args) if known else ():
        if name not in known:
            raise UserError(
                f"{owner}: engine.args.{name}: the installed vLLM has no such argument"
                f"{did_you_mean(closest(name, sorted(known)))}"
            )


@cache
def known_arguments() -> frozenset[str]:
    """Return the names of `AsyncEngineArgs`; none where vLLM is not installed."""
    found = find_spec("vllm")
    file = Path(found.origin).parent / "engine/arg_utils.py" if found and found.origin else None
    if file is None or not file.is_file():
        return frozenset()
    return frozenset(
        each.target.id
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name in ("EngineArgs", "AsyncEngineArgs")
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and each.target.id[0] != "_"
    )
