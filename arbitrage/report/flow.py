"""The data flow of a run: rows between the stages, and rejects."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from arbitrage.runs.manifest import Manifest, StepPlan, StepReport

_ONE_STAGE = frozenset({"generate", "review", "adjudicate", "score", "check", "measure"})
"""Verbs with one step per teacher, which are shown as one stage; other steps are stages of their own."""

MAX_NAMED = 2
"""Maximum number of rewards in a stage's title."""

RECORDS = {
    "SftExample": "SFT examples",
    "PreferencePair": "preference pairs",
    "SteeredExample": "steered examples",
}
"""Plurals of records that are not simply the lower-case name with an s."""


@dataclass(frozen=True, slots=True)
class FlowStage:
    """One box of the data flow: the sums over the steps of one verb.

    Attributes:
        name: verb, or step name if the verb has one step for each purpose.
        title: display name.
        steps: names of the steps in it.
        record: kind of its rows.
        num_in: items, rows in.
        num_rows: rows written.
        rejected: reason → items.
        seconds: worker time.
        depth: longest path from a source, in stages: equal depths run side by side.
        of: the part of the run or the teacher that all its steps are for; empty if they differ.
    """

    name: str
    title: str
    steps: tuple[str, ...]
    record: str
    num_in: int
    num_rows: int
    rejected: dict[str, int]
    seconds: float
    depth: int
    of: str = ""

    @property
    def rows(self) -> str:
        """The name of its rows, in the plural."""
        return RECORDS.get(self.record) or f"{self.record.lower()}s"


@dataclass(frozen=True, slots=True)
class RejectCount:
    """Items rejected at one step for one reason; `stage`: the step's verb, or its name if it selects a data set."""

    step: str
    reason: str
    language: str
    teacher: str | None
    count: int
    stage: str


def stages_of(manifest: Manifest, left_out: Collection[str]) -> tuple[FlowStage, ...]:
    """Group the steps of a run into stages, in the order of the plan. Routes made for comparison are left out.

    Steps of one verb at the same depth are one stage. A committee's scores, which wait for its reviews, and the
    scores of fused responses are stages of their own.

    Args:
        manifest: of the run.
        left_out: steps that are not shown: routes made for comparison.
    """
    plans = {step.name: step for step in manifest.plan.steps}
    order = {name: place for place, name in enumerate(plans)}
    depths: dict[str, int] = {}
    for name, step in plans.items():  # in topological order
        inputs = [depths[n] for names in step.inputs.values() for n in names]
        depths[name] = 1 + max(inputs, default=-1)
    groups: dict[tuple[str, int], list[StepReport]] = {}
    for report in sorted(manifest.steps, key=lambda r: order[r.name]):
        if report.name in left_out:
            continue
        verb = plans[report.name].facts.verb
        groups.setdefault((verb if verb in _ONE_STAGE else report.name, depths[report.name]), []).append(report)
    stages = [
        _stage(name, reports, [plans[report.name] for report in reports], depth)
        for (name, depth), reports in groups.items()
    ]
    return tuple(sorted(_told_apart(stages), key=lambda stage: stage.depth))


def rejects_of(manifest: Manifest) -> tuple[RejectCount, ...]:
    """List rejects by step and reason, most first."""
    counts: Counter[tuple[str, str, str, str | None]] = Counter()
    for report in manifest.steps:
        for account in report.accounts:
            for reason, num in account.rejected.items():
                counts[(report.name, reason, account.language, account.teacher)] += num
    stages = {s.name: s.name if s.facts.verb == "select" else s.facts.verb for s in manifest.plan.steps}
    found = [RejectCount(*key, num, stages[key[0]]) for key, num in counts.items() if num]
    return tuple(sorted(found, key=lambda r: (-r.count, r.step, r.reason, r.language, r.teacher or "")))


def _stage(name: str, reports: Sequence[StepReport], plans: Sequence[StepPlan], depth: int) -> FlowStage:
    rejected: Counter[str] = Counter()
    for report in reports:
        rejected.update(report.rejected)
    shared = {plan.facts.part or plan.facts.teacher or "" for plan in plans}
    return FlowStage(
        name=name,
        title=_title(name, plans),
        steps=tuple(r.name for r in reports),
        record=plans[0].record,
        num_in=sum(r.num_in for r in reports),
        num_rows=sum(r.num_rows for r in reports),
        rejected=dict(rejected.most_common()),
        seconds=sum(r.seconds for r in reports),
        depth=depth,
        of=next(iter(shared)) if len(shared) == 1 else "",
    )


def _title(name: str, plans: Sequence[StepPlan]) -> str:
    """Return a stage's title: 'score: referee', 'generate', 'select sft'."""
    facts = plans[0].facts
    rewards = sorted({plan.facts.scorer for plan in plans if plan.facts.scorer and plan.facts.verb == "score"})
    if rewards and len(rewards) <= MAX_NAMED:
        return f"{facts.verb}: {', '.join(rewards)}"
    return facts.title if name == facts.name else facts.verb


def _told_apart(stages: Sequence[FlowStage]) -> list[FlowStage]:
    """Add to stages of one title the part of the run or the teacher they are for, such as 'commit' or 'fused'."""
    titles = Counter(stage.title for stage in stages)
    found = []
    for stage in stages:
        is_first = not any(each.title == stage.title for each in stages[: stages.index(stage)])
        if titles[stage.title] > 1 and stage.of and not is_first:
            found.append(replace(stage, title=f"{stage.title} ({stage.of})"))
        else:
            found.append(stage)
    return found
