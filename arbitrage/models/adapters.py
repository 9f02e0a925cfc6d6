"""LoRA adapters in PEFT's format: read their files and compare them with the base model before anything is loaded.

Format: `adapter_config.json` and `adapter_model.safetensors`, as https://huggingface.co/docs/peft writes them. A
module's pair of matrices is `…layers.0.self_attn.q_proj.lora_A.weight` [rank, inputs] and `….lora_B.weight`
[outputs, rank].
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arbitrage.errors import DataError
from arbitrage.models.files import TOKENIZER_FILES, Weights, read_shapes, read_weights
from arbitrage.models.loading import loading
from arbitrage.models.references import is_pinned, local_directory

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
TEMPLATE_FILE = "chat_template.jinja"
ADAPTER_FILES = ["*.json", "*.jinja", "*.model", "*.txt", WEIGHTS_FILE]
"""Files that are downloaded: the adapter's, and those of a tokenizer."""

_PART = re.compile(r"^(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight$")
_FROM_LAYERS = re.compile(r"(?:^|\.)((?:layers|h|blocks)\.\d+\..+)$")
_HUB_ID = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
_COPY_SUFFIXES = re.compile(r"(-unsloth)?(-bnb-4bit|-4bit|-gptq.*|-awq|-fp8.*)?$")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's files.

    Attributes:
        directory: where they are.
        base: `base_model_name_or_path`, the model it was trained on; empty where it is not said.
        rank: the largest rank of a module.
        unusual: what the adapter has beyond pairs of matrices, such as "DoRA"; engines differ in what they can load.
        shapes: module → (outputs, inputs).
    """

    directory: Path
    base: str
    rank: int
    unusual: tuple[str, ...]
    shapes: Mapping[str, tuple[int, int]]

    @property
    def has_tokenizer(self) -> bool:
        """Whether it brings a tokenizer, which is then used in place of the base model's."""
        return any((self.directory / name).is_file() for name in TOKENIZER_FILES)

    @property
    def chat_template(self) -> str | None:
        """The chat template that it brings without a tokenizer."""
        path = self.directory / TEMPLATE_FILE
        return path.read_text(encoding="utf-8") if path.is_file() and not self.has_tokenizer else None


def find_adapter(adapter: str, revision: str | None, *, local_files_only: bool = False) -> Path | None:
    """Return the directory of an adapter; one on the Hugging Face Hub is downloaded unless it is in the cache.

    None: it is not on this machine, and `local_files_only` forbids to download it.

    Raises:
        DataError: a local directory is not there any more.
        OSError: it cannot be downloaded.
    """
    if (directory := local_directory(adapter)) is not None:
        return directory
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for is_local in (True,) if local_files_only else (True, False) if is_pinned(adapter, revision) else (False,):
        try:
            found = snapshot_download(
                adapter, revision=revision, allow_patterns=ADAPTER_FILES, local_files_only=is_local
            )
        except LocalEntryNotFoundError:
            if not is_local:
                raise
        else:
            return Path(found)
    return None


def load_adapter(
    adapter: str, revision: str | None, model: str, owner: str, *, local_files_only: bool = False
) -> Adapter:
    """Find and read an adapter, and compare it with its base model.

    Args:
        adapter: a directory or a Hugging Face id.
        revision: commit of a Hugging Face id.
        model: the base model's reference.
        owner: beginning of error messages.
        local_files_only: never download.

    Raises:
        EngineStartError: it cannot be found or read, or it was trained on another model.
    """
    with loading(owner, f"adapter {adapter}"):
        directory = find_adapter(adapter, revision, local_files_only=local_files_only)
        if directory is None:
            raise DataError("it is not on this machine")
        found = read_adapter(directory)
        require_base(found, model)
        return found


