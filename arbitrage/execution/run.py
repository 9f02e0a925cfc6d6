"""Execute a run: lock the directory, plan, compute what is missing, check the accounting, publish the manifest."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from arbitrage.contracts.steps import ALL_SHARDS, Pipeline
from arbitrage.errors import DamagedFileError, RejectBudgetError, RunDirectoryError
from arbitrage.execution.accounting import check_accounts, now
from arbitrage.execution.loads import load_sentences
from arbitrage.execution.lock import hold_run_lock, require_session
from arbitrage.execution.plan import ExecutionPlan, drop_temporary, mend, plan, require_own_directories
from arbitrage.execution.progress import Progress, RunMonitor, StopFlag
from arbitrage.runs.audit import set_aside
from arbitrage.runs.crash import crash_point
from arbitrage.runs.layout import digest_json, shards_in
from arbitrage.runs.manifest import LIVE_FILE, EngineReport, Manifest, RunPlan, StepPlan, last_seen
from arbitrage.runs.paths import AnyPath, StorePath, names_in, size_of
from arbitrage.runs.run import MANIFEST_FILE, NOTES_FILE, PLAN_FILE, REPORT_FILE, Run, open_run
from arbitrage.runs.sealed import commit_sealed
from arbitrage.runs.store import make_durable, remove

STALL_AFTER_S: Final = 1800.0
"""Default of the time without progress after which a run ends."""


class Backend(Protocol):
    """Computes all missing shards of a plan."""

    @property
    def name(self) -> str:
        """Its name in the plan file."""
        ...

    def run(self, execution: ExecutionPlan, watch: RunMonitor) -> None:
        """Return when nothing is missing, or raise."""
        ...


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Everything that defines the wanted run.

    Attributes:
        num_shards: number of shards that prompts are assigned to.
        shards: the shards to do; fewer than all is a pilot.
        max_rejected: maximum share of rejects among the rows of a source or teacher, 0..1.
        config: as the user gave it, for the manifest.
        stall_after_s: seconds without progress after which the run ends; 0: never.
    """

    name: str
    kind: str
    pipeline: Pipeline
    run_dir: AnyPath
    num_shards: int
    shards: Sequence[int]
    max_rejected: float
    config: Mapping[str, Any]
    stall_after_s: float = STALL_AFTER_S


def execute(
    request: RunRequest,
    backend: Backend,
    progress: Progress,
    stop: StopFlag | None = None,
    check: Callable[[ExecutionPlan], None] = lambda _: None,
) -> Manifest:
    """Run to the end and publish `manifest.json`. The plan is made once, under the run lock.

    Args:
        request: what to run.
        backend: runs the steps.
        progress: receives the progress.
        stop: once set, the run starts nothing new, waits for what is in flight, and raises DrainedError.
        check: called with the plan before the run directory is changed; raises if the run cannot be done, for example
            because a teacher is not usable.

    Raises:
        RunDirectoryError: not writable, in use by another run, or holding a run of another pipeline.
        RejectBudgetError: too many rows were rejected; the data stays and the manifest is published.
        ConservationError: rows in ≠ rows out + rejected.
    """
    started = time.monotonic()
    with hold_run_lock(request.run_dir) as session:
        execution, planned = _prepared(request, backend, progress, session, check)
        seen: set[object] = set()
        stop = stop or StopFlag()
        for sentence in load_sentences(execution, backend.name):
            progress.note(sentence)
        while True:
            require_own_directories(execution)
            drop_temporary(execution)
            mend(execution, progress.note)
            progress.planned(execution)
            watch = RunMonitor(execution, progress, stop, request.stall_after_s)
            try:
                with stop.draining():
                    backend.run(execution, watch)
                break
            except DamagedFileError as error:
                if error.path is None or error.path in seen:
                    raise
                seen.add(error.path)
                _set_aside(request.run_dir, error, progress)
                execution = _planned(request, session)
        drop_temporary(execution, is_done=True)
        manifest = check_accounts(
            planned, execution, watch.accounts, time.monotonic() - started, request.max_rejected
        )
        manifest = manifest.model_copy(update={"engines": _engines(planned, watch.engines())})
        make_durable(request.run_dir)
        crash_point("manifest")
        require_session(request.run_dir, session)
        commit_sealed(request.run_dir / MANIFEST_FILE, manifest)
    if manifest.over_budget:
        raise RejectBudgetError("\n".join(manifest.over_budget))
    return manifest


def _prepared(
    request: RunRequest,
    backend: Backend,
    progress: Progress,
    session: str,
    check: Callable[[ExecutionPlan], None],
) -> tuple[ExecutionPlan, RunPlan]:
    """Plan, refuse the directory of another run, and write the plan."""
    execution = _planned(request, session)
    planned = describe(request, execution, backend.name)
    require_same_run(request.run_dir, planned, progress.note)
    check(execution)
    before = {"seconds_before": seconds_so_far(request.run_dir), "engines_before": _engines_so_far(request.run_dir)}
    planned = planned.model_copy(update=before)
    for outdated in (MANIFEST_FILE, REPORT_FILE, NOTES_FILE, LIVE_FILE):
        remove(request.run_dir / outdated)
    commit_sealed(request.run_dir / PLAN_FILE, planned)
    return execution, planned


