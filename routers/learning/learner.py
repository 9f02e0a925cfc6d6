"""What every learned router is: a config that is fitted to a reward matrix, and a predictor that can be saved.

Fitting uses one thread: sums of floats depend on how threads share them, and equal matrices must give equal bytes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from arbitrage.candidates.matrix import RewardMatrix
from arbitrage.candidates.queries import Queries
from arbitrage.config import Config

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class State:
    """A predictor, written down: arrays for safetensors, and values for JSON."""

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> "State":
        """Return the state that `nested` put under a name."""
        prefix = f"{name}."
        arrays = {key.removeprefix(prefix): value for key, value in self.arrays.items() if key.startswith(prefix)}
        return State(arrays, self.values[name])


def nested(values: Mapping[str, Any], /, **parts: State) -> State:
    """Put the states of parts under their names, whatever these are, beside own values."""
    arrays = {f"{name}.{key}": array for name, part in parts.items() for key, array in part.arrays.items()}
    return State(arrays, {**values, **{name: dict(part.values) for name, part in parts.items()}})


class Predictor(Protocol):
    """Says how good each teacher's answer to a prompt is expected to be, relative to the other models'."""

    def predict(self, queries: Queries) -> Floats:
        """Return the expected reward of each teacher, shape (P, T), teachers in the order of the training matrix.

        Only differences within a row mean something: what a prompt gives to all teachers alike is not predicted.
        """
        ...

    def state(self) -> State:
        """Return all that `restore` needs."""
        ...


class LearnerConfig(Config):
    """Base of the configs of learned routers."""

    def fit(self, matrix: RewardMatrix) -> Predictor:
        """Learn from outcomes. The same matrix gives the same predictor."""
        raise TypeError(f"{type(self).__name__} does not say how to learn")

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return str(getattr(self, "kind", type(self).__name__))


Restore = Callable[[State], Predictor]
"""Makes a predictor of what its `state` returned."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same expectation for every prompt."""

    expected_T: Floats

    def predict(self, queries: Queries) -> Floats:
        """Return the expectation, once for each prompt."""
        return np.tile(self.expected_T, (len(queries), 1))

    def state(self) -> State:
        """Return the expectation."""
        return State({"expected_T": self.expected_T})


def restore_fixed(state: State) -> Fixed:
    """Make the predictor of its state."""
    return Fixed(np.asarray(state.arrays["expected_T"], float))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the linear algebra within to one thread. Ray gives tasks one anyway, a laptop all it has."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
