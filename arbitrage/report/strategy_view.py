"""Strategies as the report shows them: grouped by budget, with dots and intervals on one axis."""

from collections.abc import Sequence
from dataclasses import dataclass

from arbitrage.report.charts import Axis, Dot, axis_over, dot, ends
from arbitrage.report.comparing import StrategyRow
from arbitrage.report.formatting import (
    MINUS,
    metric_difference,
    metric_interval,
    metric_value,
    percent,
    share,
    signed,
)
from arbitrage.report.strategies import Budget
from arbitrage.report.summary import Judged, RunSummary

_ORDER: tuple[Budget, ...] = ("one", "matched", "teachers", "all")


@dataclass(frozen=True, slots=True)
class StrategyLine:
    """One strategy, every number as text."""

    name: str
    note: str
    value: str
    interval: str
    dot: Dot | None
    difference: str
    difference_interval: str
    relative: str
    matched: str
    matched_interval: str
    gap_closed: str
    coverage: str
    answers_few: bool
    generations: str
    is_baseline: bool
    uses_hindsight: bool
    is_arbitrage: bool


@dataclass(frozen=True, slots=True)
class Group:
    """The strategies of one budget, best first, those with hindsight last."""

    budget: Budget
    title: str
    lines: tuple[StrategyLine, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class StrategyView:
    """The chart and the table, which are one."""

    groups: tuple[Group, ...]
    ticks: tuple[Tick, ...]
    baseline_at: float | None
    has_relative: bool
    has_matched: bool
    has_gap: bool

    @property
    def num_columns(self) -> int:
        """Columns of the table."""
        return 6 + self.has_relative + self.has_matched + self.has_gap


def strategy_view(judged: Judged) -> StrategyView:
    """Lay out the strategies."""
    rows = judged.overall.rows
    bounds = (0.0, 1.0) if judged.metric.kind == "accuracy" else None
    axis = axis_over(ends([r.value for r in rows]), bounds=bounds)
    groups = []
    for budget in _ORDER:
        inside = sorted((r for r in rows if r.budget == budget), key=lambda row: _best_first(judged, row))
        if inside:
            lines = tuple(_line(judged, r, axis) for r in inside)
            groups.append(Group(budget, _title(budget, inside), lines))
    best = judged.row("best single", "one")
    return StrategyView(
        groups=tuple(groups),
        ticks=tuple(Tick(axis.place(t), tick(judged, t)) for t in axis.ticks),
        baseline_at=axis.place(best.value.value) if best and best.value else None,
        has_relative=judged.metric.kind == "accuracy",
        has_matched=any(r.matched for r in rows),
        has_gap=any(r.gap_closed is not None for r in rows),
    )


@dataclass(frozen=True, slots=True)
class LanguageLine:
    """One language: what the main strategies reach, and reward − best single."""

    name: str
    tag: str
    num_prompts: int
    values: tuple[str, ...]
    difference: str
    difference_interval: str
    dot: Dot | None


@dataclass(frozen=True, slots=True)
class LanguageView:
    """The per-language table."""

    columns: tuple[str, ...]
    lines: tuple[LanguageLine, ...]
    ticks: tuple[Tick, ...]
    zero_at: float
    compared: str


def language_view(summary: RunSummary, judged: Judged) -> LanguageView:
    """Lay out the languages, the largest gain first."""
    wanted = _columns(judged)
    last = ("reward", next((b for b in ("all", "teachers") if judged.row("reward", b)), "all"))
    names = {language.tag: language.name for language in summary.languages}
    found = []
    for each in judged.by_language:
        rows = {(r.name, r.budget): r for r in each.rows}
        found.append((each, rows, rows[last].difference if last in rows else None))
    found.sort(key=lambda item: -item[2].value if item[2] else 0.0)
    axis = axis_over([0.0, *ends([difference for _, _, difference in found])], num_ticks=4)
    lines = [
        LanguageLine(
            name=names[each.language],
            tag=each.language,
            num_prompts=each.num_prompts,
            values=tuple(_value(judged, rows.get(key)) for key, _ in wanted),
            difference=metric_difference(judged.metric, difference.value if difference else None),
            difference_interval=metric_interval(judged.metric, difference),
            dot=dot(axis, difference),
        )
        for each, rows, difference in found
    ]
    ticks = tuple(Tick(axis.place(t), signed_tick(judged, t)) for t in axis.ticks)
    compared = f"reward − {judged.best_single}"
    return LanguageView(tuple(title for _, title in wanted), tuple(lines), ticks, axis.place(0.0), compared)


def _columns(judged: Judged) -> list[tuple[tuple[str, Budget], str]]:
    wanted: list[tuple[tuple[str, Budget], str]] = [
        (("best single", "one"), f"best single ({judged.best_single})"),
        (("best per language", "one"), "best per language"),
        (("uniform", "one"), "uniform"),
    ]
    shown = {"best single", "best per language", "uniform", "oracle router"}
    routed = [r for r in judged.overall.rows if r.budget == "one" and not r.name.startswith("single:")]
    wanted += [((r.name, r.budget), f"{r.name} router") for r in routed if r.name not in shown]
    wanted += [(("reward", "teachers"), "reward, one of each"), (("reward", "all"), "reward, all answers")]
    wanted += [(("oracle router", "one"), "oracle router")]
    present = {(r.name, r.budget) for r in judged.overall.rows}
    return [(key, title) for key, title in wanted if key in present]


def _value(judged: Judged, row: StrategyRow | None) -> str:
    text = metric_value(judged.metric, row.value.value if row and row.value else None)
    is_partial = row is not None and judged.metric.kind == "score" and row.coverage < 0.995
    return f"{text} (of {share(row.coverage)})" if row is not None and is_partial else text


def _best_first(judged: Judged, row: StrategyRow) -> tuple[bool, bool, float, str]:
    value = row.value.value if row.value else float("-inf")
    return (row.uses_hindsight, _answers_few(judged, row), -value, row.name)


def _answers_few(judged: Judged, row: StrategyRow) -> bool:
    """Tell whether a mean score is over so few prompts that it may be high because they are easy.

    An accuracy counts absent answers as wrong, so it needs no such mark.
    """
    most = max(each.coverage for each in judged.overall.rows)
    return judged.metric.kind == "score" and 2 * row.coverage < most


def _title(budget: Budget, rows: Sequence[StrategyRow]) -> str:
    paid = max(r.generations_per_prompt for r in rows)
    number = f"{paid:.1f}".removesuffix(".0")
    return {
        "one": "One answer per prompt",
        "matched": f"{number} answers per prompt, from one teacher or from several",
        "teachers": f"One answer of every teacher asked: {number} per prompt",
        "all": f"Every recorded answer: {number} per prompt",
    }[budget]


def tick(judged: Judged, value: float) -> str:
    """Return the label of a mark on an axis of the metric."""
    return f"{value * 100:g} %" if judged.metric.kind == "accuracy" else f"{value:g}".replace("-", MINUS)


def signed_tick(judged: Judged, value: float) -> str:
    """Return the label of a mark on an axis of differences."""
    shown = value * 100 if judged.metric.kind == "accuracy" else value
    return f"{shown:+g}".replace("-", MINUS) if shown else "0"


def _line(judged: Judged, row: StrategyRow, axis: Axis) -> StrategyLine:
    metric = judged.metric
    return StrategyLine(
        name=row.name,
        note=row.note,
        value=metric_value(metric, row.value.value if row.value else None),
        interval=metric_interval(metric, row.value),
        dot=dot(axis, row.value),
        difference=metric_difference(metric, row.difference.value if row.difference else None),
        difference_interval=metric_interval(metric, row.difference),
        relative=f"{signed(row.relative.value * 100, 1)} %" if row.relative else "",
        matched=metric_difference(metric, row.matched.value if row.matched else None),
        matched_interval=metric_interval(metric, row.matched),
        gap_closed=percent(row.gap_closed, 0),
        coverage=share(row.coverage),
        answers_few=_answers_few(judged, row),
        generations=f"{row.generations_per_prompt:.1f}".removesuffix(".0"),
        is_baseline=(row.name, row.budget) == ("best single", "one"),
        uses_hindsight=row.uses_hindsight,
        is_arbitrage=row.name == "reward",
    )
