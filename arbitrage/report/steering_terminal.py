"""Steering as tables on a terminal: before, control, steered, and what it cost; what else moved; what fell short."""

from collections.abc import Iterator

from rich import box
from rich.table import Table

from arbitrage.report.formatting import decimal, signed
from arbitrage.report.steering import ALL, Aim, Shift, SteeringSummary
from arbitrage.report.steering_reading import CHECK
from arbitrage.statistics import Estimate

MOVED_SHOWN = 6
EXACT = "exact"


def steering_tables(found: SteeringSummary) -> Iterator[Table | str]:
    """Yield a table for each objective, then a few lines."""
    for aim in found.aims:
        yield _aim_table(aim, found)
    yield from _verdicts(found)
    yield _moved(found)
    yield from _fallen_short(found)


def _aim_table(aim: Aim, found: SteeringSummary) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
    table.title = f"Steered to {aim.label}, on {found.num_cases:,} prompts"
    table.caption = "before: all candidates; control: one at random of the same; 95 % intervals; reward in deviations"
    table.caption_justify = "left"
    table.add_column("lang.", no_wrap=True)
    for heading in ("before", "control", "steered", "steered − control", "reward − control"):
        table.add_column(heading, justify="right", no_wrap=True)
    costs = {shift.language: shift for shift in found.cost}
    for shift in aim.shifts:
        cost = costs.get(shift.language)
        means = [number(each) for each in (shift.before, shift.control, shift.steered)]
        difference, paid = with_interval(shift.difference), with_interval(cost.difference if cost else None)
        is_all = shift.language == ALL
        table.add_row(
            "all" if is_all else shift.language, *means, difference, paid, style="bold" if is_all else None,
            end_section=is_all,
        )  # fmt: skip
    return table


def number(found: Estimate | None) -> str:
    """Say a mean; a dash where there is none."""
    return "–" if found is None else decimal(found.value)


def with_interval(found: Estimate | None) -> str:
    """Say a difference and its interval."""
    if found is None:
        return "–"
    if found.interval is None:
        return signed(found.value)
    return f"{signed(found.value)} [{decimal(found.interval.low)}, {decimal(found.interval.high)}]"


def is_clear(shift: Shift) -> bool:
    """Tell whether the interval of a shift excludes zero."""
    return bool(shift.effect and shift.effect.interval and shift.effect.interval.excludes_zero)


def _verdicts(found: SteeringSummary) -> Iterator[str]:
    for shift in found.others:
        if shift.metric.removeprefix(CHECK).startswith(EXACT):
            means = " → ".join(number(each) for each in (shift.before, shift.control, shift.steered))
            yield (
                f"right by {shift.metric.removeprefix(CHECK)}, before → control → steered: {means} "
                f"(steered − control {with_interval(shift.difference)})"
            )


def _moved(found: SteeringSummary) -> str:
    moved = [shift for shift in found.others if is_clear(shift)]
    told = ", ".join(f"{s.metric} {signed(s.effect.value)}" for s in moved[:MOVED_SHOWN] if s.effect)
    more = f" and {len(moved) - MOVED_SHOWN} more" if len(moved) > MOVED_SHOWN else ""
    return f"moved besides, of {len(found.others)} metrics nobody asked to move: {told or 'none clearly'}{more}"


def _fallen_short(found: SteeringSummary) -> Iterator[str]:
    for row in found.shortfalls:
        if row.wanted is not None and row.missing:
            why = ", ".join(f"{reason} {count}" for reason, count in row.reasons.items()) or "no more prompts"
            yield f"short of {row.language}: {row.written} of {row.wanted} rows ({why})"
