"""Checks of packages, local model directories and chat templates."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.version import Version

from arbitrage.errors import ArbitrageError, MissingDependencyError
from arbitrage.models.adapters import find_adapter
from arbitrage.models.chat import ChatFormat
from arbitrage.models.files import TOKENIZER_FILES, check_model_files
from arbitrage.models.references import local_directory
from arbitrage.teachers.engines.engine import ModelSpec, UsabilityCheck

NO_TEMPLATE = (
    "the model has none: it receives plain text, which a base model continues; give examples in `chat_template`, or "
    "use the instruction-tuned model"
)


def installed_version(*distributions: str) -> str | None:
    """Return the version of the first of the distributions that is installed."""
    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def find_package(distribution: str, at_least: str, *alternatives: str) -> UsabilityCheck:
    """Tell whether a package (or one that provides the same module) is installed in a sufficient version."""
    found = installed_version(distribution, *alternatives)
    if found is None:
        return UsabilityCheck("error", "package", f"{distribution} is not installed")
    if Version(found) < Version(at_least):
        return UsabilityCheck("error", "package", f"{distribution} {found} is older than {at_least}")
    return UsabilityCheck("ok", "package", f"{distribution} {found}")


def require_package(distribution: str, at_least: str, how: str, *alternatives: str) -> None:
    """Raise MissingDependencyError, with instructions, unless the package is installed and new enough."""
    found = find_package(distribution, at_least, *alternatives)
    if found.level == "error":
        raise MissingDependencyError(f"{found.detail}: {how}")


def check_local_model(spec: ModelSpec) -> list[UsabilityCheck]:
    """Check a local model's files, and test the chat template of any model that is on this machine."""
    try:
        directory = local_directory(spec.model)
        found = [] if directory is None else [_looks_loadable(directory)]
        found += _check_adapter(spec)
    except ArbitrageError as error:
        return [UsabilityCheck("error", "model", str(error))]
    return [*found, *_check_template(spec, directory)]


def _check_adapter(spec: ModelSpec) -> list[UsabilityCheck]:
    if spec.adapter is None:
        return []
    if find_adapter(spec.adapter, spec.adapter_revision, local_files_only=True) is None:
        return [UsabilityCheck("ok", "adapter", "not tested: it is not on this machine yet")]
    adapter = spec.read_adapter(local_files_only=True)
    detail = "" if adapter is None else f" (rank {adapter.rank}, {len(adapter.shapes)} modules)"
    return [UsabilityCheck("ok", "adapter", f"{spec.adapter}{detail}")]


def _looks_loadable(directory: Path) -> UsabilityCheck:
    return UsabilityCheck("ok", "model", f"{directory} ({check_model_files(directory)})")


def _check_template(spec: ModelSpec, directory: Path | None) -> list[UsabilityCheck]:
    """Render messages with the model's tokenizer, as the engine does when it starts."""
    if installed_version("transformers") is None:
        return []
    if directory is None and not _is_cached(spec):
        return [UsabilityCheck("ok", "chat template", "not tested: the model is not on this machine yet")]
    try:
        tokenizer = spec.tokenizer(local_files_only=True)
        form = spec.chat(tokenizer, local_files_only=True).format()
    except ArbitrageError as error:
        return [UsabilityCheck("error", "chat template", str(error))]
    if form.kind == "none":
        return [UsabilityCheck("warn", "chat template", NO_TEMPLATE)]
    findings = [UsabilityCheck("ok", "chat template", _described(form))]
    if form.system == "not at all":
        findings.append(UsabilityCheck("warn", "chat template", "supports no system turn: such prompts are rejected"))
    if not form.takes_history:
        findings.append(
            UsabilityCheck("warn", "chat template", "supports only one turn: longer conversations are rejected")
        )
    if form.writes_date:
        findings.append(
            UsabilityCheck("warn", "chat template", "writes the current date: prompts differ from day to day")
        )
    return findings


def _described(form: ChatFormat) -> str:
    content = ", content as a list of parts" if form.takes_parts else ""
    by = "of mistral-common" if form.kind == "mistral" else "tried out"
    return f"{by}: a system turn is written {form.system}{content}"


def _is_cached(spec: ModelSpec) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return any(
            isinstance(try_to_load_from_cache(spec.model, name, revision=spec.revision), str)
            for name in ("tokenizer_config.json", *TOKENIZER_FILES)
        )
    except HFValidationError:
        return False
