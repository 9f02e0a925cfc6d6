"""The strategies as a table on a terminal."""

from rich import box
from rich.table import Table
from rich.text import Text

from arbitrage.report.strategy_view import Line, strategy_view
from arbitrage.report.summary import RunSummary


def strategy_table(summary: RunSummary) -> Table:
    """Return the strategies grouped by budget, with 95 % intervals; an empty table where nothing judges the answers."""
    judged = summary.judged
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
    if judged is None:
        table.title = "No strategy can be compared: nothing judges the answers"
        return table
    what = "accuracy" if judged.metric.kind == "accuracy" else "mean score"
    table.title = f"Strategies by {judged.metric.name} on {judged.overall.num_prompts:,} prompts"
    table.add_column("strategy", no_wrap=True)
    for heading in (what, "95 %", "− best single", "95 %", "gen./prompt", "answers"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in strategy_view(judged).groups:
        table.add_row(Text(group.title, style="dim"), end_section=False)
        for line in group.lines:
            table.add_row(*_cells(line, judged.best_single))
    return table


def _cells(line: Line, best_single: str) -> tuple[Text, ...]:
    name = f"{line.name} ({best_single})" if line.name == "best single" else line.name
    style = "bold" if line.is_arbitrage else "dim" if line.uses_hindsight else ""
    values = (line.value, line.interval, line.difference, line.difference_interval, line.generations, line.coverage)
    return (Text(f"  {name}", style=style), *(Text(value, style=style) for value in values))
