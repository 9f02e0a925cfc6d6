"""Log-probabilities from servers and files: possible values are kept, others become null."""

import math
from collections.abc import Iterable

_LEAST_LOGPROB = -1e9
"""Lower bound for a completion: 10⁵ tokens at −9,999, which servers write for minus infinity."""

_ROUNDING = 1e-3
"""Rounding may give a probability of 1 a logarithm slightly above 0."""


def logprob_of(value: object) -> float | None:
    """Return a natural log-probability; None for a value that is not a number from −10⁹ to 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return min(0.0, float(value)) if _LEAST_LOGPROB <= value <= _ROUNDING else None


def sum_of_logprobs(values: Iterable[object]) -> float | None:
    """Return the sum of tokens' log-probabilities; None if one is missing."""
    numbers = [logprob_of(value) for value in values]
    found = [number for number in numbers if number is not None]
    return logprob_of(math.fsum(found)) if found and len(found) == len(numbers) else None
