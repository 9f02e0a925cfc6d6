"""Turn target steps into a plan: order, fingerprints, directories, and which shards are missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from arbitrage.contracts.steps import ALL_SHARDS, Resources, Scope, Span, Step, StepConfig
from arbitrage.errors import UserError
from arbitrage.records import Record
from arbitrage.shards.journal import remove_journal
from arbitrage.shards.layout import (
    fingerprints,
    journaled_in,
    rejects_path,
    shard_path,
    shards_in,
    stats_path,
    step_directory,
)
from arbitrage.shards.lineage import Lineage
from arbitrage.shards.place import Place, files_below
from arbitrage.shards.store import remove, remove_temporary


@dataclass(frozen=True, slots=True)
class Feed:
    """One upstream step as a job reads it: its directory, and which of its shards answers to shard k.

    Attributes:
        span: the shards it has; to who reads others, they are empty.
        is_narrowed: the job depends on a part of it only, and its fingerprint says on which.
    """

    directory: Place
    scope: Scope
    record: type[Record]
    is_narrowed: bool
    span: Span = ALL_SHARDS

    def reads(self, shard: int) -> int | None:
        """Return which of its shards answers to shard k; None if none does."""
        if self.scope == "corpus":
            return 0
        return shard if shard in self.span else None


@dataclass(frozen=True, slots=True)
class Job:
    """One step, ready to be shipped to wherever it runs: no reference to the rest of the DAG."""

    name: str
    config: StepConfig
    record: type[Record]
    scope: Scope
    feeds: Mapping[str, tuple[Feed, ...]]
    directory: Place
    resources: Resources
    pool: str
    num_shards: int
    shards: tuple[int, ...]

    def lineage(self, shard: int, lineage: Lineage) -> dict[str, str]:
        """Return the digests of what this shard is made from, as it lies on disk now."""
        reads: dict[Place, int | Sequence[int]] = {}
        for feed in (f for group in self.feeds.values() for f in group if not f.is_narrowed):
            if self.scope == "corpus" and feed.scope != "corpus":
                reads[feed.directory] = [k for k in self.shards if k in feed.span]
            elif (read := feed.reads(shard)) is not None:
                reads[feed.directory] = read
        return lineage.made_from(reads)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step beside its job, its fingerprint and what is left to do."""

    step: Step
    job: Job
    fingerprint: str
    upstream: tuple[str, ...]
    missing: tuple[int, ...]

    @property
    def outputs(self) -> tuple[int, ...]:
        """The shard numbers this step has when complete."""
        return (0,) if self.step.scope == "corpus" else self.job.shards

    @property
    def held(self) -> Literal["actor", "task"]:
        """Whether its workers hold resources and live across shards, or are built for each shard."""
        heavy = self.step.resources.cpus or self.step.resources.gpus or self.step.pool
        return "actor" if heavy else "task"


@dataclass(frozen=True, slots=True)
class ExecutionPlan:
    """All steps of a run in topological order. `session`: the token of the run that does it (`claim`)."""

    run_dir: Place
    num_shards: int
    shards: tuple[int, ...]
    steps: tuple[PlannedStep, ...]
    session: str = ""

    def step(self, name: str) -> PlannedStep:
        """Return a step by name."""
        return next(s for s in self.steps if s.step.name == name)

    def shards_left(self, pool: str) -> set[int]:
        """Return which shards are left to the steps that share a pool of workers."""
        return {k for s in self.steps if s.job.pool == pool for k in s.missing}

    @property
    def num_missing(self) -> int:
        """Shards left to do, over all steps."""
        return sum(len(s.missing) for s in self.steps)


def plan(run_dir: Place, targets: Sequence[Step], num_shards: int, shards: Sequence[int]) -> ExecutionPlan:
    """Plan a run. Looks at the run directory and changes nothing."""
    wanted = tuple(sorted(shards))
    order = topological(targets)
    prints = fingerprints(order, num_shards, wanted)
    jobs = {s.name: _job(s, run_dir, prints, num_shards, wanted) for s in order}
    _require_equal_pools(jobs.values())
    missing: dict[str, tuple[int, ...]] = {}
    lineage = Lineage()
    for step in order:
        missing[step.name] = _missing(step, jobs[step.name], missing, lineage)
    planned = [
        PlannedStep(s, jobs[s.name], prints[s.name], tuple(u.name for u in s.upstream), missing[s.name])
        for s in order
    ]
    return ExecutionPlan(run_dir, num_shards, wanted, tuple(planned))


