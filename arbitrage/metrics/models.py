"""Loading the models that measure: tokenizers, classifiers, causal language models, on Hugging Face transformers."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

from arbitrage.errors import DataError, EngineStartError, MissingDependencyError
from arbitrage.models import loadable, local_directory, revision_of

Precision = Literal["fp32", "bf16", "fp16"]

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@lru_cache(maxsize=64)
def weights_of(model: str, revision: str | None) -> str:
    """Return what tells two sets of weights apart: the digest of a directory's files, else id and revision."""
    found = revision_of(model, revision)
    return found if local_directory(model) else f"{model}@{found}"


def load_tokenizer(metric: str, model: str, revision: str | None) -> Any:
    """Load a tokenizer.

    Raises:
        EngineStartError: it cannot be loaded; names the metric.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(loadable(model), revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, DataError) as error:
        raise EngineStartError(f"metric '{metric}': tokenizer of {model}: {error}") from error


def load_model(metric: str, model: str, revision: str | None, precision: Precision, loader: str) -> Any:
    """Load a model for inference, onto a GPU if there is one.

    Args:
        metric: name in errors.
        model: directory, Hugging Face id, or `world:<name>`.
        revision: commit of a Hugging Face id.
        precision: of weights and arithmetic.
        loader: the `transformers` class that loads it.

    Raises:
        EngineStartError: it cannot be loaded.
        MissingDependencyError: it needs a package that is not installed.
    """
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    try:
        found = getattr(transformers, loader).from_pretrained(
            loadable(model),
            revision=revision,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, _DTYPES[precision]),
        )
    except ImportError as error:
        raise MissingDependencyError(f"metric '{metric}': {model}: {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError, DataError) as error:
        raise EngineStartError(f"metric '{metric}': cannot load {model}: {error}") from error
    return found.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def longest_input(model: Any) -> int | None:
    """Return how many tokens a model takes; None if it does not say."""
    found: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return found


def in_batches(
    rows: Sequence[Sequence[int]], batch_size: int, forward: Callable[[Any, Any], list[float]], model: Any
) -> list[float | None]:
    """Run rows of token ids through a model, those of like length together; None for a row that it refuses.

    Args:
        rows: each at least one token.
        batch_size: rows in one forward pass.
        forward: (ids, attention mask), both of shape (rows, tokens), padded at the end → a value for each row.
        model: says what pads; one that has no such token gets rows one by one.
    """
    pad = model.config.get_text_config().pad_token_id
    size = 1 if pad is None else batch_size
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), list(rows[i])))
    values: list[float | None] = [None] * len(rows)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        for place, value in zip(places, _try([rows[i] for i in places], forward, model, pad or 0), strict=True):
            values[place] = value
    return values


def _try(
    rows: list[Sequence[int]], forward: Callable[[Any, Any], list[float]], model: Any, pad: int
) -> Sequence[float | None]:
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    try:
        with torch.inference_mode():
            return forward(ids, mask)
    except RuntimeError:  # PyTorch's, out of memory included: one row must not harm the others
        if len(rows) == 1:
            return [None]
    return [value for row in rows for value in _try([row], forward, model, pad)]
