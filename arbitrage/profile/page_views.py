"""The heatmaps and lines of the page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from arbitrage.languages import name_of
from arbitrage.metrics.options import Facts
from arbitrage.profile.compare import ProfileComparison
from arbitrage.profile.profile import CellKey, Profile
from arbitrage.profile.summary import PARTIAL_NOTE, CellSummary
from arbitrage.profile.view import mean_of, number
from arbitrage.report.charts import Heatmap, HeatmapCell, HeatRow
from arbitrage.report.formatting import ABSENT, signed

FAMILIES = {
    "length": "Length",
    "diversity": "Diversity",
    "readability": "Readability",
    "repetition": "Repetition",
    "language": "Language",
    "format": "Layout",
    "model": "By models",
    "set": "All texts together",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A family of metrics, each language by teacher or by source."""

    title: str
    maps: tuple[Heatmap, ...]


def language_map(profile: Profile, cells: Sequence[CellSummary]) -> Heatmap:
    """Return languages × metrics: means, each metric tinted from its lowest language to its highest."""
    by_key = {cell.key: cell for cell in cells}
    rows = [(name_of(tag), tag, by_key[CellKey(language=tag)]) for tag in profile.languages]
    names = [config.metric_name for config in (*profile.metrics, *profile.set_metrics)]
    grid = [[_shown(cell, name) for name in names] for _, _, cell in rows]
    kept = [i for i in range(len(names)) if any(row[i].value is not None for row in grid)]
    columns = [_tinted([row[i] for row in grid]) for i in kept]
    counts = tuple(HeatmapCell(f"{cell.num_texts:,}", None, False) for _, _, cell in rows)
    lines = [HeatRow(label, tag, (counts[k], *(c[k] for c in columns))) for k, (label, tag, _) in enumerate(rows)]
    heads = ("texts", *(names[i].replace("_", " ") for i in kept))
    return Heatmap(f"Means by language{_note(c for row in grid for c in row)}", "", heads, tuple(lines), "heat")


def sections(profile: Profile, cells: Sequence[CellSummary]) -> tuple[Section, ...]:
    """Return for each family a map of each metric: languages × teachers, or sources if there are only those."""
    axis = "teacher" if len(profile.teachers) > 1 else "source" if len(profile.sources) > 1 else None
    if axis is None:
        return ()
    labels = profile.teachers if axis == "teacher" else profile.sources
    by_key = {cell.key: cell for cell in cells}
    found = []
    for family, title in FAMILIES.items():
        configs = [c for c in (*profile.metrics, *profile.set_metrics) if c.family == family]
        maps = [
            _metric_map(profile, by_key, config.metric_name, _caption(config.stated), axis, labels)
            for config in configs
        ]
        if kept := tuple(each for each in maps if each is not None):
            found.append(Section(title, kept))
    return tuple(found)


def shift_map(found: ProfileComparison) -> Heatmap | None:
    """Return metrics × languages: Cohen's d, with a mark if it is clear; None without a common language."""
    by_place = {(shift.metric, shift.language): shift for shift in found.shifts}
    rows = []
    for name in dict.fromkeys(shift.metric for shift in found.shifts):
        cells = []
        for tag in found.languages:
            shift = by_place[name, tag]
            d = shift.effect.d
            if d is None:
                cells.append(HeatmapCell(ABSENT, None, False))
            else:
                cells.append(HeatmapCell(f"{signed(d)}{'*' if shift.is_clear else ''}", min(1.0, abs(d)), d < 0))
        if any(cell.strength is not None for cell in cells):
            rows.append(HeatRow(name.replace("_", " "), "", tuple(cells)))
    if not rows:
        return None
    return Heatmap("Cohen’s d; * where clear", "", found.languages, tuple(rows), "diverging")


def set_shift_map(found: ProfileComparison) -> Heatmap | None:
    """Return metrics of sets × languages: before → after; None if no language has both."""
    by_place = {(shift.metric, shift.language): shift for shift in found.set_shifts}
    rows = []
    for name in dict.fromkeys(shift.metric for shift in found.set_shifts):
        shifts = [by_place[name, tag] for tag in found.languages]
        if any(shift.before.value is not None and shift.after.value is not None for shift in shifts):
            texts = (f"{number(shift.before.value)} → {number(shift.after.value)}" for shift in shifts)
            rows.append(HeatRow(name.replace("_", " "), "", tuple(HeatmapCell(text, None, False) for text in texts)))
    return Heatmap("Before → after, without intervals", "", found.languages, tuple(rows), "heat") if rows else None


def _metric_map(
    profile: Profile,
    by_key: dict[CellKey, CellSummary],
    name: str,
    caption: str,
    axis: str,
    labels: Sequence[str],
) -> Heatmap | None:
    grid = [
        [_shown(by_key.get(_key(tag, axis, label)), name) for label in labels]
        + [_shown(by_key.get(CellKey(language=tag)), name)]
        for tag in profile.languages
    ]
    flat = _tinted([value for row in grid for value in row])
    if all(cell.strength is None for cell in flat):
        return None
    width = len(labels) + 1
    rows = [
        HeatRow(name_of(tag), tag, tuple(flat[i * width : (i + 1) * width]))
        for i, tag in enumerate(profile.languages)
    ]
    return Heatmap(caption + _note(c for row in grid for c in row), "", (*labels, "all"), tuple(rows), "heat")


def _caption(facts: Facts) -> str:
    """Return the metric's title, with its unit if the title does not contain it."""
    return facts.title if facts.unit in facts.title else f"{facts.title}, {facts.unit}"


def _key(language: str, axis: str, label: str) -> CellKey:
    return CellKey(language, label, None) if axis == "teacher" else CellKey(language, None, label)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A figure and its text; `is_partial` if it leaves out more than a few of the texts."""

    value: float | None
    text: str = ABSENT
    is_partial: bool = False


def _shown(cell: CellSummary | None, name: str) -> _Shown:
    if cell is not None and name in cell.figures:
        figures = cell.figures[name]
        return _Shown(figures.mean, mean_of(figures), bool(figures.num) and figures.is_partial)
    value = cell.of_set[name].value if cell is not None and name in cell.of_set else None
    return _Shown(value, number(value))


def _note(shown: Iterable[_Shown]) -> str:
    return f" ({PARTIAL_NOTE})" if any(each.is_partial for each in shown) else ""


def _tinted(shown: Sequence[_Shown]) -> list[HeatmapCell]:
    """Return cells from blank at the lowest value to three quarters of the colour at the highest."""
    present = [each.value for each in shown if each.value is not None]
    low, high = (min(present), max(present)) if present else (0.0, 0.0)
    span = (high - low) or 1.0
    return [HeatmapCell(s.text, None if s.value is None else 0.75 * (s.value - low) / span, False) for s in shown]
