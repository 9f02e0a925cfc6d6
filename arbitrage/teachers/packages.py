"""Is what an engine needs installed, and does a local model's directory look loadable? No heavy imports."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.version import Version

from arbitrage.errors import ArbitrageError, MissingDependencyError
from arbitrage.models import local_directory
from arbitrage.teachers.engine import Finding, ModelSpec


def installed_version(*distributions: str) -> str | None:
    """Return the version of the first of the distributions that is installed."""
    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def find_package(distribution: str, at_least: str, *alternatives: str) -> Finding:
    """Tell whether a package (or one that provides the same module) is installed and new enough."""
    found = installed_version(distribution, *alternatives)
    if found is None:
        return Finding("error", "package", f"{distribution} is not installed")
    if Version(found) < Version(at_least):
        return Finding("error", "package", f"{distribution} {found} is older than {at_least}")
    return Finding("ok", "package", f"{distribution} {found}")


def require_package(distribution: str, at_least: str, how: str, *alternatives: str) -> None:
    """Raise MissingDependencyError, saying how to install it, unless the package is there and new enough."""
    found = find_package(distribution, at_least, *alternatives)
    if found.level == "error":
        raise MissingDependencyError(f"{found.detail}: {how}")


def check_local_model(spec: ModelSpec) -> list[Finding]:
    """Look at a local model's files: a readable config, safetensors weights, a tokenizer."""
    try:
        directory = local_directory(spec.model)
    except ArbitrageError as error:
        return [Finding("error", "model", str(error))]
    return _check_directory(directory) if directory else []


def _check_directory(directory: Path) -> list[Finding]:
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        kind = config["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [Finding("error", "model", f"{directory / 'config.json'}: no model config: {error}")]
    if not list(directory.glob("*.safetensors")):
        return [Finding("error", "model", f"{directory}: no *.safetensors; other weight formats are not loaded")]
    tokenizers = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json")
    if not any((directory / name).is_file() for name in tokenizers):
        return [Finding("error", "model", f"{directory}: no tokenizer ({', '.join(tokenizers)})")]
    return [Finding("ok", "model", f"{directory} ({kind})")]
