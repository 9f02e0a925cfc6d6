"""Model references: paths, Hugging Face ids and `demo:` names, and their revisions."""

import hashlib
import os
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from arbitrage.config import note_renamed, resolved_path
from arbitrage.errors import DataError

DEMO_PREFIX = "demo:"
"""Prefix of models and files of the demo world, which ships with the package."""

_OLD_PREFIX = "world:"
_DEMO_PACKAGE = "arbitrage.demo"  # only its files are read, its code is not imported

UNPINNED = "unpinned"
"""Revision of a Hugging Face id without a commit, whose weights may change."""

_HF_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHUNK_BYTES = 1 << 22


def absolute_model(model: str) -> str:
    """Return a model reference that is independent of the working directory.

    Raises:
        ValueError: neither an existing directory nor a possible Hugging Face id, nor a model of the demo world.
    """
    model = current_reference(model)
    if shipped_path(model):
        return model
    path = resolved_path(model)
    if path.is_dir():
        return str(path)
    if _HF_ID.fullmatch(model) and not model.startswith("."):
        return model
    raise ValueError(f"'{model}' is neither a directory here, nor a Hugging Face id, nor '{DEMO_PREFIX}<name>'")


def local_directory(model: str) -> Path | None:
    """Return the directory of a local model, or None for a Hugging Face id.

    Raises:
        DataError: the directory does not exist any more.
    """
    if shipped := shipped_path(current_reference(model)):
        return shipped
    path = Path(model)
    if path.is_dir():
        return path
    if path.is_absolute():
        raise DataError(f"model directory {model}: is not there any more")
    return None


def current_reference(reference: str) -> str:
    """Return a reference in its present spelling; say once on stderr that `world:` is the old one."""
    if not reference.startswith(_OLD_PREFIX):
        return reference
    note_renamed(f"'{reference}'", _OLD_PREFIX, DEMO_PREFIX)
    return DEMO_PREFIX + reference.removeprefix(_OLD_PREFIX)


def shipped_path(reference: str) -> Path | None:
    """Return the path of the model or file of a `demo:` reference; None for any other reference.

    Raises:
        ValueError: the demo world has no such model or file.
    """
    if not reference.startswith(DEMO_PREFIX):
        return None
    root, name = Path(str(files(_DEMO_PACKAGE))), reference.removeprefix(DEMO_PREFIX)
    shipped = {
        path.name: path for path in (*(root / "models").iterdir(), *root.glob("*.yaml"), *root.glob("translations/*"))
    }
    if name not in shipped:
        kind = "file" if name.endswith((".yaml", ".yml", ".jsonl", ".gz")) else "model"
        raise ValueError(f"no {kind} '{name}' in the demo world; wanted one of {', '.join(sorted(shipped))}")
    return shipped[name]


def file_path(value: str) -> str:
    """Return the absolute path of a file; `demo:<file>` names one of the demo world."""
    return str(shipped_path(value) or resolved_path(value))


def loadable(model: str) -> str:
    """Return the argument for `from_pretrained`: a directory or a Hugging Face id."""
    directory = local_directory(model)
    return str(directory) if directory else model


def is_here(model: str) -> bool:
    """Tell whether weights are on this machine: in their directory, or as a snapshot in the cache of Hugging Face."""
    try:
        directory = local_directory(model)
    except (DataError, ValueError):
        return False
    if directory is not None:
        return True
    from huggingface_hub.constants import HF_HUB_CACHE

    snapshots = Path(HF_HUB_CACHE) / f"models--{model.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob("*/*.safetensors"))


def revision_of(model: str, revision: str | None) -> str:
    """Return the revision of weights: the digest of a local model's files, else the revision, else `UNPINNED`."""
    directory = local_directory(model)
    return digest_files(directory) if directory else revision or UNPINNED


def is_pinned(model: str, revision: str | None) -> bool:
    """Tell whether the reference always means the same weights."""
    return local_directory(model) is not None or bool(revision and _COMMIT.fullmatch(revision))


def digest_files(root: Path) -> str:
    """Hash a file, or the names and contents of all files below a directory, to 20 hex digits.

    Hidden files and Python caches are left out; linked directories are followed, each file is read once. Reads
    everything: a 16 GB model takes about 15 s.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=10)
    try:
        for path in [root] if root.is_file() else sorted(_files_below(root)):
            parts = path.relative_to(root).parts
            digest.update(f"{'/'.join(parts)}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _files_below(root: Path) -> Iterator[Path]:
    """Yield regular files; a directory that contains itself through a link is not entered again."""
    for folder, names, file_names in os.walk(root, followlinks=True):
        at = Path(folder)
        above = {os.path.realpath(parent) for parent in (at, *at.parents)}
        names[:] = sorted(name for name in names if _is_hashed(name) and os.path.realpath(at / name) not in above)
        yield from (at / name for name in file_names if _is_hashed(name) and (at / name).is_file())


def _is_hashed(name: str) -> bool:
    return not name.startswith(".") and name != "__pycache__"
