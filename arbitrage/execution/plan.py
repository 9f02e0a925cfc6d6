"""Plan a run: order of the steps, fingerprints, directories, and missing shards."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from arbitrage.contracts.steps import ALL_SHARDS, Resources, Scope, Span, Step, StepConfig
from arbitrage.errors import UserError
from arbitrage.records import Record
from arbitrage.runs.audit import set_aside
from arbitrage.runs.footer import stats_from_footer
from arbitrage.runs.layout import (
    fingerprints,
    journaled_in,
    numbered,
    rejects_path,
    shard_path,
    stats_path,
    step_directory,
)
from arbitrage.runs.lineage import Lineage
from arbitrage.runs.manifest import ShardStats
from arbitrage.runs.paths import AnyPath, files_below, require_no_links, sizes_in
from arbitrage.runs.sealed import commit_sealed
from arbitrage.runs.spent_journals import remove_spent
from arbitrage.runs.store import remove, remove_temporary
from arbitrage.runs.verified import is_sound, mark_of


@dataclass(frozen=True, slots=True)
class Feed:
    """One input step of a job: its directory, and which of its shards belongs to shard k.

    Attributes:
        span: the shards it has; reading others yields no rows.
        is_narrowed: the job depends on only a part of it, which its fingerprint identifies.
    """

    directory: AnyPath
    scope: Scope
    record: type[Record]
    is_narrowed: bool
    span: Span = ALL_SHARDS

    def reads(self, shard: int) -> int | None:
        """Return which of its shards belongs to shard k; None if none does."""
        if self.scope == "corpus":
            return 0
        return shard if shard in self.span else None


@dataclass(frozen=True, slots=True)
class Job:
    """One step, ready to be sent to where it runs: without references to the rest of the DAG."""

    name: str
    config: StepConfig
    record: type[Record]
    scope: Scope
    feeds: Mapping[str, tuple[Feed, ...]]
    directory: AnyPath
    resources: Resources
    pool: str
    num_shards: int
    shards: tuple[int, ...]

    @property
    def is_light(self) -> bool:
        """Whether its workers reserve no resources: they are built for a few shards at a time."""
        return not (self.resources.cpus or self.resources.gpus) and self.pool == self.name

    @property
    def shipped(self) -> "Job":
        """The job as sent to a worker: for shard-scoped steps without the list of all shards.

        It is sent with each shard, and the list of 10,000 shards takes 30 KB.
        """
        return replace(self, shards=()) if self.scope == "shard" else self

    def lineage(self, shard: int, lineage: Lineage) -> dict[str, str]:
        """Return the digests of this shard's inputs as they are on disk now."""
        reads: dict[AnyPath, int | Sequence[int]] = {}
        for feed in (f for group in self.feeds.values() for f in group if not f.is_narrowed):
            if self.scope == "corpus" and feed.scope != "corpus":
                reads[feed.directory] = [k for k in self.shards if k in feed.span]
            elif (read := feed.reads(shard)) is not None:
                reads[feed.directory] = read
        return lineage.made_from(reads)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step with its job, its fingerprint and its missing shards.

    Attributes:
        missing: shards to do, or to check again.
        doubtful: those of them that exist and are intact, but have a missing input: they are kept if that input comes
            out the same.
        incomplete: those of them of which only the rejects are lost: their rows are reused.
        damaged: damaged files, to be set aside.
        recovered: counts that were lost, read from the footers of their shards.
    """

    step: Step
    job: Job
    fingerprint: str
    upstream: tuple[str, ...]
    missing: tuple[int, ...]
    doubtful: frozenset[int] = frozenset()
    incomplete: frozenset[int] = frozenset()
    damaged: tuple[AnyPath, ...] = ()
    recovered: Mapping[int, ShardStats] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The shard numbers this step has when complete."""
        return (0,) if self.step.scope == "corpus" else self.job.shards

    @property
    def certain(self) -> tuple[int, ...]:
        """The missing shards without the doubtful ones."""
        return tuple(k for k in self.missing if k not in self.doubtful)

    @property
    def held(self) -> Literal["actor", "task"]:
        """Whether its workers reserve resources and stay across shards, or are built for each shard."""
        heavy = self.step.resources.cpus or self.step.resources.gpus or self.step.pool
        return "actor" if heavy else "task"


