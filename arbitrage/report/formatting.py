"""Format numbers for display. None is '–'."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from arbitrage.candidates.arrays import MetricColumn
from arbitrage.statistics import Estimate

ABSENT = "–"
MINUS = "−"


def percent(value: float | None, digits: int = 1) -> str:
    """Return 0.1234 as '12.3 %'."""
    return ABSENT if value is None else f"{_signless(value * 100, digits)} %"


def share(value: float) -> str:
    """Return a share: 0.1234 as '12 %'; only 1 is '100 %'."""
    rounded = round(100 * value)
    if rounded == 100 and value < 1.0 - 1e-9:
        return "> 99 %"
    return "< 1 %" if rounded == 0 and value > 0.0 else f"{rounded} %"


def decimal(value: float | None, digits: int = 2) -> str:
    """Return 0.1234 as '0.12', with a true minus sign."""
    return ABSENT if value is None else _signless(value, digits)


def signed(value: float | None, digits: int = 2) -> str:
    """Return 0.1234 as '+0.12'."""
    if value is None:
        return ABSENT
    text = _signless(value, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def compact(value: float | None) -> str:
    """Return 1234567 as '1.2 M', and numbers below 10,000 in full."""
    if value is None:
        return ABSENT
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{value:,.0f}"


def money(value: float | None) -> str:
    """Return US dollars, with as many decimals as small amounts need to show two digits."""
    if value is None:
        return ABSENT
    decimals = 2 if value <= 0 else max(2, 1 - math.floor(math.log10(value)))
    return f"${value:,.{decimals}f}"


def duration(seconds: float) -> str:
    """Return 3725.0 as '1 h 2 min'."""
    whole = round(seconds)
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(timestamp: str) -> str:
    """Return an ISO 8601 time as '2026-11-21 02:26 UTC'; other text as it is."""
    try:
        found = datetime.fromisoformat(timestamp)
    except ValueError:
        return timestamp
    zone = found.tzname() or ""
    return f"{found:%Y-%m-%d %H:%M} {zone}".strip()


@dataclass(frozen=True, slots=True)
class NumberForm:
    """How the numbers of a column and their intervals are written: '52.1 % [48.0, 56.3]'.

    Attributes:
        digits: decimals.
        scale: factor of the number: 100 for shares.
        unit: written after the number, not in the interval.
        is_signed: positive numbers have a plus, as differences do; the ends of intervals do not.
        write: formats the number instead of all this.
    """

    digits: int = 2
    scale: float = 1.0
    unit: str = ""
    is_signed: bool = False
    write: Callable[[float], str] | None = None

    def value(self, found: Estimate | float | None) -> str:
        """Return a number, without its interval."""
        if found is None:
            return ABSENT
        number = found.value if isinstance(found, Estimate) else found
        if self.write is not None:
            return self.write(number)
        text = (signed if self.is_signed else decimal)(number * self.scale, self.digits)
        return f"{text} {self.unit}".rstrip()

    def interval(self, found: Estimate | None) -> str:
        """Return '[48.0, 56.3]'; empty if there is none."""
        if found is None or found.interval is None:
            return ""
        low, high = (decimal(end * self.scale, self.digits) for end in (found.interval.low, found.interval.high))
        return f"[{low}, {high}]"

    def full(self, found: Estimate | None) -> str:
        """Return a number and its interval."""
        return f"{self.value(found)} {self.interval(found)}".rstrip()


SHARE = NumberForm(digits=1, scale=100, unit="%")
WHOLE_SHARE = NumberForm(digits=0, scale=100, unit="%")
POINTS = NumberForm(digits=1, scale=100, is_signed=True)
"""A difference of shares."""
NUMBER = NumberForm()
CHANGE = NumberForm(is_signed=True)
COUNT = NumberForm(write=lambda number: f"{number:,.0f}")
COMPACT = NumberForm(write=compact)


def metric_form(metric: MetricColumn) -> NumberForm:
    """Return how values of the metric are written: an accuracy in per cent, a score as a number."""
    return SHARE if metric.kind == "accuracy" else NUMBER


def difference_form(metric: MetricColumn) -> NumberForm:
    """Return how differences in the metric are written: of an accuracy in percentage points."""
    return POINTS if metric.kind == "accuracy" else CHANGE


def _signless(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)
