"""The result of a measurement: a number, or the reason why there is none. Never NaN."""

from dataclasses import dataclass
from typing import Literal

Reason = Literal[
    "no_text",
    "no_reasoning",
    "too_short",
    "too_few",
    "unknown_language",
    "undefined_language",
    "no_embedding",
    "model_error",
    "not_finite",
]
"""The closed set of reasons for a null.

- `no_text`: no letter or word to measure
- `no_reasoning`: of reasoning: none comes with the text
- `too_short`: fewer words or letters than the definition needs
- `too_few`: of a set: fewer texts or words than the definition needs
- `unknown_language`: the text's language is not known
- `undefined_language`: the metric is not defined in that language
- `no_embedding`: no vector came with the text
- `model_error`: the model refused the text
- `not_finite`: the model returned NaN or infinity
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """Either a value or the reason for having none."""

    value: float | None = None
    reason: Reason | None = None


NO_TEXT = Measured(reason="no_text")
NO_REASONING = Measured(reason="no_reasoning")
TOO_SHORT = Measured(reason="too_short")
TOO_FEW = Measured(reason="too_few")
UNKNOWN_LANGUAGE = Measured(reason="unknown_language")
UNDEFINED_LANGUAGE = Measured(reason="undefined_language")