def _planned(request: RunRequest, session: str) -> ExecutionPlan:
    execution = plan(request.run_dir, request.pipeline.targets, request.num_shards, request.shards)
    return replace(execution, session=session)


def _set_aside(run_dir: AnyPath, error: DamagedFileError, progress: Progress) -> None:
    """Set aside a file that was found damaged while reading; the next plan finds it missing."""
    path = error.path
    if isinstance(path, Path | StorePath) and size_of(path) is not None:
        aside = set_aside(run_dir, path)
        progress.note(f"{path}: is damaged; it is set aside as {aside}, and made again")


def describe(request: RunRequest, execution: ExecutionPlan, backend: str) -> RunPlan:
    """Return the plan for `run.json`."""
    steps = tuple(
        StepPlan(
            name=planned.step.name,
            facts=planned.step.facts,
            record=planned.step.produces.__name__,
            scope=planned.step.scope,
            directory=planned.job.directory.name,
            fingerprint=planned.fingerprint,
            inputs={role: tuple(s.name for s in steps) for role, steps in sorted(planned.step.inputs.items())},
            config=json.loads(planned.step.config.model_dump_json()),
            shards=planned.job.shards if planned.step.span != ALL_SHARDS else None,
        )
        for planned in execution.steps
    )
    return RunPlan(
        name=request.name,
        pipeline=request.kind,
        fingerprint=digest_json([s.fingerprint for s in steps]),
        num_shards=request.num_shards,
        shards=execution.shards,
        config=dict(request.config),
        steps=steps,
        datasets={name: step.name for name, step in request.pipeline.datasets.items()},
        table={role: tuple(s.name for s in found) for role, found in request.pipeline.table.items()},
        backend=backend,
        started_at=now(),
    )


def require_same_run(run_dir: AnyPath, planned: RunPlan, note: Callable[[str], None]) -> None:
    """Refuse a directory that holds a run of another name or another kind of pipeline, or files but no run.

    A run with a changed config is accepted: what does not depend on the change is kept. So is one whose `run.json`
    was lost or damaged, if the directories of its steps show that it is the same.
    """
    path = run_dir / PLAN_FILE
    if path.exists():
        try:
            before = open_run(run_dir).plan
        except DamagedFileError as error:
            if not _has_a_step(run_dir, planned):
                raise
            note(f"{error}; the directories of its steps show that this is the same run: it is written again")
            set_aside(run_dir, path)
            return
        if (before.pipeline, before.name) != (planned.pipeline, planned.name):
            raise RunDirectoryError(
                f"{run_dir}: holds run '{before.name}' of pipeline '{before.pipeline}', "
                f"not '{planned.name}' of '{planned.pipeline}'; choose another --run-dir, or remove this one"
            )
        return
    strangers = [name for name in names_in(run_dir) if not name.startswith((".", "_"))]
    if strangers and not _has_a_step(run_dir, planned):
        raise RunDirectoryError(
            f"{run_dir}: holds other files and no run ({', '.join(strangers[:3])}); choose another --run-dir"
        )


def seconds_so_far(run_dir: AnyPath) -> float:
    """Return the wall clock time of all passes over a run directory; of a killed pass, until it was last active."""
    if not (run_dir / PLAN_FILE).exists():
        return 0.0
    run = open_run(run_dir)
    try:
        last = run.manifest.seconds if run.is_finished else _seconds_of_interrupted(run)
    except (
        RunDirectoryError,
        DamagedFileError,
        ValueError,
    ):  # a damaged manifest or time must not fail the run
        last = 0.0
    return round(run.plan.seconds_before + last, 3)


def _engines_so_far(run_dir: AnyPath) -> dict[str, EngineReport]:
    """Return the figures of engines that earlier passes over a run directory have left."""
    if not (run_dir / PLAN_FILE).exists():
        return {}
    run = open_run(run_dir)
    try:
        return run.manifest.engines if run.is_finished else run.plan.engines_before
    except (RunDirectoryError, DamagedFileError, ValueError):  # a damaged manifest must not fail the run
        return {}


def _engines(planned: RunPlan, found: Mapping[str, EngineReport]) -> dict[str, EngineReport]:
    """Add figures of earlier passes to those of this one, for the steps of the plan."""
    known = {**planned.engines_before, **found}
    return {step.name: known[step.name] for step in planned.steps if step.name in known}


def _seconds_of_interrupted(run: Run) -> float:
    seen = last_seen(run.path)
    return max(0.0, seen - datetime.fromisoformat(run.plan.started_at).timestamp()) if seen else 0.0


def _has_a_step(run_dir: AnyPath, planned: RunPlan) -> bool:
    """Whether a directory of one of the run's steps exists: its name holds a digest of the step's config."""
    return not {step.directory for step in planned.steps}.isdisjoint(names_in(run_dir))


def progress_of(run: Run) -> dict[str, tuple[int, int]]:
    """Return step → (complete shards, shards wanted), read from the disk; works while a run is under way."""
    found = {}
    for step in run.plan.steps:
        wanted = run.shards(step.name)
        found[step.name] = (len(shards_in(run.directory(step.name)).intersection(wanted)), len(wanted))
    return found
