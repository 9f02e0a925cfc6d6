"""What a loaded model takes: size of its weights, memory of the process and of the GPU."""

import resource
from pathlib import Path

from arbitrage.models.references import local_directory

LITTLE_ROOM = 0.85
"""Share of the memory that weights may take before little is left for the key-value cache and activations."""


def weights_gb(model: str, revision: str | None) -> float | None:
    """Return the size of a model's weights in GB; None where its files are not on this machine."""
    directory = local_directory(model) or _cached(model, revision)
    files = list(directory.glob("*.safetensors")) if directory else []
    return sum(file.stat().st_size for file in files) / 1e9 if files else None


def _cached(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def peak_gb() -> float:
    """Return the largest resident size of this process and of its largest child that has ended."""
    kilobytes = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(kilobytes) * 1024 / 1e9


def gpu_memory() -> tuple[str, float, float] | None:
    """Return name, size and used memory in GB of the first GPU that this process sees; None without one."""
    try:
        import torch

        if not torch.cuda.is_available():
            return None
        free, total = torch.cuda.mem_get_info()
        return torch.cuda.get_device_name(), total / 1e9, (total - free) / 1e9
    except (ImportError, RuntimeError):
        return None


def memory_warning(weights: float | None, gpu_gb: float | None, num_gpus: float, utilization: float) -> str | None:
    """Return a warning if weights do not fit the GPUs that a replica holds, or nearly fill them.

    Args:
        weights: size of the weights in GB.
        gpu_gb: memory of one GPU in GB.
        num_gpus: GPUs of a replica; less than one: a share of one.
        utilization: share of that memory that the engine may use.
    """
    if weights is None or gpu_gb is None or not num_gpus:
        return None
    room = gpu_gb * num_gpus * utilization
    sum_of = f"{num_gpus:g} × {gpu_gb:,.0f} × {utilization:g}"
    held = f"{weights:,.1f} GB of weights, and {room:,.1f} GB of GPU memory ({sum_of})"
    if weights >= room:
        return f"{held}: they do not fit; use more GPUs (tensor_parallel_size) or a quantised checkpoint"
    if weights > LITTLE_ROOM * room:
        return f"{held}: little is left for the key-value cache; expect few requests at a time"
    return None
