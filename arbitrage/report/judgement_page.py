"""A judgement as one self-contained page, in the looks of the run report: win rates drawn with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

from arbitrage.judging.figures import ALL, JudgeFigures, Standing
from arbitrage.languages import name_of
from arbitrage.report import judgement_terminal as words
from arbitrage.report.dotplot import Axis, Dot, axis_over, dot, ends
from arbitrage.report.judgement import Judgement
from arbitrage.report.page import render_page
from arbitrage.report.strategy_view import Tick


@dataclass(frozen=True, slots=True)
class StandingLine:
    """One language as it is shown."""

    name: str
    tag: str
    standing: Standing
    dot: Dot | None


@dataclass(frozen=True, slots=True)
class JudgeView:
    """One judge as it is shown."""

    figures: JudgeFigures
    lines: tuple[StandingLine, ...]
    ticks: tuple[Tick, ...]
    even_at: float
    verdict: str


def render_judgement(found: Judgement) -> str:
    """Return the page."""
    views = [_view(found, figures) for figures in found.judges]
    return render_page(
        "judgement.html.j2", title=f"{found.a} against {found.b}", judged=found, judges=views, words=words
    )


def _view(found: Judgement, figures: JudgeFigures) -> JudgeView:
    axis = axis_over([0.5, *ends([s.win_rate for s in figures.standings])], bounds=(0.0, 1.0))
    return JudgeView(
        figures,
        tuple(_line(s, axis) for s in figures.standings),
        tuple(Tick(axis.place(t), f"{100 * t:g} %") for t in axis.ticks),
        axis.place(0.5),
        verdict_on(found, figures.standings),
    )


def _line(standing: Standing, axis: Axis) -> StandingLine:
    tag = standing.language
    return StandingLine("all" if tag == ALL else name_of(tag), tag, standing, dot(axis, standing.win_rate))


def verdict_on(found: Judgement, standings: Sequence[Standing]) -> str:
    """Say who wins, in a sentence that claims no more than the interval does."""
    net = standings[0].net
    if net is None or net.interval is None:
        return f"{found.a} and {found.b}: too few prompts to tell them apart"
    if not net.interval.excludes_zero:
        return f"{found.a} and {found.b} cannot be told apart"
    better, worse = (found.a, found.b) if net.value > 0 else (found.b, found.a)
    return f"{better} beats {worse}"
