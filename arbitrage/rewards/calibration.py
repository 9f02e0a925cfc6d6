"""Put a raw score on its language's scale. Raw scores are never compared across languages [2410.15522]."""

from collections.abc import Iterable
from math import log1p

from arbitrage.languages import UNKNOWN
from arbitrage.records import Calibration
from arbitrage.rewards.shrinkage import Curve


def log_length(text: str) -> float:
    """Return log(1 + characters), the length that length control partials out."""
    return log1p(len(text))


def calibrated(row: Calibration, value: float, length: float) -> float:
    """Return a raw score in standard deviations of its language; 0 is that language's average answer.

    Args:
        row: the calibration of the score's reward and language.
        value: the raw score.
        length: `log_length` of the answer.
    """
    if row.knots_raw:
        return Curve(row.knots_raw, row.knots_z, 1.0 / row.sd)(value)
    return (value - row.mean) / row.sd - row.length_slope * (length - row.mean_log_length)


class CalibrationTable:
    """The calibration rows of a run, by reward and language."""

    def __init__(self, rows: Iterable[Calibration]) -> None:
        self._rows = {(row.reward, row.language): row for row in rows}

    def row(self, reward: str, language: str) -> Calibration | None:
        """Return the row for a `name@version` and a language; of a language without scores, the global row.

        None if the reward has no rows at all.
        """
        return self._rows.get((reward, language)) or self._rows.get((reward, UNKNOWN))