@dataclass(frozen=True, slots=True)
class ExecutionPlan:
    """All steps of a run in topological order. `session`: token of the run."""

    run_dir: AnyPath
    num_shards: int
    shards: tuple[int, ...]
    steps: tuple[PlannedStep, ...]
    session: str = ""

    def step(self, name: str) -> PlannedStep:
        """Return a step by name."""
        return next(s for s in self.steps if s.step.name == name)

    def shards_left(self, pool: str) -> set[int]:
        """Return the missing shards of the steps that share a pool of workers."""
        return {k for s in self.steps if s.job.pool == pool for k in s.missing}

    @property
    def num_missing(self) -> int:
        """Shards left to do, over all steps."""
        return sum(len(s.missing) for s in self.steps)


def plan(run_dir: AnyPath, targets: Sequence[Step], num_shards: int, shards: Sequence[int]) -> ExecutionPlan:
    """Plan a run. Reads the run directory and changes nothing.

    Sizes of all files are compared with the counts. Digests are compared when a file is read
    (`arbitrage.runs.verified`), or if a shard has a journal, too.
    """
    wanted = tuple(sorted(shards))
    order = topological(targets)
    prints = fingerprints(order, num_shards, wanted)
    jobs = {s.name: _job(s, run_dir, prints, num_shards, wanted) for s in order}
    _require_equal_pools(jobs.values())
    missing: dict[str, tuple[int, ...]] = {}
    lineage = Lineage()
    planned = []
    for step in order:
        found = _look_at(step, jobs[step.name], missing, lineage)
        missing[step.name] = found.missing
        upstream = tuple(u.name for u in step.upstream)
        planned.append(
            PlannedStep(
                step,
                jobs[step.name],
                prints[step.name],
                upstream,
                found.missing,
                frozenset(found.doubtful),
                frozenset(found.incomplete),
                tuple(found.damaged),
                found.recovered,
            )
        )
    return ExecutionPlan(run_dir, num_shards, wanted, tuple(planned))


def require_own_directories(execution: ExecutionPlan) -> None:
    """Refuse step directories that are links, because files would be written or removed elsewhere.

    Raises:
        StorageError: names the link.
    """
    for planned in execution.steps:
        if isinstance(directory := planned.job.directory, Path):
            for parts in ([], ["_rejects"], ["_stats"], ["_journal"]):
                require_no_links(directory.parent, [directory.name, *parts])


def mend(execution: ExecutionPlan, note: Callable[[str], None]) -> None:
    """Set damaged files aside, write lost counts again, and remove shards made from other inputs than today's.

    The caller must hold the run lock. Doubtful shards stay: each is compared with its inputs when these exist
    (`reusable_stats`), and a plan made after a crash in between compares them again.
    """
    for planned in execution.steps:
        directory = planned.job.directory
        for path in planned.damaged:
            aside = set_aside(execution.run_dir, path)
            note(f"{planned.step.name}: {path.name} was damaged; it is set aside as {aside}, and made again")
        for shard, stats in planned.recovered.items():
            commit_sealed(stats_path(directory, shard), stats)
            note(f"{planned.step.name} shard {shard}: its counts were lost; they are read from the shard itself")
    _drop_stale(execution)


def _drop_stale(execution: ExecutionPlan) -> None:
    for planned in reversed(execution.steps):
        certain = set(planned.missing) - planned.doubtful - planned.incomplete
        if not certain:
            continue
        there = set(files_below(planned.job.directory))
        if not there:
            continue
        for shard in sorted(certain):
            for place in (shard_path, stats_path, rejects_path):
                if (path := place(planned.job.directory, shard)) in there:
                    remove(path)


def drop_temporary(execution: ExecutionPlan, is_done: bool = False) -> None:
    """Remove temporary files of killed processes, and journals of complete shards.

    The caller must hold the run lock. Called again after the last shard (`is_done`), because workers of a dead run
    may have outlived its driver and left files, too.
    """
    remove_temporary(execution.run_dir, is_deep=False)
    for planned in execution.steps:
        remove_temporary(planned.job.directory)
        complete = set(planned.outputs) if is_done else set(planned.outputs) - set(planned.missing)
        remove_spent(planned.job.directory, sorted(journaled_in(planned.job.directory) & complete))


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


def _job(step: Step, run_dir: AnyPath, prints: Mapping[str, str], num_shards: int, shards: tuple[int, ...]) -> Job:
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


