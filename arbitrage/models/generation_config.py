"""The sampling parameters that a model's maker advises: its `generation_config.json`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arbitrage.errors import ConfigError
from arbitrage.models.loading import loading
from arbitrage.models.references import local_directory

FILE = "generation_config.json"

_NO_EFFECT: Mapping[str, float] = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""Values by which a file says that a parameter is not used."""


def maker_sampling(model: str, revision: str | None, owner: str) -> dict[str, float | int]:
    """Return the parameters that a model's `generation_config.json` gives, by our names.

    Args:
        model: a directory or a Hugging Face id.
        revision: commit of a Hugging Face id.
        owner: what an error begins with, such as "teacher 'a'".

    Raises:
        ConfigError: there is no such file, it cannot be read, or it holds a value that cannot be.
        EngineStartError: the model cannot be found.
    """
    path = _find(model, revision, owner)
    if path is None:
        raise ConfigError(f"{owner}: sampling: maker: {model} has no {FILE}; give the parameters yourself")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{owner}: {path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{owner}: {path}: expected an object")
    return _parameters(found, f"{owner}: {path}")


def _parameters(found: Mapping[str, Any], where: str) -> dict[str, float | int]:
    if found.get("do_sample") is False:  # its other values are not used
        return {"temperature": 0.0}
    parameters: dict[str, float | int] = {}
    for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty"):
        value = found.get(name)
        if value is None or value == _NO_EFFECT.get(name):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{where}: {name}: expected a number, found {value!r}")
        if name == "top_k" and value != int(value):
            raise ConfigError(f"{where}: {name}: expected a whole number, found {value!r}")
        parameters[name] = int(value) if name == "top_k" else float(value)
    return parameters


def _find(model: str, revision: str | None, owner: str) -> Path | None:
    directory = local_directory(model)
    if directory is not None:
        return directory / FILE if (directory / FILE).is_file() else None
    with loading(owner, f"{FILE} of {model}"):
        from transformers.utils import cached_file

        found = cached_file(model, FILE, revision=revision, _raise_exceptions_for_missing_entries=False)
    return Path(found) if found else None
