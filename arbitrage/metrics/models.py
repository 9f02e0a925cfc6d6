"""Load the models of metrics: tokenizers, classifiers, causal language models, with Hugging Face transformers."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

from arbitrage.models import loading
from arbitrage.models.references import local_directory, revision_of

Precision = Literal["fp32", "bf16", "fp16"]


@lru_cache(maxsize=64)
def weights_of(model: str, revision: str | None) -> str:
    """Return the identity of weights: the digest of a directory's files, else id and revision."""
    found = revision_of(model, revision)
    return found if local_directory(model) else f"{model}@{found}"


def load_model(metric: str, model: str, revision: str | None, precision: Precision, loader: str) -> Any:
    """Load a model for inference, onto a GPU if there is one.

    Args:
        metric: name in errors.
        model: directory, Hugging Face id, or `demo:<name>`.
        revision: commit of a Hugging Face id.
        precision: of weights and arithmetic.
        loader: the `transformers` class that loads it.

    Raises:
        EngineStartError: the model cannot be loaded.
        MissingDependencyError: it needs a package that is not installed.
    """
    owner = owner_of(metric)
    found = loading.load_model(model, revision, owner, loader=loader, dtype=loading.DTYPES[precision])
    import torch

    with loading.loading(owner, model):
        return found.to("cuda" if torch.cuda.is_available() else "cpu")


def owner_of(metric: str) -> str:
    """Return the beginning of an error message about a metric's model."""
    return f"metric '{metric}'"


def in_batches(
    rows: Sequence[Sequence[int]], batch_size: int, forward: Callable[[Any, Any], list[float]], model: Any
) -> list[float | None]:
    """Run rows of token ids through a model, in batches of similar length; None for a row on which it fails.

    Args:
        rows: each at least one token.
        batch_size: rows in one forward pass.
        forward: (ids, attention mask), both of shape (rows, tokens), padded at the end → a value for each row.
        model: its padding token is used; without one, rows are run one by one.
    """
    pad = loading.padding_id(model.config.get_text_config())
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
    except Exception:  # noqa: BLE001 — of a model's code: one row must not harm the others
        if len(rows) == 1:
            return [None]
    return [value for row in rows for value in _try([row], forward, model, pad)]
