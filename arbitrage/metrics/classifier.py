"""Any property that a Hugging Face sequence classifier predicts: toxicity, sentiment, register, educational value."""

from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from arbitrage.config import LanguageTag, Operational, Raw
from arbitrage.contracts.metrics import Metric
from arbitrage.errors import EngineStartError
from arbitrage.languages import speaks
from arbitrage.metrics.models import Precision, in_batches, load_model, owner_of, weights_of
from arbitrage.metrics.options import Facts, Family, MetricName, TextMetricOptions
from arbitrage.models.labels import label_of
from arbitrage.models.loading import load_tokenizer, longest_input
from arbitrage.models.references import absolute_model
from arbitrage.text.measured import NO_TEXT, UNDEFINED_LANGUAGE, Measured
from arbitrage.text.text import Text


class ClassifierMetricConfig(TextMetricOptions):
    """The output of a sequence classifier, loaded with `AutoModelForSequenceClassification`.

    Attributes:
        name: name of the property, such as 'toxicity'.
        model: a directory, a Hugging Face id, or `demo:<name>`.
        revision: commit of a Hugging Face id.
        label: label whose value is used: its name in the model's config, or its number; required if there are
            several.
        scale: `softmax` for labels that exclude each other, `sigmoid` for others, `logit` for raw values.
        windows: texts longer than the model's limit are split into windows; the value is their `max` or `mean`.
        max_tokens: length of a window (default: the model's own limit).
        languages: languages that the model supports; others are `undefined_language`. Empty: all.
        precision: precision of weights and arithmetic.
        batch_size: number of windows in one forward pass.
    """

    kind: Literal["classifier"] = "classifier"
    name: MetricName = "classifier"
    model: Annotated[str, AfterValidator(absolute_model)]
    revision: str | None = None
    label: Annotated[int, Field(ge=0)] | str | None = None
    scale: Literal["softmax", "sigmoid", "logit"] = "softmax"
    windows: Literal["max", "mean"] = "max"
    max_tokens: int | None = Field(default=None, ge=4)
    languages: tuple[LanguageTag, ...] = ()
    precision: Precision = "fp32"
    batch_size: Annotated[int, Field(ge=1), Operational] = 32

    def identity(self) -> Raw:
        """Identify local weights by their content instead of their path."""
        return super().identity() | {"model": weights_of(self.model, self.revision)}

    @property
    def usual_name(self) -> str:
        """Return the name."""
        return self.name

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "model"

    @property
    def facts(self) -> Facts:
        """The model that is given."""
        low, high = (None, None) if self.scale == "logit" else (0.0, 1.0)
        unit = "logit" if self.scale == "logit" else "probability"
        defined = " ".join(self.languages) or "wherever the model is"
        meant = self.name if self.label is None else f"{self.name} (label {self.label})"
        return Facts(meant, unit, low, high, self.model, defined)

    @property
    def is_model(self) -> bool:
        """It loads one."""
        return True

    def metric(self) -> Metric:
        """Load the model.

        Raises:
            EngineStartError: the model cannot be loaded, or has no such label.
        """
        return ClassifierMetric(self)


class ClassifierMetric:
    """A `Metric`. Reasons: `no_text`, `undefined_language`, `model_error`, `not_finite`."""

    def __init__(self, config: ClassifierMetricConfig) -> None:
        self._config = config
        owner = owner_of(config.metric_name)
        self._tokenizer = load_tokenizer(config.model, config.revision, owner)
        self._model = load_model(
            config.metric_name, config.model, config.revision, config.precision, "AutoModelForSequenceClassification"
        )
        self._label = label_of(config.label, self._model.config, owner=owner, model=config.model)
        if config.scale == "softmax" and self._model.config.num_labels == 1:
            raise EngineStartError(
                f"{owner}: {config.model} has one label, whose softmax is always 1: set `scale` to sigmoid or logit"
            )
        limit = longest_input(self._model.config, self._tokenizer)
        self._room = min(filter(None, (config.max_tokens, limit)), default=512)

    @property
    def name(self) -> str:
        """Name in profiles and objectives."""
        return self._config.metric_name

    def measure(self, texts: Sequence[Text]) -> list[Measured]:
        """Return one Measured for each text, in order."""
        windows: list[list[int]] = []
        places: list[range | Measured] = []
        for text in texts:
            found = self._windows(text)
            if isinstance(found, Measured):
                places.append(found)
            else:
                places.append(range(len(windows), len(windows) + len(found)))
                windows += found
        values = in_batches(windows, self._config.batch_size, self._forward, self._model)
        return [place if isinstance(place, Measured) else self._join([values[i] for i in place]) for place in places]

    def _windows(self, text: Text) -> list[list[int]] | Measured:
        known = self._config.languages
        if known and not any(speaks(tag, text.language) for tag in known):
            return UNDEFINED_LANGUAGE
        if not text.text.strip():
            return NO_TEXT
        found: list[list[int]] = self._tokenizer(
            text.text, truncation=True, max_length=self._room, return_overflowing_tokens=True
        )["input_ids"]
        return [row for row in found if row] or NO_TEXT

    def _forward(self, ids: Any, mask: Any) -> list[float]:
        logits = self._model(input_ids=ids, attention_mask=mask).logits.float()
        if self._config.scale == "softmax":
            logits = logits.softmax(-1)
        elif self._config.scale == "sigmoid":
            logits = logits.sigmoid()
        return [float(value) for value in logits[:, self._label].tolist()]

    def _join(self, values: Sequence[float | None]) -> Measured:
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return Measured(reason="model_error")
        if not all(map(isfinite, known)):
            return Measured(reason="not_finite")
        return Measured(max(known) if self._config.windows == "max" else sum(known) / len(known))