def drop_stale(execution: ExecutionPlan) -> None:
    """Remove files whose inputs are missing, last step first, so that a crash in between leaves nothing stale."""
    for planned in reversed(execution.steps):
        if not planned.missing:
            continue
        there = set(files_below(planned.job.directory))
        for shard in planned.missing:
            for place in (shard_path, stats_path, rejects_path):
                if (path := place(planned.job.directory, shard)) in there:
                    remove(path)


def drop_temporary(execution: ExecutionPlan, is_done: bool = False) -> None:
    """Remove what killed processes left half-written, and journals of shards that are complete.

    Only for the process that holds the run directory; with `is_done`, after its last shard: workers of a dead run may
    have outlived its driver by a moment, and died in their turn.
    """
    remove_temporary(execution.run_dir, is_deep=False)
    for planned in execution.steps:
        remove_temporary(planned.job.directory)
        complete = set(planned.outputs) if is_done else set(planned.outputs) - set(planned.missing)
        for shard in journaled_in(planned.job.directory) & complete:
            remove_journal(planned.job.directory, shard)


def topological(targets: Sequence[Step]) -> list[Step]:
    """Return all steps the targets need, inputs first.

    Raises:
        UserError: two different steps share a name.
    """
    found: dict[str, Step] = {}

    def visit(step: Step) -> None:
        known = found.get(step.name)
        if known is None:
            for upstream in step.upstream:
                visit(upstream)
            found[step.name] = step
        elif known is not step and known != step:
            raise UserError(f"two different steps are named '{step.name}'; give one of their configs another name")

    for target in targets:
        visit(target)
    return list(found.values())


def _job(step: Step, run_dir: Place, prints: Mapping[str, str], num_shards: int, shards: tuple[int, ...]) -> Job:
    feeds = {
        role: tuple(
            Feed(run_dir / step_directory(s.name, prints[s.name]), s.scope, s.produces, role in step.narrows, s.span)
            for s in steps
        )
        for role, steps in step.inputs.items()
    }
    directory = run_dir / step_directory(step.name, prints[step.name])
    pool = step.pool or step.name
    shards = tuple(k for k in shards if k in step.span)
    return Job(
        step.name, step.config, step.produces, step.scope, feeds, directory, step.resources, pool, num_shards, shards
    )


def _missing(step: Step, job: Job, upstream: Mapping[str, tuple[int, ...]], lineage: Lineage) -> tuple[int, ...]:
    """Shard k is missing if its file is, if an input is about to be made again, or was since it was made.

    An input of which the step depends on a part only is left out: the fingerprint says that the part is the same.
    """
    outputs = (0,) if step.scope == "corpus" else job.shards
    there = shards_in(job.directory)
    lineage.look_up(job.directory, sorted(there.intersection(outputs)))
    redone: set[int] = set()
    for source in (s for role, sources in step.inputs.items() if role not in step.narrows for s in sources):
        lost = upstream[source.name] if source.scope == "corpus" else set(upstream[source.name]) & set(job.shards)
        redone.update(outputs if lost and (step.scope == "corpus" or source.scope == "corpus") else lost)
    return tuple(k for k in outputs if k in redone or k not in there or not _is_up_to_date(job, k, lineage))


def _is_up_to_date(job: Job, shard: int, lineage: Lineage) -> bool:
    stats = lineage.stats(job.directory, shard)
    return stats is not None and stats.made_from == job.lineage(shard, lineage)


def _require_equal_pools(jobs: Iterable[Job]) -> None:
    """Steps of one pool are served by one worker, built from any of their configs: these must be equal."""
    known: dict[str, Job] = {}
    for job in jobs:
        first = known.setdefault(job.pool, job)
        if job.config != first.config:
            raise UserError(f"'{first.name}' and '{job.name}' would share a worker, but want different ones")
