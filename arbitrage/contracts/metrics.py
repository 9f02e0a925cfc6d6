"""Metrics: properties of a text, or of a set of texts, that say nothing about its quality."""

from collections.abc import Sequence
from typing import Any, Protocol

from arbitrage.text.measured import Measured
from arbitrage.text.text import Text


class Metric(Protocol):
    """A property of one text: a value, or a null with a reason."""

    @property
    def name(self) -> str:
        """What stands in profiles and objectives, such as 'mtld'."""
        ...

    def measure(self, texts: Sequence[Text]) -> list[Measured]:
        """Return one Measured for each text, in order; never NaN."""
        ...


class Sketch(Protocol):
    """What is remembered of a set of texts: flat in their number."""

    def add(self, key: int, digest: Any) -> None:
        """Take a text in: its digest, under a key of 64 even bits that decides which texts are remembered."""
        ...

    def merge(self, other: Any) -> None:
        """Take in all that another sketch of the same metric remembers."""
        ...

    def value(self) -> Measured:
        """Return the property of the set so far."""
        ...


class SetMetric(Protocol):
    """A property of a set of texts: how much alike they are."""

    @property
    def name(self) -> str:
        """What stands in profiles, such as 'near_duplicates'."""
        ...

    def digest(self, text: Text) -> Any:
        """Return what the sketch keeps of a text, small and picklable; None if there is nothing."""
        ...

    def sketch(self) -> Sketch:
        """Return the sketch of an empty set."""
        ...