def read_adapter(directory: Path) -> Adapter:
    """Read an adapter's config and the shapes of its matrices.

    Raises:
        DataError: files are missing or broken, or it is no LoRA adapter.
    """
    config = _config(directory / CONFIG_FILE)
    if not (directory / WEIGHTS_FILE).is_file():
        raise DataError(f"{directory}: no {WEIGHTS_FILE}; other weight formats are not loaded")
    sides: dict[str, dict[str, tuple[int, ...]]] = {"A": {}, "B": {}}
    others = []
    for name, shape in read_shapes(directory / WEIGHTS_FILE).items():
        match = _PART.match(name)
        if match:
            sides[match["side"]][match["module"]] = shape
        else:
            others.append(name)
    if not sides["A"] or sides["A"].keys() != sides["B"].keys():
        raise DataError(f"{directory / WEIGHTS_FILE}: holds no pairs of lora_A and lora_B")
    shapes = {module: (sides["B"][module][0], a[-1]) for module, a in sides["A"].items()}
    return Adapter(
        directory=directory,
        base=str(config.get("base_model_name_or_path") or ""),
        rank=max(shape[0] for shape in sides["A"].values()),
        unusual=_unusual(config, others),
        shapes=shapes,
    )


def _config(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise DataError(f"{path.parent}: no {path.name}: it is not an adapter in PEFT's format")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("peft_type") != "LORA":
        kind = found.get("peft_type") if isinstance(found, dict) else type(found).__name__
        raise DataError(f"{path}: peft_type is {kind!r}; only 'LORA' adapters can be teachers")
    return found


def _unusual(config: Mapping[str, Any], others: list[str]) -> tuple[str, ...]:
    found = []
    if config.get("use_dora"):
        found.append("DoRA")
    if config.get("modules_to_save"):
        found.append(f"whole modules ({', '.join(map(str, config['modules_to_save']))})")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        found.append("biases")
    if others and not found:
        found.append(f"weights that are no pair of matrices, such as {sorted(others)[0]}")
    return tuple(found)


def require_base(adapter: Adapter, model: str) -> None:
    """Check that an adapter was trained on this model: by its name, and by the shapes of the modules.

    A directory's name says nothing, on either side. Shapes are compared where the model's files are
    on this machine; modules of packed weights have other shapes and are passed over.

    Raises:
        DataError: with both names, or with the first module that does not fit.
    """
    at = local_directory(model)
    is_named = at is None and _HUB_ID.fullmatch(adapter.base)
    if is_named and _plain_name(adapter.base) != _plain_name(model):
        raise DataError(
            f"it was trained on {adapter.base}, not on {model}: give `model: {adapter.base}`, or another adapter"
        )
    directory = at or _cached(model)
    if directory is not None:
        _compare(adapter, read_weights(directory), model)


def _plain_name(model: str) -> str:
    """Return a model's name without its owner, and without what quantised copies add."""
    return _COPY_SUFFIXES.sub("", model.rstrip("/").rpartition("/")[2].lower())


def _cached(model: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "model.safetensors")
    return Path(found).parent if isinstance(found, str) else None


def _compare(adapter: Adapter, base: Weights, model: str) -> None:
    shapes = {_tail(name.removesuffix(".weight")): shape for name, shape in base.shapes.items()}
    trained_on = f" (it was trained on {adapter.base})" if adapter.base else ""
    known = {module: shapes[tail] for module in adapter.shapes if len(shapes.get(tail := _tail(module), ())) == 2}
    if not known and base.dtype is not None:
        module = next(iter(adapter.shapes))
        raise DataError(f"{model} has no module {module}, which the adapter changes: another base{trained_on}")
    for module, shape in known.items():
        if shape not in (adapter.shapes[module], adapter.shapes[module][::-1]) and base.dtype is not None:
            wanted, found = (" × ".join(map(str, each)) for each in (adapter.shapes[module], shape))
            raise DataError(f"its {module} is for {wanted} weights, {model} has {found}: another base{trained_on}")


def _tail(name: str) -> str:
    """Return a module's name from its layer on: what comes before differs between classes of one model."""
    match = _FROM_LAYERS.search(name)
    return match[1] if match else name.rpartition(".")[2]
