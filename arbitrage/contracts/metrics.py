"""Metrics: properties of a text, or of a set of texts, that do not measure quality."""

from collections.abc import Sequence
from typing import Any, Protocol

from arbitrage.text.measured import Measured
from arbitrage.text.text import Text


class Metric(Protocol):
    """A property of one text: a value, or a null with a reason."""

    @property
    def name(self) -> str:
        """Name in profiles and objectives, such as 'mtld'."""
        ...

    def measure(self, texts: Sequence[Text]) -> list[Measured]:
        """Return one Measured for each text, in order; never NaN."""
        ...


class Sketch(Protocol):
    """Summary of a set of texts, of bounded size."""

    def add(self, key: int, digest: Any) -> None:
        """Add a text: its digest, under a key of 64 uniform bits that decides which texts are kept."""
        ...

    def merge(self, other: Any) -> None:
        """Add everything from another sketch of the same metric."""
        ...

    def value(self) -> Measured:
        """Return the property of the set so far."""
        ...


class SetMetric(Protocol):
    """A property of a set of texts: how similar they are."""

    @property
    def name(self) -> str:
        """Name in profiles, such as 'near_duplicates'."""
        ...

    def digest(self, text: Text) -> Any:
        """Return what the sketch needs of a text, small and picklable; None if there is nothing."""
        ...

    def sketch(self) -> Sketch:
        """Return the sketch of an empty set."""
        ...
