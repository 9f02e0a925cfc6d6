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
    for column in ("calls", "answer tokens at most"):
        table.add_column(column, justify="right")
    for each in found:
        table.add_row(each.teacher, each.task, each.language, f"{each.calls:,}", f"{each.max_completion_tokens:,}")
    sums = (sum(each.calls for each in found), sum(each.max_completion_tokens for each in found))
    table.add_row("all", "all", "all", *(f"{value:,}" for value in sums), style="bold")
    return table
