"""What is said of a step that lost more rows than its budget allows: how many, why, one example each, and where."""

from collections.abc import Sequence

from arbitrage.errors import ArbitrageError
from arbitrage.execution.plan import PlannedStep
from arbitrage.printable import one_line
from arbitrage.shards.manifest import StepReport
from arbitrage.shards.verified import read_rejects

MAX_DETAIL = 300
"""Characters of a reject's detail that are shown."""

MAX_REASONS = 20
"""Reasons of which an example is shown, the most frequent first."""


def describe_loss(report: StepReport, planned: PlannedStep, max_rejected: float) -> str:
    """Return what a person needs to mend a source or a teacher, some lines."""
    ranked = sorted(report.rejected.items(), key=lambda item: (-item[1], item[0]))
    reasons = ", ".join(f"{reason} {number}" for reason, number in ranked)
    head = (
        f"{report.name}: {report.num_rejected} of {report.num_in} rows were rejected ({reasons}); "
        f"max_rejected allows {100 * max_rejected:.3g}%"
    )
    wanted = [reason for reason, _ in ranked[:MAX_REASONS]]
    lines = [f"  {line}" for line in _examples(planned, wanted)]
    more = [f"  and {len(ranked) - len(wanted)} more reasons"] if len(ranked) > len(wanted) else []
    directory = planned.job.directory
    command = f"arbitrage show {directory.parent} {report.name} --rejects"
    where = f"  all rejects: {directory / '_rejects'}; to read them: {command}"
    return "\n".join([head, *lines, *more, where])


def _examples(planned: PlannedStep, reasons: Sequence[str]) -> list[str]:
    """Return one reject of each reason, in the order of the reasons: '<reason>: <row>: <column and value>'."""
    found: dict[str, str] = {}
    for shard in planned.outputs:
        if len(found) == len(reasons):
            break
        try:
            table = read_rejects(planned.job.directory, shard)
        except ArbitrageError:  # an example is not worth an error of its own
            continue
        rows = table.select(["item_id", "reason", "detail"]).to_pylist() if table is not None else ()
        for row in rows:
            if row["reason"] in reasons and row["reason"] not in found:
                found[row["reason"]] = _example(row["item_id"], row["detail"])
    return [f"{reason}: {found[reason]}" for reason in reasons if reason in found]


def _example(item_id: str, detail: str | None) -> str:
    text = one_line(detail or "")
    clipped = text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]}… ({len(text):,} characters)"
    return f"{one_line(item_id)}: {clipped}" if clipped else one_line(item_id)
