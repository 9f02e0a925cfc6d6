"""A judgement as one self-contained page, in the looks of the run report: win rates drawn with their intervals.

Win rates and the judge's reliability as tables on a terminal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from arbitrage.judging.figures import ALL, JudgeFigures, SourceFigures, WinRateRow
from arbitrage.languages import name_of
from arbitrage.report import judge_page as words
from arbitrage.report.charts import Axis, Dot, axis_over, dot, ends
from arbitrage.report.formatting import ABSENT, decimal, percent, signed
from arbitrage.report.judge_report import JudgeReport
from arbitrage.report.page import render_page
from arbitrage.report.strategy_view import Tick
from arbitrage.statistics import Estimate


@dataclass(frozen=True, slots=True)
class StandingLine:
    """One language as it is shown."""

    name: str
    tag: str
    standing: WinRateRow
    dot: Dot | None


@dataclass(frozen=True, slots=True)
class JudgeView:
    """One judge as it is shown."""

    figures: JudgeFigures
    lines: tuple[StandingLine, ...]
    ticks: tuple[Tick, ...]
    even_at: float
    verdict: str


def render_judgement(found: JudgeReport) -> str:
    """Return the page."""
    views = [_view(found, figures) for figures in found.judges]
    return render_page(
        "judgement.html.j2", title=f"{found.a} against {found.b}", judged=found, judges=views, words=words
    )


def _view(found: JudgeReport, figures: JudgeFigures) -> JudgeView:
    axis = axis_over([0.5, *ends([s.win_rate for s in figures.standings])], bounds=(0.0, 1.0))
    return JudgeView(
        figures,
        tuple(_line(s, axis) for s in figures.standings),
        tuple(Tick(axis.place(t), f"{100 * t:g} %") for t in axis.ticks),
        axis.place(0.5),
        verdict_on(found, figures.standings),
    )


def _line(standing: WinRateRow, axis: Axis) -> StandingLine:
    tag = standing.language
    return StandingLine("all" if tag == ALL else name_of(tag), tag, standing, dot(axis, standing.win_rate))


def verdict_on(found: JudgeReport, standings: Sequence[WinRateRow]) -> str:
    """Say who wins, in a sentence that claims no more than the interval does."""
    net = standings[0].net
    if net is None or net.interval is None:
        return f"{found.a} and {found.b}: too few prompts to tell them apart"
    if not net.interval.excludes_zero:
        return f"{found.a} and {found.b} cannot be told apart"
    better, worse = (found.a, found.b) if net.value > 0 else (found.b, found.a)
    return f"{better} beats {worse}"


def judgement_tables(found: JudgeReport) -> Iterator[Table | str]:
    """Yield the alarms; for each judge who wins and how far the judge can be trusted; then what to beware of."""
    for alarm in found.alarms:
        yield f"ALARM {alarm.sentence}"
    for figures in found.judges:
        yield _wins(found, figures)
        yield _trust(figures)
        if figures.witnesses:
            yield _agreement(figures)
    for what, count in found.lost.items():
        yield f"left out: {what}: {count:,}"
    for caution in found.cautions:
        yield f"caution: {caution}"


def share(found: Estimate | None) -> str:
    """Say a share and its interval: '52.1 % [48.0, 56.3]'."""
    if found is None:
        return ABSENT
    bounds = found.interval
    return percent(found.value) + (
        f" [{decimal(bounds.low * 100, 1)}, {decimal(bounds.high * 100, 1)}]" if bounds else ""
    )


def points(found: Estimate | None) -> str:
    """Say a difference of shares in percentage points, and its interval."""
    if found is None:
        return ABSENT
    bounds = found.interval
    inside = f" [{decimal(bounds.low * 100, 1)}, {decimal(bounds.high * 100, 1)}]" if bounds else ""
    return signed(found.value * 100, 1) + inside


def coefficient(found: Estimate | None) -> str:
    """Say a coefficient and its interval."""
    if found is None:
        return ABSENT
    bounds = found.interval
    return decimal(found.value) + (f" [{decimal(bounds.low)}, {decimal(bounds.high)}]" if bounds else "")


def language(tag: str) -> str:
    """Return a language as tables show it."""
    return "all" if tag == ALL else tag


def _wins(found: JudgeReport, figures: JudgeFigures) -> Table:
    table = _table(f"{found.a} (A) against {found.b} (B), judged by {figures.judge}")
    table.caption = "win rate: wins of A and half the ties; 95 % intervals, paired, over clusters of prompts"
    rows = [
        (
            language(s.language),
            f"{s.num_matches:,}",
            share(s.win_rate),
            percent(s.a_wins.value if s.a_wins else None),
            percent(s.ties.value if s.ties else None),
            percent(s.b_wins.value if s.b_wins else None),
            points(s.net),
        )
        for s in figures.standings
    ]
    return _filled(table, ("lang.", "matches", "win rate of A", "A", "tie", "B", "A − B"), rows)


def _trust(figures: JudgeFigures) -> Table:
    table = _table(f"Can {figures.judge} be trusted?")
    if figures.asks_twice:
        table.caption = (
            "consistency: both orders agree; first: verdicts for the answer that stood first, 50 % is fair"
        )
    headings = ["lang.", "no verdict", "identical", "length r"]
    headings += ["consistency", "first"] if figures.asks_twice else []
    rows = [_trusted(standing, asks_twice=figures.asks_twice) for standing in figures.standings]
    return _filled(table, headings, rows)


def _trusted(standing: WinRateRow, *, asks_twice: bool) -> list[str]:
    trust = standing.reliability
    cells = [
        language(standing.language),
        f"{trust.num_failed:,}",
        f"{trust.num_identical:,}",
        coefficient(trust.length),
    ]
    return cells + ([share(trust.consistency), share(trust.first_position)] if asks_twice else [])


def _agreement(figures: JudgeFigures) -> Table:
    table = _table(f"{figures.judge} beside others, on the same matches")
    rows = [(w.other, language(w.language), *_cells(w)) for w in figures.witnesses]
    return _filled(table, ("with", "lang.", "verdicts", "agree", "Cohen’s κ", "Scott’s π"), rows)


def _cells(witness: SourceFigures) -> tuple[str, ...]:
    found = witness.agreement
    return f"{found.num:,}", share(found.observed), coefficient(found.kappa), coefficient(found.pi)


def _table(title: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold", caption_justify="left"
    )
    table.title = title
    return table


def _filled(table: Table, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for place, row in enumerate(rows):
        table.add_row(*row, style="bold" if row[0] == "all" and not place else None)
    return table
