"""The data flow as it went: rows at every arrow, and what stopped there."""

from collections import Counter
from dataclasses import dataclass

from arbitrage.report.shardview import Roles, verb_of
from arbitrage.shards.manifest import Manifest, StepReport

_ONE_STAGE = frozenset({"generate", "score", "check", "measure"})
"""Verbs with a step for each teacher, shown as one stage; the others are stages of their own."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One box of the picture: steps of one verb added up.

    Attributes:
        name: verb, or step name where the verb has one step for each purpose.
        steps: names of the steps in it.
        record: what its rows are.
        num_in: items it owed an answer for.
        num_rows: rows written.
        rejected: reason → items.
        seconds: worker time.
        depth: longest way from a source, in stages: equal depths run side by side.
    """

    name: str
    steps: tuple[str, ...]
    record: str
    num_in: int
    num_rows: int
    rejected: dict[str, int]
    seconds: float
    depth: int


@dataclass(frozen=True, slots=True)
class RejectCount:
    """Items stopped at one step for one reason."""

    step: str
    reason: str
    language: str
    teacher: str | None
    count: int


def stages_of(manifest: Manifest, roles: Roles) -> tuple[Stage, ...]:
    """Add up the steps of a run into stages, in the order of the plan. Routes made for comparison are left out."""
    plans = {step.name: step for step in manifest.plan.steps}
    order = list(plans)
    depths: dict[str, int] = {}
    for name, step in plans.items():  # in topological order
        inputs = [depths[n] for names in step.inputs.values() for n in names]
        depths[name] = 1 + max(inputs, default=-1)
    groups: dict[str, list[StepReport]] = {}
    for report in sorted(manifest.steps, key=lambda r: order.index(r.name)):
        if report.name in roles.routes and report.name != roles.main_route:
            continue
        verb = verb_of(report.name)
        groups.setdefault(verb if verb in _ONE_STAGE else report.name, []).append(report)
    stages = [
        _stage(name, reports, plans[reports[0].name].record, max(depths[r.name] for r in reports))
        for name, reports in groups.items()
    ]
    return tuple(sorted(stages, key=lambda stage: stage.depth))


def rejects_of(manifest: Manifest) -> tuple[RejectCount, ...]:
    """List what stopped where and why, most first."""
    counts: Counter[tuple[str, str, str, str | None]] = Counter()
    for report in manifest.steps:
        for account in report.accounts:
            for reason, num in account.rejected.items():
                counts[(report.name, reason, account.language, account.teacher)] += num
    found = [RejectCount(*key, num) for key, num in counts.items() if num]
    return tuple(sorted(found, key=lambda r: (-r.count, r.step, r.reason, r.language, r.teacher or "")))


def _stage(name: str, reports: list[StepReport], record: str, depth: int) -> Stage:
    rejected: Counter[str] = Counter()
    for report in reports:
        rejected.update(report.rejected)
    return Stage(
        name=name,
        steps=tuple(r.name for r in reports),
        record=record,
        num_in=sum(r.num_in for r in reports),
        num_rows=sum(r.num_rows for r in reports),
        rejected=dict(rejected.most_common()),
        seconds=sum(r.seconds for r in reports),
        depth=depth,
    )
