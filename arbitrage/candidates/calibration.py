"""Put a raw score on its language's scale. Raw scores are never compared across languages [2410.15522]."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from math import log1p

import pyarrow as pa
import pyarrow.compute as pc

from arbitrage.candidates.table import CandidateShard
from arbitrage.languages import UNKNOWN
from arbitrage.records import Calibration


@dataclass(frozen=True, slots=True)
class Curve:
    """A rising map from raw to calibrated scores: straight between its points, and beyond them with `slope`."""

    raw: tuple[float, ...]
    z: tuple[float, ...]
    slope: float

    def __call__(self, x: float) -> float:
        """Return the calibrated score of a raw one."""
        if x <= self.raw[0]:
            return self.z[0] - self.slope * (self.raw[0] - x)
        if x >= self.raw[-1]:
            return self.z[-1] + self.slope * (x - self.raw[-1])
        right = bisect_left(self.raw, x)
        share = (x - self.raw[right - 1]) / (self.raw[right] - self.raw[right - 1])
        return self.z[right - 1] + share * (self.z[right] - self.z[right - 1])


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


def calibrated_values(table: CalibrationTable, shard: CandidateShard, scores: pa.Table) -> pa.Array:
    """Return one reward's scores in standard deviations of their language; null where it has no calibration."""
    characters = pc.utf8_length(shard.candidates["text"].combine_chunks())
    lengths = pc.log1p(characters.take(pa.array(shard.candidate_rows(scores))).cast(pa.float64()))
    columns = (scores["reward"], shard.languages_of(scores), scores["value"], lengths)
    values = []
    for reward, language, value, length in zip(*(column.to_pylist() for column in columns), strict=True):
        row = table.row(reward, language)
        values.append(None if row is None else calibrated(row, value, length))
    return pa.array(values, pa.float64())
