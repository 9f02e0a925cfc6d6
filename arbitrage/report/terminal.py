"""What a run says on a terminal, 80 columns wide where teachers' names allow it."""

from collections.abc import Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from arbitrage.report.losses import shorter_losses, shorter_notes
from arbitrage.report.strategy_view import StrategyLine, strategy_view
from arbitrage.report.summary import RunSummary
from arbitrage.report.wording import NOT_EVIDENCE

_SHORT = {"one": "one answer", "matched": "same budget", "teachers": "one of each teacher", "all": "all answers"}

MAX_NOTES = 4
"""Notes of one kind and step, and losses of one verb, that have lines of their own; the report has all."""


def strategy_table(summary: RunSummary) -> Table:
    """Return the strategies grouped by budget, with 95 % intervals; empty where nothing judges the answers."""
    judged = summary.judged
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left", title_style="bold")
    if judged is None:
        table.title = "No strategy can be compared: nothing judges the answers"
        return table
    is_accuracy = judged.metric.kind == "accuracy"
    table.title = f"Strategies judged by {judged.metric.name} on {judged.overall.num_prompts:,} prompts"
    if not judged.metric.is_held_out:
        table.title += f"\n{NOT_EVIDENCE}"
    absent = "absent answers are wrong" if is_accuracy else "means and differences are over the prompts answered"
    table.caption = (
        f"best single teacher: {judged.best_single}; ans.: share of prompts answered ({absent}); "
        "gen.: generations per prompt"
    )
    table.caption_justify = "left"
    table.add_column("strategy", overflow="fold")
    for heading in ("accuracy" if is_accuracy else "mean score", "ans.", "− best single", "gen."):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in strategy_view(judged).groups:
        table.add_section()
        table.add_row(Text(_SHORT[group.budget], style="dim"))
        for line in group.lines:
            table.add_row(*_cells(line, judged.metric.is_held_out))
    return table


def alarm_lines(summary: RunSummary) -> Iterator[str]:
    """Yield the alarms, which stand before everything else."""
    for alarm in summary.alarms:
        yield f"ALARM {alarm.sentence}"


def loss_lines(summary: RunSummary) -> Iterator[str]:
    """Yield what was rejected and what was noticed on the way, so that nothing is dropped without a word."""
    yield from shorter_losses(summary.losses, MAX_NOTES)
    for line in shorter_notes(summary.step_notes, MAX_NOTES):
        yield f"note: {line}"


def _cells(line: StrategyLine, is_evidence: bool) -> tuple[Text, ...]:
    style = "bold" if line.is_arbitrage and is_evidence else "dim" if line.uses_hindsight or line.answers_few else ""
    value = f"{line.value} {line.interval}"
    difference = f"{line.difference} {line.difference_interval}"
    cells = (f"  {line.name}", value, line.coverage, difference, line.generations)
    return tuple(Text(text.rstrip(), style=style) for text in cells)
