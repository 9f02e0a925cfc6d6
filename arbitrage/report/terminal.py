"""The strategies as a table on a terminal, 80 columns wide where teachers' names allow it."""

from rich import box
from rich.table import Table
from rich.text import Text

from arbitrage.report.strategy_view import Line, strategy_view
from arbitrage.report.summary import RunSummary

_SHORT = {"one": "one answer", "matched": "same budget", "teachers": "one of each teacher", "all": "all answers"}


def strategy_table(summary: RunSummary) -> Table:
    """Return the strategies grouped by budget, with 95 % intervals; empty where nothing judges the answers."""
    judged = summary.judged
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
    if judged is None:
        table.title = "No strategy can be compared: nothing judges the answers"
        return table
    table.title = f"Strategies judged by {judged.metric.name} on {judged.overall.num_prompts:,} prompts"
    table.caption = f"best single teacher: {judged.best_single}; gen.: generations per prompt"
    table.caption_justify = "left"
    table.add_column("strategy", overflow="fold")
    for heading in ("accuracy" if judged.metric.kind == "accuracy" else "mean score", "− best single", "gen."):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in strategy_view(judged).groups:
        table.add_section()
        table.add_row(Text(_SHORT[group.budget], style="dim"))
        for line in group.lines:
            table.add_row(*_cells(line))
    return table


def _cells(line: Line) -> tuple[Text, ...]:
    style = "bold" if line.is_arbitrage else "dim" if line.uses_hindsight else ""
    value = f"{line.value} {line.interval}"
    difference = f"{line.difference} {line.difference_interval}"
    return tuple(Text(text.rstrip(), style=style) for text in (f"  {line.name}", value, difference, line.generations))
