"""Likelihood of a text under a causal language model."""

from collections.abc import Sequence
from math import isfinite, log
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from arbitrage.config import Operational, Raw
from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.models import Precision, in_batches, load_model, owner_of, weights_of
from arbitrage.metrics.options import Facts, Family, TextMetricOptions
from arbitrage.models.loading import load_tokenizer, longest_input
from arbitrage.models.references import absolute_model
from arbitrage.text.measured import NO_TEXT, TOO_SHORT, Measured
from arbitrage.text.text import Text


class LikelihoodConfig(TextMetricOptions):
    """The log-likelihood of a text under a causal model, after the model's start token where it has one.

    Attributes:
        model: a directory, a Hugging Face id, or `demo:<name>`.
        revision: commit of a Hugging Face id.
        per: `token` gives mean nats per token, at most 0; `byte` gives bits per UTF-8 byte, at least 0, comparable
            across tokenizers.
        max_tokens: longer texts are measured up to this limit (default: the model's own).
        precision: precision of weights and arithmetic.
        batch_size: number of texts in one forward pass.
    """

    kind: Literal["likelihood"] = "likelihood"
    model: Annotated[str, AfterValidator(absolute_model)]
    revision: str | None = None
    per: Literal["token", "byte"] = "byte"
    max_tokens: int | None = Field(default=None, ge=2)
    precision: Precision = "fp32"
    batch_size: Annotated[int, Field(ge=1), Operational] = 8

    def identity(self) -> Raw:
        """Identify local weights by their content instead of their path."""
        return super().identity() | {"model": weights_of(self.model, self.revision)}

    @property
    def usual_name(self) -> str:
        """Return 'bits_per_byte' or 'log_likelihood'."""
        return "bits_per_byte" if self.per == "byte" else "log_likelihood"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "model"

    @property
    def facts(self) -> Facts:
        """The model that is given."""
        defined = "texts of a token and more; without a start token, two"
        if self.per == "byte":
            return Facts("surprise", "bits per UTF-8 byte", 0.0, None, self.model, defined)
        return Facts("log-likelihood", "nats per token", None, 0.0, self.model, defined)

    @property
    def is_model(self) -> bool:
        """It loads one."""
        return True

    def metric(self) -> Metric:
        """Load the model.

        Raises:
            EngineStartError: it cannot be loaded.
        """
        return LikelihoodMetric(self)


class LikelihoodMetric:
    """A `Metric`. Reasons: `no_text`, `too_short`, `model_error`, `not_finite`."""

    def __init__(self, config: LikelihoodConfig) -> None:
        self._config = config
        self._tokenizer = load_tokenizer(config.model, config.revision, owner_of(config.metric_name))
        self._model = load_model(
            config.metric_name, config.model, config.revision, config.precision, "AutoModelForCausalLM"
        )
        limit = longest_input(self._model.config, self._tokenizer)
        self._room = min(filter(None, (config.max_tokens, limit)), default=2048)
        start, size = self._tokenizer.bos_token_id, self._model.get_input_embeddings().num_embeddings
        self._start = [start] if isinstance(start, int) and 0 <= start < size else []

    @property
    def name(self) -> str:
        """Name in profiles and objectives."""
        return self._config.metric_name

    def measure(self, texts: Sequence[Text]) -> list[Measured]:
        """Return one Measured for each text, in order."""
        rows = [self._encode(text) for text in texts]
        places = [i for i, row in enumerate(rows) if not isinstance(row, Measured)]
        sums = in_batches(
            [r for r in rows if not isinstance(r, Measured)], self._config.batch_size, self._sum, self._model
        )
        found = dict(zip(places, sums, strict=True))
        return [
            row if isinstance(row, Measured) else self._scale(found[i], row, text)
            for i, (row, text) in enumerate(zip(rows, texts, strict=True))
        ]

    def _encode(self, text: Text) -> list[int] | Measured:
        if not text.text.strip():
            return NO_TEXT
        ids = self._tokenizer(text.text, add_special_tokens=False, verbose=False)["input_ids"]
        row = [*self._start, *ids][: self._room]
        return row if len(row) > 1 else TOO_SHORT

    def _sum(self, ids: Any, mask: Any) -> list[float]:
        """Return the log-likelihood of each row without its first token, in nats."""
        logits = self._model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        found = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        return [float(value) for value in (found * mask[:, 1:]).sum(-1).tolist()]

    def _scale(self, nats: float | None, row: Sequence[int], text: Text) -> Measured:
        if nats is None:
            return Measured(reason="model_error")
        if not isfinite(nats):
            return Measured(reason="not_finite")
        if self._config.per == "token":
            return Measured(nats / (len(row) - 1))
        return Measured(-nats / log(2) / self._num_bytes(row, text))

    def _num_bytes(self, row: Sequence[int], text: Text) -> int:
        """Return the UTF-8 bytes of the measured text: without a first token, and up to the limit."""
        read = text.text
        if not self._start or len(row) == self._room:
            read = self._tokenizer.decode(row[len(self._start) or 1 :])
        return len(read.encode("utf-8", "replace")) or 1
