"""One table of figures, three renderers: the same numbers on a terminal, on a page and in Markdown."""

import io
import re

import pytest
from rich.console import Console

from arbitrage.report.charts import axis_over
from arbitrage.report.formatting import CHANGE, COUNT, NUMBER, POINTS, SHARE, NumberForm
from arbitrage.report.rendering import (
    Badge,
    Cell,
    Column,
    Figures,
    Group,
    Plot,
    Row,
    markdown_table,
    page_table,
    terminal_table,
    total_first,
    ungrouped,
)
from arbitrage.statistics import Estimate, Interval

HALF = Estimate(0.521, Interval(0.48, 0.563))
LOSS = Estimate(-0.031, Interval(-0.06, 0.0))
HOSTILE = "<script>alert(1)</script>"

FIGURES = Figures(
    title="Win rates",
    corner="language",
    short_corner="lang.",
    columns=(
        Column("matches", COUNT),
        Column("win rate", SHARE, plot=Plot(axis_over([0.0, 1.0]), lambda tick: f"{tick:g}", 0.5), media=("page",)),
        Column("win rate", SHARE),
        Column("A − B, points", POINTS, short="A − B"),
        Column("errors"),
    ),
    groups=total_first(
        [
            Row("all", (1234, HALF, HALF, LOSS, None), emphasis="strong"),
            Row(
                "Swahili", (Cell(12, "timeout 3"), None, None, None, HOSTILE), tag="sw", badges=(Badge("few", "why"),)
            ),
        ]
    ),
    notes=("win rate: wins and half the ties",),
)


def printed(figures: Figures, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal_table(figures))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("form", "found", "shown"),
    [
        (SHARE, HALF, "52.1 % [48.0, 56.3]"),
        (POINTS, LOSS, "−3.1 [−6.0, 0.0]"),
        (CHANGE, Estimate(0.25, None), "+0.25"),
        (NUMBER, None, "–"),
        (COUNT, Estimate(1234.0, None), "1,234"),
        (NumberForm(digits=4, is_signed=True), Estimate(-0.00001, None), "0.0000"),
    ],
)
def test_a_number_form_writes_value_and_interval(form: NumberForm, found: Estimate | None, shown: str) -> None:
    assert form.full(found) == shown


def test_a_terminal_has_short_headings_tags_and_whole_figures_at_any_width() -> None:
    wide = printed(FIGURES)
    assert wide.splitlines()[0].rstrip() == "Win rates"
    assert re.search(r"lang\. +matches +win rate +A − B +errors", wide)
    assert re.search(r"all +1,234 +52\.1 % \[48\.0, 56\.3\] +−3\.1 \[−6\.0, 0\.0\]", wide)
    assert re.search(r"sw +12 +– +–", wide)
    assert "Swahili" not in wide
    assert "timeout 3" not in wide  # a note has no room there
    assert "52.1 % [48.0, 56.3]" in printed(FIGURES, width=66)


def test_a_page_draws_estimates_and_escapes_every_text() -> None:
    page = page_table(FIGURES)
    assert "<b>52.1 %</b><small>[48.0, 56.3]</small>" in page
    assert page.count('class="dot"') == 1  # the row without an estimate has none
    assert page.count('class="rule" style="--x:50.0"') == 2
    assert "<small>timeout 3</small>" in page
    assert "<code>sw</code>" in page
    assert '<abbr title="why">few</abbr>' in page
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_markdown_has_title_alignment_emphasis_and_notes() -> None:
    lines = markdown_table(FIGURES).splitlines()
    assert lines[0] == "### Win rates"
    assert lines[2:4] == ["| language | matches | win rate | A − B, points | errors |", "|---|--:|--:|--:|---|"]
    assert lines[4] == "| **all** | 1,234 | 52.1 % [48.0, 56.3] | −3.1 [−6.0, 0.0] |  |"
    assert lines[5].startswith("| Swahili (few) (sw) | 12 timeout 3 | – | – |")
    assert lines[-1] == "win rate: wins and half the ties"


def test_a_bar_in_a_cell_ends_no_markdown_column() -> None:
    figures = Figures("", "name", (Column("text"),), ungrouped([Row("a|b", ("c|d",))]))
    assert markdown_table(figures).splitlines()[-1] == r"| a\|b | c\|d |"


def test_groups_have_their_titles_everywhere() -> None:
    groups = (
        Group((Row("reward", (0.5,)),), "One completion per prompt", "one completion"),
        Group((Row("oracle", (0.9,)),), "Every completion"),
    )
    figures = Figures("", "strategy", (Column("accuracy", SHARE),), groups)
    assert [line.split()[0] for line in printed(figures).splitlines() if line.strip()][2:] == [
        *("one", "reward", "Every", "oracle"),
    ]
    assert "One completion per prompt" in page_table(figures)
    assert "| **Every completion** |  |" in markdown_table(figures)
