"""`arbitrage judge … --plan`: the calls it would take."""

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from pipelines.judge_calls import Calls

HEADING = "calls of a new run; what a stopped one has heard is not asked again"


def calls_table(found: "list[Calls]") -> Table:
    """Return a line for each teacher, task and language, and the sums."""
    table = Table(title=HEADING)
    for column in ("teacher", "task", "language"):
        table.add_column(column, overflow="fold")
    for column in ("calls", "prompt tokens", "answer tokens at most", "USD at most"):
        table.add_column(column, justify="right")
    for each in found:
        table.add_row(each.teacher, each.task, each.language, *_figures([each]))
    table.add_row("all", "all", "all", *_figures(found), style="bold")
    return table


def _figures(found: "list[Calls]") -> list[str]:
    costs = [each.max_cost_usd for each in found if each.max_cost_usd is not None]
    bound = "≥ " if len(costs) < len(found) else ""  # somebody's price is not known
    sums = (
        sum(each.calls for each in found),
        sum(each.prompt_tokens for each in found),
        sum(each.max_completion_tokens for each in found),
    )
    return [*(f"{value:,}" for value in sums), f"{bound}{sum(costs):,.2f}" if costs else "–"]
