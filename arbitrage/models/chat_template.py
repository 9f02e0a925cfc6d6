"""Whether a model has a chat template, from its files alone: nothing is loaded or downloaded."""

import json
from pathlib import Path

from arbitrage.errors import DataError
from arbitrage.models.references import DEMO_PREFIX, local_directory

TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
OWN_FORMAT_FILES = ("tekken.json",)
"""Tokenizer files of mistral-common, which assembles a conversation's tokens itself."""

CONFIG_FILE = "tokenizer_config.json"
PROCESSOR_FILE = "processor_config.json"
MOST_BYTES = 1 << 26
"""Maximum size of a tokenizer config; larger files are not read."""


def has_chat_template(model: str, revision: str | None = None) -> bool | None:
    """Tell whether a model has a chat template; None if its files are not on this machine.

    Args:
        model: a directory, or a Hugging Face id, looked up in the cache of this machine.
        revision: of a Hugging Face id.
    """
    if model.startswith(DEMO_PREFIX):
        return True
    try:
        directory = local_directory(model) or _cached(model, revision)
    except (DataError, ValueError):
        return None
    if directory is not None and any((directory / name).is_file() for name in OWN_FORMAT_FILES):
        return True
    if directory is None or not (directory / CONFIG_FILE).is_file():
        return None
    named = (directory / "additional_chat_templates", directory / "chat_templates")
    if any((directory / name).is_file() for name in TEMPLATE_FILES) or any(path.is_dir() for path in named):
        return True
    return _is_in_config(directory / PROCESSOR_FILE) or _is_in_config(directory / CONFIG_FILE)


def _is_in_config(path: Path) -> bool | None:
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return bool(config.get("chat_template")) if isinstance(config, dict) else None


def _cached(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, CONFIG_FILE, revision=revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None
