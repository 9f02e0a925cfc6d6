"""Any property that a Hugging Face sequence classifier tells: toxicity, sentiment, register, educational value."""

from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from arbitrage.config import LanguageTag, Operational, Raw
from arbitrage.contracts.metrics import Metric
from arbitrage.errors import EngineStartError
from arbitrage.languages import speaks
from arbitrage.measured import NO_TEXT, UNDEFINED_LANGUAGE, Measured
from arbitrage.metrics.models import Precision, in_batches, load_model, load_tokenizer, longest_input, weights_of
from arbitrage.metrics.options import Facts, Family, MetricName, MetricOptions
from arbitrage.models import absolute_model
from arbitrage.texts import Text


class ClassifierConfig(MetricOptions):
    """The opinion of a model of the `AutoModelForSequenceClassification` kind.

    Attributes:
        name: what it tells, such as 'toxicity'.
        model: a directory, a Hugging Face id, or `world:<name>`.
        revision: commit of a Hugging Face id.
        label: whose value is taken: its name in the model's config, or its number.
        scale: `softmax` where the labels exclude each other, `sigmoid` where they do not, `logit` for raw values.
        windows: a text longer than the model takes is cut into windows; the value is their `max` or their `mean`.
        max_tokens: of a window; by default the model's own limit.
        languages: that the model knows; others are `undefined_language`. Empty: all.
        precision: of weights and arithmetic.
        batch_size: windows in one forward pass.
    """

    kind: Literal["classifier"] = "classifier"
    name: MetricName = "classifier"
    model: Annotated[str, AfterValidator(absolute_model)]
    revision: str | None = None
    label: str | int = 1
    scale: Literal["softmax", "sigmoid", "logit"] = "softmax"
    windows: Literal["max", "mean"] = "max"
    max_tokens: int | None = Field(default=None, ge=4)
    languages: tuple[LanguageTag, ...] = ()
    precision: Precision = "fp32"
    batch_size: Annotated[int, Field(ge=1), Operational] = 32

    def identity(self) -> Raw:
        """Name the weights by what is in them, not by where they lie."""
        return super().identity() | {"model": weights_of(self.model, self.revision)}

    @property
    def usual_name(self) -> str:
        """Return the name."""
        return self.name

    @property
    def family(self) -> Family:
        """Beside other models' opinions."""
        return "model"

    @property
    def facts(self) -> Facts:
        """The model that is given."""
        low, high = (None, None) if self.scale == "logit" else (0.0, 1.0)
        unit = "logit" if self.scale == "logit" else "probability"
        defined = " ".join(self.languages) or "wherever the model is"
        return Facts(f"{self.name} (label {self.label})", unit, low, high, self.model, defined)

    @property
    def is_model(self) -> bool:
        """It loads one."""
        return True

    def build(self) -> Metric:
        """Load the model.

        Raises:
            EngineStartError: the model cannot be loaded, or has no such label.
        """
        return Classifier(self)


class Classifier:
    """A `Metric`. Reasons: `no_text`, `undefined_language`, `model_error`, `not_finite`."""

    def __init__(self, config: ClassifierConfig) -> None:
        self._config = config
        self._tokenizer = load_tokenizer(config.metric_name, config.model, config.revision)
        self._model = load_model(
            config.metric_name, config.model, config.revision, config.precision, "AutoModelForSequenceClassification"
        )
        self._label = _label_of(config, self._model.config)
        self._room = min(filter(None, (config.max_tokens, longest_input(self._model))), default=512)

    @property
    def name(self) -> str:
        """What stands in profiles and objectives."""
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


def _label_of(config: ClassifierConfig, model_config: Any) -> int:
    names = {name: int(number) for number, name in model_config.id2label.items()}
    if isinstance(config.label, int) and 0 <= config.label < model_config.num_labels:
        return config.label
    if isinstance(config.label, str) and config.label in names:
        return names[config.label]
    known = ", ".join(f"{number} ({name})" for name, number in sorted(names.items(), key=lambda pair: pair[1]))
    raise EngineStartError(
        f"metric '{config.metric_name}': label {config.label!r}: {config.model} has no such label; it has {known}"
    )
