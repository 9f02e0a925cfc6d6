"""`arbitrage report`: write a run's report again."""

from arbitrage.cli.options import RunArgument, find_run
from arbitrage.cli.screen import say


def report(run: RunArgument) -> None:
    """Write `report.html`, one self-contained page, and print where it is."""
    from arbitrage.report.build import build_report

    say(build_report(find_run(run)).path)
