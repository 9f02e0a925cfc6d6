"""Classifiers on Hugging Face transformers: CPUs, or one GPU."""

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from arbitrage.models.labels import label_of
from arbitrage.models.loading import DTYPES, load_model, loading, longest_input, padding_id

if TYPE_CHECKING:
    from arbitrage.rewards.classifier import RewardModelConfig


class TransformersClassifier:
    """A loaded model. Batches run in a thread, one at a time."""

    def __init__(self, config: "RewardModelConfig", tokenizer: Any) -> None:
        self._model = _load(config)
        self.max_length = longest_input(self._model.config, tokenizer)
        self.pad_id = padding_id(self._model.config.get_text_config())
        self._label = label_of(config.label, self._model.config, owner=config.owner, model=config.model)
        # A decoder without a padding token cannot find the end of a padded row.
        self._batch_size = 1 if self.pad_id is None else config.batch_size
        self._lock = threading.Lock()

    async def logits(self, rows: Sequence[list[int]]) -> list[float | None]:
        """Return the raw logit of each row, in order. Batches hold rows of similar length."""
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), rows[i]))
        found: dict[int, float | None] = {}
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            values = await asyncio.to_thread(self._answer, [rows[i] for i in places])
            found.update(zip(places, values, strict=True))
        return [found[i] for i in range(len(rows))]

    async def close(self) -> None:
        """Drop the model."""
        self._model = None

    def _answer(self, rows: Sequence[list[int]]) -> Sequence[float | None]:
        with self._lock:
            try:
                return self._forward(rows)
            except Exception:  # noqa: BLE001 — of a model's code: one row must not harm the others
                if len(rows) == 1:
                    return [None]
        return [value for row in rows for value in self._answer([row])]

    def _forward(self, rows: Sequence[list[int]]) -> list[float]:
        import torch

        width = max(len(row) for row in rows)
        pad = self.pad_id or 0
        device = self._model.device
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        with torch.inference_mode():
            logits = self._model(input_ids=ids, attention_mask=mask).logits
        return [float(value) for value in logits[:, self._label].float().tolist()]


def _load(config: "RewardModelConfig") -> Any:
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    device = "cuda" if torch.cuda.is_available() and config.resources.gpus else "cpu"
    model = load_model(
        config.model,
        config.revision,
        config.owner,
        loader="AutoModelForSequenceClassification",
        dtype=DTYPES[config.precision],
    )
    with loading(config.owner, config.model):
        return model.to(device)