@dataclass
class _Found:
    """Files of one step: see PlannedStep."""

    missing: tuple[int, ...] = ()
    doubtful: set[int] = field(default_factory=set)
    incomplete: set[int] = field(default_factory=set)
    damaged: list[AnyPath] = field(default_factory=list)
    recovered: dict[int, ShardStats] = field(default_factory=dict)


def _look_at(step: Step, job: Job, upstream: Mapping[str, tuple[int, ...]], lineage: Lineage) -> _Found:
    """Find the missing shards of a step.

    Shard k is missing if its file is, or is damaged, or was made from other inputs than today's. If an input is
    missing itself, this is known only after it is made again: the shard is doubtful. Inputs of which the step uses
    only a part are not compared, because the fingerprint identifies that part.
    """
    outputs = (0,) if step.scope == "corpus" else job.shards
    files = _Files(job)
    lineage.look_up(job.directory, sorted(files.shards.keys() & set(outputs)))
    uncertain = _with_missing_inputs(step, job, upstream, outputs)
    found, missing = _Found(), []
    for shard in outputs:
        state = _state(job, shard, files, lineage, found)
        if state == "incomplete":
            found.incomplete.add(shard)
        elif state == "sound" and shard in uncertain:
            found.doubtful.add(shard)
        if state != "sound" or shard in uncertain or not _is_up_to_date(job, shard, lineage):
            missing.append(shard)
    found.missing = tuple(missing)
    return found


class _Files:
    """Sizes of a step's files, from one listing of each directory."""

    def __init__(self, job: Job) -> None:
        sizes = sizes_in(job.directory)
        self.shards = {k: sizes[name] for k, name in numbered(sizes, ".parquet").items()}
        rejects = sizes_in(job.directory / "_rejects") if self.shards else {}
        self.rejects = {k: rejects[name] for k, name in numbered(rejects, ".parquet").items()}
        self.journals = journaled_in(job.directory) if self.shards else set()


_State = Literal["missing", "incomplete", "sound"]


def _state(job: Job, shard: int, files: _Files, lineage: Lineage, found: _Found) -> _State:
    """Return the state of a shard, by the sizes of its files; collect what is damaged and what was recovered."""
    if shard not in files.shards:
        return "missing"
    stats = lineage.stats(job.directory, shard)
    if stats is None:
        stats = stats_from_footer(job.directory, shard, job.record)
        if stats_path(job.directory, shard).exists():
            found.damaged.append(stats_path(job.directory, shard))
        if stats is None:
            found.damaged.append(shard_path(job.directory, shard))
            return "missing"
        found.recovered[shard] = stats
        lineage.learn(job.directory, shard, stats)
    # A journal beside a complete shard: its process died before the shard was known to be durable.
    is_doubted = shard in files.journals
    path, rejects = shard_path(job.directory, shard), rejects_path(job.directory, shard)
    if files.shards[shard] != stats.size_bytes or (is_doubted and not is_sound(path, mark_of(stats))):
        found.damaged.append(path)
        return "missing"
    mark = stats.rejects
    if mark and (files.rejects.get(shard) != mark.size_bytes or (is_doubted and not is_sound(rejects, mark))):
        if shard in files.rejects:
            found.damaged.append(rejects)
        return "incomplete"
    return "sound"


def _with_missing_inputs(
    step: Step, job: Job, upstream: Mapping[str, tuple[int, ...]], outputs: tuple[int, ...]
) -> set[int]:
    """Return the shards with a missing input."""
    found: set[int] = set()
    for source in (s for role, sources in step.inputs.items() if role not in step.narrows for s in sources):
        lost = upstream[source.name] if source.scope == "corpus" else set(upstream[source.name]) & set(job.shards)
        found.update(outputs if lost and (step.scope == "corpus" or source.scope == "corpus") else lost)
    return found


def _is_up_to_date(job: Job, shard: int, lineage: Lineage) -> bool:
    stats = lineage.stats(job.directory, shard)
    return stats is not None and stats.made_from == job.lineage(shard, lineage)


def _require_equal_pools(jobs: Iterable[Job]) -> None:
    """Steps of one pool share a worker, built from any of their configs, so these must be equal."""
    known: dict[str, Job] = {}
    for job in jobs:
        first = known.setdefault(job.pool, job)
        if job.config != first.config:
            raise UserError(f"'{first.name}' and '{job.name}' would share a worker, but have different configs")
