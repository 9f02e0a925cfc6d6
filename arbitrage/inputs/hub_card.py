"""Check the card of a local data set, which names the files to read: they must be inside the data set's folder.

`datasets` follows `data_files` and `data_dir` of the YAML in README.md to any path, also to `../` and `/etc`. An
untrusted folder must not turn other files of this machine into training data.
https://huggingface.co/docs/hub/datasets-manual-configuration
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from arbitrage.errors import DataError
from arbitrage.inputs.rows import printable
from arbitrage.yaml_text import read_yaml

CARDS = ("README.md", ".huggingface.yaml")
MAX_CHARACTERS = 1_000_000
"""Maximum size of a card: twice that of a data set with 5,000 configurations."""

_FRONT_MATTER = re.compile(r"\A\s*---[\r\n]+(.*?)[\r\n]+---(?:[\r\n]|\Z)", re.DOTALL)


def require_inside(folder: Path) -> None:
    """Refuse a folder whose card names files outside of it.

    Raises:
        DataError: it does, or the card cannot be read.
    """
    for name in CARDS:
        card = folder / name
        if not card.is_file():
            continue
        with card.open(encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_CHARACTERS)
        for key, path in _paths(_read(card, text)):
            if _leads_out(path):
                raise DataError(f"{card}: {key}: {printable(path, 100)!r} leads out of the folder of the data set")


def _read(card: Path, text: str) -> Any:
    found = text if card.suffix == ".yaml" else (m[1] if (m := _FRONT_MATTER.match(text)) else "")
    try:
        return read_yaml(found) if found else None
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"{card}: its YAML cannot be read: {printable(' '.join(str(error).split()), 300)}") from error


def _paths(head: Any) -> Iterator[tuple[str, str]]:
    """Yield key and path of every file that the configurations name."""
    configs = head.get("configs") if isinstance(head, dict) else None
    for config in configs if isinstance(configs, list) else ():
        for key in ("data_files", "data_dir"):
            if isinstance(config, dict):
                yield from ((f"configs.{key}", path) for path in _texts(config.get(key)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key != "split":
                yield from _texts(each)


def _leads_out(path: str) -> bool:
    parts = PurePosixPath(path.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or "::" in path or ":" in path.partition("/")[0]
