"""`arbitrage teachers fetch`: download a teacher's weights to the machine that this runs on.

The files go into the Hugging Face cache, where every engine finds them; a download that was interrupted continues.
"""

import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from arbitrage.errors import ArbitrageError, DataError
from arbitrage.models.adapters import ADAPTER_FILES
from arbitrage.models.loading import loading
from arbitrage.models.references import local_directory
from arbitrage.teachers.pool import TeacherConfig

MODEL_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken"]
NOT_FETCHED = ["*/*", "consolidated*.safetensors"]
"""Copies in other formats: Llama's `original/`, Mistral's `consolidated.safetensors`."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model or adapter to fetch.

    Attributes:
        name: a directory or a Hugging Face id.
        revision: commit or branch; None for the newest.
        is_adapter: whether it is a LoRA adapter.
    """

    name: str
    revision: str | None = None
    is_adapter: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of it on one machine.

    Attributes:
        name: of the model.
        host: the machine.
        directory: where the files are.
        size_bytes: size of all its files.
        downloaded_bytes: size of those that were not there before; 0: it was already here.
        seconds: time taken.
        error: why it could not be fetched, in one line.
    """

    name: str
    host: str = ""
    directory: str = ""
    size_bytes: int = 0
    downloaded_bytes: int = 0
    seconds: float = 0.0
    error: str | None = None


def weights_of(teacher: TeacherConfig) -> tuple[Weights, ...]:
    """Return what a teacher's engine loads; nothing for an endpoint or recordings."""
    if not teacher.engine.loads_model:
        return ()
    model = Weights(teacher.model, teacher.revision)
    if teacher.adapter is None:
        return (model,)
    return (model, Weights(teacher.adapter, teacher.adapter_revision, is_adapter=True))


def fetch_weights(weights: Weights) -> Fetched:
    """Download what is not on this machine yet. Every error becomes `Fetched.error`."""
    host, started = socket.gethostname(), time.monotonic()
    try:
        with loading("", weights.name):
            directory, size, downloaded = _explained(weights)
    except ArbitrageError as error:
        cause = str(error).removeprefix(f": cannot load {weights.name}: ")
        return Fetched(weights.name, host, error=cause.splitlines()[0])
    return Fetched(weights.name, host, str(directory), size, downloaded, time.monotonic() - started)


def _fetch(weights: Weights) -> tuple[Path, int, int]:
    if (directory := local_directory(weights.name)) is not None:
        return directory, sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()), 0
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

    patterns = ADAPTER_FILES if weights.is_adapter else MODEL_FILES
    info = HfApi().model_info(weights.name, revision=weights.revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or () if _is_wanted(file.rfilename, patterns)}
    if not any(name.endswith(".safetensors") for name in sizes):
        raise DataError("the repository has no *.safetensors; other weight formats are not loaded")
    missing = [
        name for name in sizes if not isinstance(try_to_load_from_cache(weights.name, name, revision=info.sha), str)
    ]
    needed = sum(sizes[name] for name in missing)
    _require_room(needed)
    found = snapshot_download(weights.name, revision=info.sha, allow_patterns=sorted(sizes))
    return Path(found), sum(sizes.values()), needed


def _explained(weights: Weights) -> tuple[Path, int, int]:
    """Fetch; the Hub's refusals become sentences that say what to do."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return _fetch(weights)
    except GatedRepoError as error:
        raise DataError("access is restricted: accept its terms on its page, and set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise DataError("there is no such model, or it is private: check the name, and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise DataError(f"it has no revision {weights.revision}") from error


def _is_wanted(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, each) for each in patterns) and not any(fnmatch(name, each) for each in NOT_FETCHED)


def _require_room(needed: int) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        sizes = f"it needs {needed / 1e9:,.1f} GB, and {there} has {free / 1e9:,.1f} GB free"
        raise DataError(f"{sizes}; set HF_HOME to a larger disk")
