"""Length of a text in tokens of a model."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator

from arbitrage.config import Raw
from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.models import owner_of, weights_of
from arbitrage.metrics.options import Facts, Family, TextMetricOptions
from arbitrage.models.loading import load_tokenizer
from arbitrage.models.references import absolute_model
from arbitrage.text.measured import Measured
from arbitrage.text.text import Text


class TokensConfig(TextMetricOptions):
    """The number of tokens by a reference tokenizer, special tokens left out.

    Attributes:
        model: model of the tokenizer: a directory, a Hugging Face id, or `demo:<name>`.
        revision: commit of a Hugging Face id.
    """

    kind: Literal["tokens"] = "tokens"
    model: Annotated[str, AfterValidator(absolute_model)]
    revision: str | None = None

    def identity(self) -> Raw:
        """Identify the tokenizer by its content instead of its path."""
        return super().identity() | {"model": weights_of(self.model, self.revision)}

    @property
    def usual_name(self) -> str:
        """Return 'tokens'."""
        return "tokens"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "length"

    @property
    def facts(self) -> Facts:
        """The tokenizer that is given."""
        return Facts("length in tokens", "tokens", 0.0, None, f"tokenizer of {self.model}", "everywhere")

    @property
    def is_model(self) -> bool:
        """A tokenizer is loaded once."""
        return True

    def metric(self) -> Metric:
        """Load the tokenizer.

        Raises:
            EngineStartError: it cannot be loaded.
        """
        return TokenCounter(self)


class TokenCounter:
    """A `Metric`."""

    def __init__(self, config: TokensConfig) -> None:
        self._name = config.metric_name
        self._tokenizer = load_tokenizer(config.model, config.revision, owner_of(self._name))

    @property
    def name(self) -> str:
        """Name in profiles and objectives."""
        return self._name

    def measure(self, texts: Sequence[Text]) -> list[Measured]:
        """Return the number of tokens of each text, in order."""
        if not texts:
            return []
        rows = self._tokenizer([t.text for t in texts], add_special_tokens=False, verbose=False)["input_ids"]
        return [Measured(float(len(row))) for row in rows]
