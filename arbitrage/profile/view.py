"""Profiles and comparisons as tables: means by language, teacher and source, and the largest clear shifts."""

from collections.abc import Sequence

from arbitrage.profile.compare import MetricShift, ProfileComparison
from arbitrage.profile.profile import CellKey, Profile
from arbitrage.profile.summary import PARTIAL, PARTIAL_NOTE, CellSummary, MetricFigures
from arbitrage.report.charts import axis_over, ends
from arbitrage.report.formatting import ABSENT, CHANGE, COUNT, NumberForm, compact, decimal
from arbitrage.report.rendering import Column, Figures, Group, Plot, Row, ungrouped
from arbitrage.statistics import Estimate

MAX_COLUMNS = 8
MAX_SHIFTS = 30


def profile_figures(profile: Profile, cells: Sequence[CellSummary]) -> list[Figures]:
    """Return one table for each grouping of the texts that has several groups: by language, teacher, source."""
    by_key = {cell.key: cell for cell in cells}
    axes = {
        "language": [CellKey(language=tag) for tag in profile.languages],
        "teacher": [CellKey(teacher=name) for name in profile.teachers],
        "source": [CellKey(source=name) for name in profile.sources],
    }
    tables = []
    for axis, keys in axes.items():
        if axis == "language" or len(keys) > 1:
            columns = sorted((by_key[key] for key in keys), key=lambda cell: -cell.num_texts)
            tables.append(_means_by(profile, axis, columns, by_key[CellKey()]))
    return tables


def clear_shifts(found: ProfileComparison) -> list[MetricShift]:
    """Return the clear shifts, the largest first."""
    return sorted((s for s in found.shifts if s.is_clear), key=lambda s: -abs(s.effect.d or 0.0))


def shift_figures(found: ProfileComparison, most: int = MAX_SHIFTS) -> Figures:
    """Return the largest clear shifts, and their number."""
    clear = clear_shifts(found)
    shown = clear[:most]
    effects = [Estimate(s.effect.d or 0.0, s.effect.interval) for s in shown]
    plot = Plot(axis_over([0.0, *ends(effects)]), CHANGE.value, 0.0)
    rows = [
        Row(
            shift.metric,
            (shift.language, shift.effect.before, shift.effect.after, effect, effect, shift.effect.delta),
        )
        for shift, effect in zip(shown, effects, strict=True)
    ]
    return Figures(
        title=f"{found.before} → {found.after}",
        corner="metric",
        columns=(
            Column("language", overflow="fold"),
            Column("before", NUMBER),
            Column("after", NUMBER),
            Column("Cohen’s d", CHANGE, plot=plot, media=("page",)),
            Column("Cohen’s d", CHANGE),
            Column("Cliff’s δ", CHANGE),
        ),
        groups=ungrouped(rows),
        notes=tuple(_about_shifts(found, len(clear), len(shown))),
    )


def number(value: float | None) -> str:
    """Return a figure in about three digits: 1234.5 as '1,234', 0.0123 as '0.012'."""
    if value is None:
        return ABSENT
    return compact(value) if abs(value) >= 1000 else decimal(value, 3 if abs(value) < 10 else 1)


NUMBER = NumberForm(write=number)


def mean_of(found: MetricFigures) -> str:
    """Return a mean, with a mark if it covers too few of the texts."""
    return number(found.mean) + (PARTIAL if found.num and found.is_partial else "")


def _means_by(profile: Profile, axis: str, columns: Sequence[CellSummary], total: CellSummary) -> Figures:
    shown = columns[:MAX_COLUMNS]
    texts = Row("texts", (*(COUNT.value(cell.num_texts) for cell in (total, *shown)), ""))
    rows = []
    for config in profile.metrics:
        figures = [cell.figures[config.metric_name] for cell in (total, *shown)]
        if any(found.num for found in figures):
            rows.append(Row(config.metric_name, (*map(mean_of, figures), figures[0].why_null)))
    for set_config in profile.set_metrics:
        found = [cell.of_set.get(set_config.metric_name) for cell in (total, *shown)]
        if any(m and m.value is not None for m in found):
            why = found[0].reason if found[0] else None
            rows.append(Row(set_config.metric_name, (*(m.value if m else None for m in found), why or "")))
    names = [str(getattr(cell.key, axis)) for cell in shown]
    return Figures(
        title=f"{profile.name}: means by {axis}",
        corner="metric",
        columns=(
            Column("all", NUMBER),
            *(Column(name, NUMBER, overflow="fold") for name in names),
            Column("without a value", overflow="fold", is_faint=True),
        ),
        groups=(Group((texts,)), Group(tuple(rows))),
        notes=tuple(_about_means(profile, shown, len(columns), total)),
    )


def _about_means(profile: Profile, shown: Sequence[CellSummary], num_columns: int, total: CellSummary) -> list[str]:
    """Say what the table leaves out."""
    notes = [f"{num_columns - len(shown)} more in --json and --html"] if len(shown) < num_columns else []
    if any(cell.figures[m.metric_name].is_partial for cell in (total, *shown) for m in profile.metrics):
        notes.append(PARTIAL_NOTE)
    figures = {config.metric_name: total.figures[config.metric_name] for config in profile.metrics}
    nothing = [f"{name} ({found.why_null})" for name, found in figures.items() if not found.num and found.nulls]
    return [*notes, f"no text has a value of {', '.join(nothing)}"] if nothing else notes


def _about_shifts(found: ProfileComparison, num_clear: int, num_shown: int) -> list[str]:
    tested = sum(shift.q is not None for shift in found.shifts)
    lines = [f"{num_clear} of {tested} shifts are clear at a false discovery rate of 5 % (Benjamini–Hochberg)"]
    if num_clear > num_shown:
        lines.append(f"the {num_shown} largest are shown; --json and --html have all")
    for name, tags in ((found.before, found.only_before), (found.after, found.only_after)):
        if tags:
            lines.append(f"only in {name}: {', '.join(tags)}")
    if not tested:
        lines.append("fewer than 10 prompts on a side have no intervals" if found.languages else "no common language")
    return lines
