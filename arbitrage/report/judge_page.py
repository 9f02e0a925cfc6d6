"""Judge figures as tables, and as one self-contained page: win rates drawn with their intervals."""

from collections.abc import Iterator, Sequence

from arbitrage.judging.figures import ALL, JudgeFigures, WinRateRow
from arbitrage.languages import name_of
from arbitrage.report.charts import axis_over, ends
from arbitrage.report.formatting import COUNT, NUMBER, POINTS, SHARE
from arbitrage.report.judge_report import JudgeReport
from arbitrage.report.page import render_page
from arbitrage.report.rendering import Cell, Column, Figures, Plot, Row, Value, total_first, ungrouped


def render_judgement(found: JudgeReport) -> str:
    """Return the page."""
    judges = [
        {
            "figures": figures,
            "verdict": verdict_on(found, figures.standings),
            "net": figures.standings[0].net,
            "wins": win_figures(found, figures),
            "reliability": reliability_figures(figures),
            "agreement": agreement_figures(figures) if figures.agreements else None,
        }
        for figures in found.judges
    ]
    return render_page(
        "judgement.html.j2", title=f"{found.a} against {found.b}", judged=found, judges=judges, points=POINTS.full
    )


def judge_tables(found: JudgeReport) -> Iterator[Figures]:
    """Yield for each judge the win rates, its reliability, and its agreement with others."""
    for figures in found.judges:
        yield win_figures(found, figures)
        yield reliability_figures(figures)
        if figures.agreements:
            yield agreement_figures(figures)


def judge_lines(found: JudgeReport) -> list[str]:
    """Return the rows that were left out, and cautions."""
    lost = [f"left out: {what}: {count:,}" for what, count in found.lost.items()]
    return [*lost, *(f"caution: {caution}" for caution in found.cautions)]


def verdict_on(found: JudgeReport, standings: Sequence[WinRateRow]) -> str:
    """State the winner in a sentence that claims no more than the interval does."""
    net = standings[0].net
    if net is None or net.interval is None:
        return f"{found.a} and {found.b}: too few prompts to tell them apart"
    if not net.interval.excludes_zero:
        return f"{found.a} and {found.b} cannot be told apart"
    better, worse = (found.a, found.b) if net.value > 0 else (found.b, found.a)
    return f"{better} beats {worse}"


def win_figures(found: JudgeReport, figures: JudgeFigures) -> Figures:
    """Return the win rates by language, all languages first."""
    axis = axis_over([0.5, *ends([s.win_rate for s in figures.standings])], bounds=(0.0, 1.0))
    return Figures(
        title=f"{found.a} (A) against {found.b} (B), judged by {figures.judge}",
        corner="language",
        short_corner="lang.",
        columns=(
            Column("matches", COUNT),
            Column("win rate of A", SHARE, plot=Plot(axis, lambda tick: f"{100 * tick:g} %", 0.5), media=("page",)),
            Column("win rate of A", SHARE),
            Column("A", SHARE),
            Column("tie", SHARE),
            Column("B", SHARE),
            Column("A − B, points", POINTS, short="A − B"),
        ),
        groups=total_first(
            [
                _language_row(
                    s,
                    *(s.num_matches, s.win_rate, s.win_rate),
                    *(each.value if each else None for each in (s.a_wins, s.ties, s.b_wins)),
                    s.net,
                )
                for s in figures.standings
            ]
        ),
        notes=("win rate: wins of A and half the ties; 95 % intervals, paired, over clusters of prompts",),
    )


def reliability_figures(figures: JudgeFigures) -> Figures:
    """Return figures on the judge's reliability, by language."""
    columns = [
        Column("no verdict", COUNT),
        Column("identical responses", COUNT, short="identical"),
        Column("correlation with length", NUMBER, short="length r"),
    ]
    if figures.asks_twice:
        columns += [Column("consistency", SHARE), Column("first position preferred", SHARE, short="first position")]
    return Figures(
        title=f"Reliability of {figures.judge}",
        corner="language",
        short_corner="lang.",
        columns=tuple(columns),
        groups=total_first([_reliability_row(s, asks_twice=figures.asks_twice) for s in figures.standings]),
        notes=(
            "consistency: both orders agree; first position: share of the verdicts that prefer the response shown "
            "first, 50 % is fair",
        )
        if figures.asks_twice
        else (),
    )


def agreement_figures(figures: JudgeFigures) -> Figures:
    """Return the judge's agreement with other judges and with human labels."""
    rows = [
        Row(
            source.other,
            (
                "all" if source.language == ALL else source.language,
                source.agreement.num,
                source.agreement.observed,
                source.agreement.kappa,
                source.agreement.pi,
            ),
        )
        for source in figures.agreements
    ]
    return Figures(
        title=f"Agreement of {figures.judge} with others, on the same matches",
        corner="with",
        columns=(
            Column("language", short="lang."),
            Column("verdicts", COUNT),
            Column("agree", SHARE),
            Column("Cohen’s κ", NUMBER),
            Column("Scott’s π", NUMBER),
        ),
        groups=ungrouped(rows),
    )


def _reliability_row(standing: WinRateRow, *, asks_twice: bool) -> Row:
    trust = standing.reliability
    reasons = ", ".join(f"{error} {count}" for error, count in trust.errors.items())
    cells = (Cell(trust.num_failed, reasons), trust.num_identical, trust.length)
    return _language_row(standing, *cells, *((trust.consistency, trust.first_position) if asks_twice else ()))


def _language_row(standing: WinRateRow, *cells: Value | Cell) -> Row:
    tag = standing.language
    if tag == ALL:
        return Row("all", cells, emphasis="strong")
    return Row(name_of(tag), cells, tag=tag)
