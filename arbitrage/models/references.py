"""Where a model's weights lie, and what tells two versions of them apart."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from arbitrage.config import resolved_path
from arbitrage.errors import DataError

DEMO_PREFIX = "world:"
"""`world:<name>` is a model of the shipped micro-world."""

UNPINNED = "unpinned"
"""Revision of a Hugging Face id that names no commit: the same name may mean other weights tomorrow."""

_HF_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHUNK_BYTES = 1 << 22


def absolute_model(model: str) -> str:
    """Return a model reference that means the same in every working directory.

    Raises:
        ValueError: neither an existing directory nor a possible Hugging Face id, nor a model of the world.
    """
    if model.startswith(DEMO_PREFIX):
        _world_directory(model)
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
        DataError: the directory has gone.
    """
    if model.startswith(DEMO_PREFIX):
        return _world_directory(model)
    path = Path(model)
    if path.is_dir():
        return path
    if path.is_absolute():
        raise DataError(f"model directory {model}: is not there any more")
    return None


def _world_directory(model: str) -> Path:
    from arbitrage.demo.models import model_path

    try:
        return model_path(model.removeprefix(DEMO_PREFIX))
    except KeyError as error:
        raise ValueError(str(error.args[0])) from error


def loadable(model: str) -> str:
    """Return what `from_pretrained` understands: a directory or a Hugging Face id."""
    directory = local_directory(model)
    return str(directory) if directory else model


def revision_of(model: str, revision: str | None) -> str:
    """Return what pins the weights: the digest of a local model's files, else the revision, else `UNPINNED`."""
    directory = local_directory(model)
    return digest_files(directory) if directory else revision or UNPINNED


def is_pinned(model: str, revision: str | None) -> bool:
    """Tell whether the reference can only ever mean one set of weights."""
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
    """Yield regular files; a directory that lies above itself through a link is not entered again."""
    for folder, names, files in os.walk(root, followlinks=True):
        at = Path(folder)
        above = {os.path.realpath(parent) for parent in (at, *at.parents)}
        names[:] = sorted(name for name in names if _is_hashed(name) and os.path.realpath(at / name) not in above)
        yield from (at / name for name in files if _is_hashed(name) and (at / name).is_file())


def _is_hashed(name: str) -> bool:
    return not name.startswith(".") and name != "__pycache__"
