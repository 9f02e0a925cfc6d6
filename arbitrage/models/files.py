"""Read a model directory without loading the model: config, headers of the weights, tokenizer files.

A loader trusts these files. A size of 10^9 in `config.json` is allocated before it is compared with the weights, so
sizes are compared here first; the safetensors header (https://github.com/huggingface/safetensors#format) holds every
tensor's shape in the first kilobytes of a file of gigabytes.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from arbitrage.errors import DataError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)

MAX_HEADER_BYTES = 100_000_000  # of safetensors itself
MAX_JSON_BYTES = 64 << 20
_PACKED = 64
"""Tolerance in comparing counts: eight 4-bit weights are in one int32, and some layers share weights."""

_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}

_BOUNDS = {
    "vocab_size": 50_000_000,
    "hidden_size": 1_000_000,
    "d_model": 1_000_000,
    "n_embd": 1_000_000,
    "intermediate_size": 10_000_000,
    "moe_intermediate_size": 10_000_000,
    "ffn_dim": 10_000_000,
    "d_ff": 10_000_000,
    "num_hidden_layers": 10_000,
    "n_layer": 10_000,
    "num_layers": 10_000,
    "num_attention_heads": 100_000,
    "num_key_value_heads": 100_000,
    "head_dim": 1_000_000,
    "num_experts": 100_000,
    "num_local_experts": 100_000,
    "max_position_embeddings": 100_000_000,
    "n_positions": 100_000_000,
    "type_vocab_size": 1_000_000,
    "num_labels": 1_000_000,
}
"""Largest plausible sizes, an order of magnitude above the largest known models."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Content of the headers of a model's safetensors files.

    Attributes:
        shapes: tensor → its shape.
        dtype: PyTorch's name of the type of most numbers; None for unusual types.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtype: str | None

    @property
    def num_elements(self) -> int:
        """Number of stored numbers; packed ones count as one."""
        return sum(prod(shape) for shape in self.shapes.values())


def read_model_config(directory: Path) -> dict[str, Any]:
    """Return `config.json`.

    Raises:
        DataError: it is missing, not a JSON object, or has implausible sizes.
    """
    path = directory / "config.json"
    config = _json_object(path)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise DataError(f"{path}: model_type is {_shown(kind)}, expected the name of an architecture")
    for where, part in _parts(config):
        for name, bound in _BOUNDS.items():
            value = part.get(name)
            if isinstance(value, int | float) and not -1 <= value <= bound:
                raise DataError(f"{path}: {where}{name} is {_shown(value)}, expected at most {bound:,}")
    return config


def read_weights(directory: Path) -> Weights:
    """Return the headers of `*.safetensors`.

    Raises:
        DataError: there are none, one is truncated or not readable, or one that the index names is missing.
    """
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        files = _indexed(index)
    else:
        files = sorted(directory.glob("*.safetensors"))
        if not files:
            raise DataError(f"{directory}: no *.safetensors; other weight formats are not loaded")
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for path in files:
        tensors |= _header(path)
    numbers: Counter[str] = Counter()
    for dtype, shape in tensors.values():
        numbers[dtype] += prod(shape)
    usual = numbers.most_common(1)[0][0] if numbers else ""
    return Weights({name: shape for name, (_, shape) in tensors.items()}, _DTYPES.get(usual))


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return tensor → shape of one safetensors file.

    Raises:
        DataError: it is truncated or not readable.
    """
    return {name: shape for name, (_, shape) in _header(path).items()}


def check_model_files(directory: Path) -> str:
    """Return the architecture of a model whose files can be loaded.

    Raises:
        DataError: config, weights or tokenizer are missing, broken or inconsistent.
    """
    config = read_model_config(directory)
    _compare(directory, config, read_weights(directory))
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        raise DataError(f"{directory}: no tokenizer ({', '.join(TOKENIZER_FILES[:4])})")
    return str(config["model_type"])


def _compare(directory: Path, config: Mapping[str, Any], weights: Weights) -> None:
    """Refuse sizes that contradict the weights: a loader would allocate memory for them first."""
    allowed = max(weights.num_elements, 1) * _PACKED
    for where, part in _parts(config):
        width = max(_size(part.get(name)) for name in ("hidden_size", "d_model", "n_embd")) or 1
        for name in ("vocab_size", "num_hidden_layers", "n_layer", "intermediate_size", "ffn_dim", "d_ff"):
            value = _size(part.get(name))
            if value * width > allowed:
                raise DataError(
                    f"{directory / 'config.json'}: {where}{name} is {_shown(value)}, which does not fit the weights: "
                    f"they hold {weights.num_elements:,} numbers in all"
                )


def _parts(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "", config
    for name, value in config.items():
        if isinstance(value, dict) and name.endswith("_config"):
            yield f"{name}.", value


def _size(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _indexed(index: Path) -> list[Path]:
    places = _json_object(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise DataError(f"{index}: has no weight_map")
    files = [index.parent / name for name in sorted(set(places.values()))]
    if outside := [path.name for path in files if path.parent != index.parent]:
        raise DataError(f"{index}: names {outside[0]}, which is not beside it")
    if missing := [path.name for path in files if not path.is_file()]:
        raise DataError(f"{index}: names {missing[0]}, which is not there ({len(missing)} of {len(files)} missing)")
    return files


def _header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if start == b"version ":
                raise DataError(f"{path}: is a Git LFS pointer, not the weights: run `git lfs pull` there")
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise DataError(f"{path}: is cut off or no safetensors file ({size:,} bytes)")
            header = json.loads(file.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        found = {
            name: (str(entry["dtype"]), tuple(int(n) for n in entry["shape"])) for name, entry in tensors.items()
        }
        end = 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise DataError(f"{path}: its header is broken: no safetensors file") from error
    if end != size:
        raise DataError(f"{path}: is cut off: {size:,} bytes, expected {end:,}")
    return found


def _json_object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{path}: is larger than {MAX_JSON_BYTES >> 20} MiB")
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds {type(found).__name__}, expected a JSON object")
    return found


def _shown(value: object) -> str:
    return repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a number of more than 30 digits"
