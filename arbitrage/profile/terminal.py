"""Profiles and comparisons as tables on a terminal."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from arbitrage.profile.compare import MetricShift, ProfileComparison
from arbitrage.profile.profile import CellKey, Profile
from arbitrage.profile.summary import PARTIAL, PARTIAL_NOTE, CellSummary, Figures
from arbitrage.report.formatting import ABSENT, compact, decimal, signed

MAX_COLUMNS = 8


def profile_tables(profile: Profile, cells: Sequence[CellSummary]) -> list[Table]:
    """Return one table for each way to part the texts that parts them: by language, teacher, source."""
    by_key = {cell.key: cell for cell in cells}
    axes = {
        "language": [CellKey(language=tag) for tag in profile.languages],
        "teacher": [CellKey(teacher=name) for name in profile.teachers],
        "source": [CellKey(source=name) for name in profile.sources],
    }
    tables = []
    for axis, keys in axes.items():
        if axis == "language" or len(keys) > 1:
            columns = [by_key[key] for key in keys]
            columns.sort(key=lambda cell: -cell.num_texts)
            tables.append(_table(profile, axis, columns, by_key[CellKey()]))
    return tables


def shift_table(found: ProfileComparison, num_rows: int = 25) -> Table:
    """Return the largest clear shifts, and how many there are."""
    clear = sorted((s for s in found.shifts if s.is_clear), key=lambda s: -abs(s.effect.d or 0.0))
    tested = sum(shift.q is not None for shift in found.shifts)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
    table.title = f"{found.before} → {found.after}"
    table.caption = _caption(found, len(clear), tested, num_rows)
    table.caption_justify = "left"
    table.add_column("metric", no_wrap=True)
    table.add_column("language", overflow="fold")
    for heading in ("before", "after", "Cohen's d", "95 %", "Cliff's δ"):
        table.add_column(heading, justify="right", no_wrap=True)
    for shift in clear[:num_rows]:
        table.add_row(*_shift_cells(shift))
    return table


def number(value: float | None) -> str:
    """Return a figure in three digits or so: 1234.5 as '1,234', 0.0123 as '0.012'."""
    if value is None:
        return ABSENT
    return compact(value) if abs(value) >= 1000 else decimal(value, 3 if abs(value) < 10 else 1)


def mean_of(found: Figures) -> str:
    """Return a mean, marked where it is not that of nearly all texts."""
    return number(found.mean) + (PARTIAL if found.num and found.is_partial else "")


def _table(profile: Profile, axis: str, columns: Sequence[CellSummary], total: CellSummary) -> Table:
    shown = columns[:MAX_COLUMNS]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
    table.title = f"{profile.name}: means by {axis}"
    table.caption = "\n".join(_notes(profile, shown, len(columns), total))
    table.caption_justify = "left"
    table.add_column("metric", no_wrap=True)
    table.add_column("all", justify="right", style="bold")
    for cell in shown:
        table.add_column(str(getattr(cell.key, axis)), justify="right", overflow="fold", min_width=6)
    table.add_column("without a value", overflow="fold", style="dim")
    table.add_row("texts", *(f"{cell.num_texts:,}" for cell in (total, *shown)), "", end_section=True)
    for config in profile.metrics:
        figures = [cell.figures[config.metric_name] for cell in (total, *shown)]
        if any(found.num for found in figures):
            table.add_row(config.metric_name, *map(mean_of, figures), figures[0].why_null)
    for set_config in profile.set_metrics:
        found = [cell.of_set.get(set_config.metric_name) for cell in (total, *shown)]
        if any(m and m.value is not None for m in found):
            why = found[0].reason if found[0] else None
            table.add_row(set_config.metric_name, *(number(m.value) if m else ABSENT for m in found), why or "")
    return table


def _notes(profile: Profile, shown: Sequence[CellSummary], num_columns: int, total: CellSummary) -> list[str]:
    """Say what the table does not hold."""
    notes = [f"{num_columns - len(shown)} more in --json and --html"] if len(shown) < num_columns else []
    if any(cell.figures[m.metric_name].is_partial for cell in (total, *shown) for m in profile.metrics):
        notes.append(PARTIAL_NOTE)
    figures = {config.metric_name: total.figures[config.metric_name] for config in profile.metrics}
    nothing = [f"{name} ({found.why_null})" for name, found in figures.items() if not found.num and found.nulls]
    return [*notes, f"no text has a value of {', '.join(nothing)}"] if nothing else notes


def _caption(found: ProfileComparison, num_clear: int, tested: int, num_rows: int) -> str:
    lines = [f"{num_clear} of {tested} shifts are clear at a false discovery rate of 5 % (Benjamini–Hochberg)"]
    if num_clear > num_rows:
        lines.append(f"the {num_rows} largest are shown; --json and --html have all")
    for name, tags in ((found.before, found.only_before), (found.after, found.only_after)):
        if tags:
            lines.append(f"only in {name}: {', '.join(tags)}")
    if not tested:
        lines.append("fewer than 10 prompts on a side have no intervals" if found.languages else "no common language")
    return "\n".join(lines)


def _shift_cells(shift: MetricShift) -> tuple[Text, ...]:
    effect = shift.effect
    interval = f"[{signed(effect.interval.low)}, {signed(effect.interval.high)}]" if effect.interval else ""
    cells = (number(effect.before), number(effect.after), signed(effect.d), interval, signed(effect.delta))
    return tuple(Text(text) for text in (shift.metric, shift.language, *cells))
