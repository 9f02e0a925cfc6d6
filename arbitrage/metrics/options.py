"""What the configs of all metrics have in common, and the facts that each states about itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from arbitrage.config import Config
from arbitrage.text.measured import Measured
from arbitrage.text.text import Text

MetricName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]

Family = Literal["length", "diversity", "readability", "repetition", "language", "format", "model", "set"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a reader of a figure must know.

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
        name: stands in profiles and objectives; by default made of the kind and its options.
    """

    name: MetricName | None = None

    @property
    def metric_name(self) -> str:
        """The given name, or the usual one."""
        return self.name or self.usual_name

    @property
    def usual_name(self) -> str:
        """The name of a metric that was given none."""
        raise TypeError(f"{type(self).__name__} does not say its usual name")

    @property
    def family(self) -> Family:
        """Beside which others it is shown."""
        raise TypeError(f"{type(self).__name__} does not say its family")

    @property
    def facts(self) -> Facts:
        """Source, unit, range, and where it is defined."""
        raise TypeError(f"{type(self).__name__} does not state its facts")

    @property
    def is_model(self) -> bool:
        """Whether it loads a model, and so is measured in one process only."""
        return False


class TextMetric:
    """A `Metric` made of a pure function of one text."""

    def __init__(self, name: str, measure_one: Callable[[Text], Measured]) -> None:
        self._name = name
        self._measure_one = measure_one

    @property
    def name(self) -> str:
        """What stands in profiles and objectives."""
        return self._name

    def measure(self, texts: Sequence[Text]) -> list[Measured]:
        """Return one Measured for each text, in order."""
        return [self._measure_one(text) for text in texts]
