"""Options that all metrics share, and the facts that each metric states about itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from arbitrage.config import Config, Raw
from arbitrage.contracts.metrics import Metric
from arbitrage.text.measured import NO_REASONING, Measured
from arbitrage.text.text import Text

MetricName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]

Part = Literal["response", "reasoning"]
"""What is measured: the final answer, or what the model wrote before it."""

Family = Literal["length", "diversity", "readability", "repetition", "language", "format", "model", "set"]


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts that a reader of a figure needs.

    Attributes:
        title: the metric in words.
        unit: of its values.
        low: smallest possible value; None if there is none.
        high: largest possible value; None if there is none.
        source: the paper, standard or package that defines it.
        defined: the languages and texts that have a value.
    """

    title: str
    unit: str
    low: float | None
    high: float | None
    source: str
    defined: str

    @property
    def range(self) -> str:
        """The range of values: '0..1', '≥ 0'."""
        if self.low is None and self.high is None:
            return "any"
        if self.low is None or self.high is None:
            return f"≥ {self.low:g}" if self.low is not None else f"≤ {self.high:g}"
        return f"{self.low:g}..{self.high:g}"


class MetricOptions(Config):
    """Base of the metric configs.

    Attributes:
        name: name in profiles and objectives (default: made of the kind and its options).
    """

    name: MetricName | None = None

    @property
    def metric_name(self) -> str:
        """The given name, or the usual one."""
        return self.name or self.usual_name

    @property
    def usual_name(self) -> str:
        """The default name."""
        raise TypeError(f"{type(self).__name__} does not implement `usual_name`")

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        raise TypeError(f"{type(self).__name__} does not implement `family`")

    @property
    def facts(self) -> Facts:
        """Source, unit, range, and where it is defined."""
        raise TypeError(f"{type(self).__name__} does not implement `facts`")

    @property
    def stated(self) -> Facts:
        """The facts, for whoever shows them."""
        return self.facts

    @property
    def is_model(self) -> bool:
        """Whether it loads a model; it is then measured in one process only."""
        return False


class TextMetricOptions(MetricOptions):
    """Base of the configs of metrics of one text.

    Attributes:
        of: what is measured: the response, or the reasoning before it. Of reasoning, `reasoning_` stands before the
            usual name.
    """

    of: Part = "response"

    def identity(self) -> Raw:
        """Return what can change a value; `of` only where it is the reasoning."""
        return {name: value for name, value in super().identity().items() if name != "of" or value != "response"}

    @property
    def metric_name(self) -> str:
        """The given name, or the usual one."""
        return self.name or f"{'reasoning_' if self.of == 'reasoning' else ''}{self.usual_name}"

    @property
    def stated(self) -> Facts:
        """The facts, and that they are of reasoning where they are."""
        return self.facts if self.of == "response" else replace(self.facts, title=f"{self.facts.title}, of reasoning")

    @property
    def is_of_wanted_language(self) -> bool:
        """Whether it compares a text with the prompt's language; others measure reasoning in its own."""
        return False

    def metric(self) -> Metric:
        """Return the metric of a text."""
        raise TypeError(f"{type(self).__name__} does not say how it measures")

    def build(self) -> Metric:
        """Build the metric; load its model if it has one.

        Raises:
            EngineStartError: the model cannot be loaded.
        """
        built = self.metric()
        return built if self.of == "response" else ReasoningMetric(built, self.is_of_wanted_language)


class ReasoningMetric:
    """A `Metric` of the reasoning that comes with a text. Reason: `no_reasoning`, besides those of the metric.

    Args:
        metric: measures a text.
        is_of_wanted_language: the reasoning is measured as if it were in the prompt's language.
    """

    def __init__(self, metric: Metric, is_of_wanted_language: bool) -> None:
        self._metric = metric
        self._is_of_wanted_language = is_of_wanted_language

    @property
    def name(self) -> str:
        """Name in profiles and objectives."""
        return self._metric.name

    def measure(self, texts: Sequence[Text]) -> list[Measured]:
        """Return one Measured for each text, in order."""
        parts = [t.reasoning_as_wanted if self._is_of_wanted_language else t.reasoning_as_written for t in texts]
        found = iter(self._metric.measure([part for part in parts if part is not None]))
        return [NO_REASONING if part is None else next(found) for part in parts]


class TextMetric:
    """A `Metric` made of a pure function of one text."""

    def __init__(self, name: str, measure_one: Callable[[Text], Measured]) -> None:
        self._name = name
        self._measure_one = measure_one

    @property
    def name(self) -> str:
        """Name in profiles and objectives."""
        return self._name

    def measure(self, texts: Sequence[Text]) -> list[Measured]:
        """Return one Measured for each text, in order."""
        return [self._measure_one(text) for text in texts]
