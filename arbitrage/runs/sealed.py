"""The JSON files of a run, each with a checksum of its own text as its last key, so that a flipped bit is found.

    {
     "name": "quickstart",
     …
     "checksum": "0d3f…"
    }

The checksum covers every byte before it. Any JSON reader can read the file; this one refuses a text that was changed.
"""

import hashlib
import re
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from arbitrage.errors import DamagedFileError
from arbitrage.runs.paths import AnyPath, read_bytes
from arbitrage.runs.store import commit_bytes

M = TypeVar("M", bound=BaseModel)

_SEAL = re.compile(rb',\n "checksum": "([0-9a-f]{20})"\n\}\n\Z')


class UnsealedError(ValueError):
    """The text is damaged; the message says how."""


def seal(value: BaseModel) -> bytes:
    """Return a model as indented JSON with its checksum. The model has at least one field."""
    body = value.model_dump_json(indent=1).encode().removesuffix(b"\n}")
    return body + f',\n "checksum": "{_checksum(body)}"\n}}\n'.encode()


def unseal(data: bytes, model: type[M]) -> M:
    """Return the model in a sealed text.

    Raises:
        UnsealedError: the text was truncated or changed, or is from another version.
    """
    found = _SEAL.search(data[-64:])
    if found is None:
        raise UnsealedError("it has no checksum at its end: it was truncated, or is another kind of file")
    body = data[: len(data) - len(found.group())]
    if _checksum(body) != found[1].decode():
        raise UnsealedError("its checksum does not match its text")
    try:
        return model.model_validate_json(body + b"\n}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UnsealedError(f"{where}: {first['msg']} (written by another version?)") from error


def commit_sealed(path: AnyPath, value: BaseModel, is_durable: bool = True) -> None:
    """Write a model as sealed JSON under its final name. Raises StorageError like `commit_table`."""
    commit_bytes(path, seal(value), is_durable)


def load_sealed(path: AnyPath, model: type[M], remedy: str) -> M:
    """Read a sealed file.

    Args:
        path: of the file.
        model: type of its content.
        remedy: what to do about a damaged file, a clause.

    Raises:
        DamagedFileError: it is not what was written; or is missing.
    """
    try:
        return unseal(read_bytes(path), model)
    except UnsealedError as error:
        raise DamagedFileError(f"{path}: is damaged: {error}; {remedy}") from error
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path}: is missing; {remedy}") from error


def remedy_for(run_dir: AnyPath) -> str:
    """Return how to repair damaged files of a run, a clause for the end of an error."""
    name = run_dir if isinstance(run_dir, Path) else str(run_dir)
    return f"run `arbitrage verify {name} --repair`, then the command of the run again, which makes it again"


def _checksum(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=10, person=b"sealed").hexdigest()
