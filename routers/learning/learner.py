"""The interface of learned routers: a config that is fitted to a reward matrix, and a predictor that can be saved.

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
    """A serialised predictor: arrays for safetensors, and values for JSON."""

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> "State":
        """Return the state that `nested` put under a name."""
        prefix = f"{name}."
        arrays = {key.removeprefix(prefix): value for key, value in self.arrays.items() if key.startswith(prefix)}
        return State(arrays, self.values[name])


def nested(values: Mapping[str, Any], /, **parts: State) -> State:
    """Put the states of parts under their names, beside own values."""
    arrays = {f"{name}.{key}": array for name, part in parts.items() for key, array in part.arrays.items()}
    return State(arrays, {**values, **{name: dict(part.values) for name, part in parts.items()}})


class Predictor(Protocol):
    """Predicts the reward of each teacher on a prompt, relative to the other teachers."""

    def predict(self, queries: Queries) -> Floats:
        """Return the predicted reward of each teacher, shape (P, T), teachers in the order of the training matrix.

        Only differences within a row are meaningful: the part of a reward that is common to all teachers is not
        predicted.
        """
        ...

    def state(self) -> State:
        """Return all that `restore` needs."""
        ...


class LearnerConfig(Config):
    """Base of the configs of learned routers."""

    def fit(self, matrix: RewardMatrix) -> Predictor:
        """Fit a predictor to rewards. The same matrix gives the same predictor."""
        raise TypeError(f"{type(self).__name__} does not implement `fit`")

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return str(getattr(self, "kind", type(self).__name__))


Restore = Callable[[State], Predictor]
"""Rebuilds a predictor from what its `state` returned."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same prediction for every prompt."""

    expected_T: Floats

    def predict(self, queries: Queries) -> Floats:
        """Return the prediction, once for each prompt."""
        return np.tile(self.expected_T, (len(queries), 1))

    def state(self) -> State:
        """Return the prediction."""
        return State({"expected_T": self.expected_T})


def restore_fixed(state: State) -> Fixed:
    """Rebuild the predictor from its state."""
    return Fixed(np.asarray(state.arrays["expected_T"], float))


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit linear algebra to one thread within this context: results then do not depend on the number of cores."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
