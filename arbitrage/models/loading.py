"""Load models and tokenizers with transformers; missing weights and broken files are errors of one sentence.

transformers initialises missing weights at random and only warns, so a base model used as a reward model would give
random scores. Here this is an error.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from arbitrage.errors import ArbitrageError, EngineStartError, MissingDependencyError
from arbitrage.models.files import check_model_files, read_weights
from arbitrage.models.references import loadable, local_directory

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Precision → PyTorch's name."""

OFFSET_POSITIONS = frozenset(
    [
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mluke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    ]
)
"""Architectures that number positions from `pad_token_id + 1`: their table is longer than the longest input."""

_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length")
_SANE_LENGTH = 100_000_000
"""transformers writes 10^30 as a tokenizer's length if it is unknown."""


@contextmanager
def loading(owner: str, thing: str, by: str = "") -> Iterator[None]:
    """Turn any exception that a library raises for a model's files into one sentence.

    Broken files make transformers, tokenizers and PyTorch raise every type there is: AttributeError, TypeError,
    RecursionError, a bare Exception, and a Rust panic, which is no Exception at all.

    Args:
        owner: beginning of the error message, such as "teacher 'x'".
        thing: what is loaded.
        by: the library that loads it, such as "vLLM".

    Raises:
        MissingDependencyError: it needs a package that is not installed.
        EngineStartError: it cannot be loaded.
    """
    cannot = f"{owner}: {by} cannot load {thing}" if by else f"{owner}: cannot load {thing}"
    try:
        yield
    except (EngineStartError, MissingDependencyError):
        raise
    except ArbitrageError as error:
        raise EngineStartError(f"{cannot}: {error}") from error
    except ImportError as error:
        raise MissingDependencyError(f"{owner}: {thing}: {first_line(error)}") from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise EngineStartError(f"{cannot}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, with its type's name if that is more informative."""
    lines = str(error).strip().splitlines()
    line = lines[0][:300] if lines else ""
    is_clear = line and isinstance(error, OSError | ValueError | RuntimeError | ImportError)
    return line if is_clear else f"{type(error).__name__}: {line}".removesuffix(": ")


def load_tokenizer(model: str, revision: str | None, owner: str, *, local_files_only: bool = False) -> Any:
    """Load the tokenizer of a model.

    Args:
        model: directory, Hugging Face id, or `demo:<name>`.
        revision: commit of a Hugging Face id.
        owner: beginning of error messages.
        local_files_only: never download.

    Raises:
        EngineStartError: it cannot be loaded.
        MissingDependencyError: it needs a package that is not installed.
    """
    with loading(owner, f"the tokenizer of {model}"):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(
            loadable(model), revision=revision, trust_remote_code=False, local_files_only=local_files_only
        )


def load_model(
    model: str, revision: str | None, owner: str, *, loader: str, dtype: str, may_lack: Sequence[str] = ()
) -> Any:
    """Load a model's weights, in evaluation mode.

    Args:
        model: directory, Hugging Face id, or `demo:<name>`.
        revision: commit of a Hugging Face id.
        owner: beginning of error messages.
        loader: the `transformers` class that loads it.
        dtype: PyTorch's name of the precision, or "auto" for that of the files.
        may_lack: prefixes of weights that may be missing, such as a head to be trained.

    Raises:
        EngineStartError: it cannot be loaded, or its files lack weights.
        MissingDependencyError: it needs a package that is not installed.
    """
    with loading(owner, model):
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        found, info = getattr(transformers, loader).from_pretrained(
            loadable(model),
            revision=revision,
            config=load_config(model, revision, owner),
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            output_loading_info=True,
        )
        _require_all(found, info, owner, model, may_lack)
        return found.eval()


def check_weights(model: str, revision: str | None, owner: str, *, loader: str, may_lack: Sequence[str] = ()) -> None:
    """Check that a model's files have all of its weights, without reading them; otherwise like `load_model`."""
    with loading(owner, model):
        import transformers

        transformers.utils.logging.disable_progress_bar()
        before = transformers.utils.logging.get_verbosity()
        transformers.utils.logging.set_verbosity_error()  # what is missing is reported below
        try:
            found, info = getattr(transformers, loader).from_pretrained(
                loadable(model),
                revision=revision,
                config=load_config(model, revision, owner),
                trust_remote_code=False,
                use_safetensors=True,
                device_map="meta",
                output_loading_info=True,
            )
        finally:
            transformers.utils.logging.set_verbosity(before)
        _require_all(found, info, owner, model, may_lack)


def _require_all(found: Any, info: Mapping[str, Any], owner: str, model: str, may_lack: Sequence[str]) -> None:
    lacking = sorted(name for name in info["missing_keys"] if not name.startswith(tuple(may_lack)))
    if lacking:
        raise EngineStartError(
            f"{owner}: {model}: its files lack {len(lacking)} weights that {type(found).__name__} has "
            f"({', '.join(lacking[:3])}{', …' if len(lacking) > 3 else ''}): it would answer at random"
        )


def load_config(model: str, revision: str | None, owner: str, by: str = "") -> Any:
    """Load a model's config; a padding token outside the vocabulary becomes None.

    Raises:
        EngineStartError: it cannot be loaded, or does not match the weights.
    """
    with loading(owner, model, by):
        directory = local_directory(model)
        if directory is not None:
            check_model_files(directory)
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(loadable(model), revision=revision, trust_remote_code=False)
        for part in {id(part): part for part in (config, config.get_text_config())}.values():
            if getattr(part, "pad_token_id", None) is not None and padding_id(part) is None:
                part.pad_token_id = None
        return config


def dtype_of(model: str, config: Any) -> str | None:
    """Return PyTorch's name of a model's precision: from its config, else from its files."""
    stated = str(config.dtype).removeprefix("torch.") if getattr(config, "dtype", None) is not None else None
    directory = local_directory(model)
    found = stated or (read_weights(directory).dtype if directory else None)
    return found if found in DTYPES.values() else None


def padding_id(config: Any) -> int | None:
    """Return a text config's padding token; None if it is not in the vocabulary: old Llamas have −1."""
    pad, size = getattr(config, "pad_token_id", None), getattr(config, "vocab_size", None)
    if not isinstance(pad, int) or isinstance(pad, bool) or pad < 0:
        return None
    return None if isinstance(size, int) and pad >= size else pad


def longest_input(config: Any, tokenizer: Any = None) -> int | None:
    """Return the maximum number of input tokens, or None if neither the model nor its tokenizer states it.

    RoBERTa and its relatives number positions from `pad_token_id + 1`: a table of 514 takes 512 tokens.
    """
    text = config.get_text_config()
    found = [_size(getattr(text, name, None)) for name in _LENGTHS]
    table = next((size for size in found if size), None)
    if table is not None and text.model_type in OFFSET_POSITIONS:
        table -= (1 if padding_id(text) is None else padding_id(text) or 0) + 1
    stated = _size(getattr(tokenizer, "model_max_length", None))
    return min((size for size in (table, stated) if size), default=None)


def _size(value: object) -> int | None:
    """Return a usable length: XLNet has −1 for no limit, and files may hold anything."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return int(value) if 1 <= value < _SANE_LENGTH else None
