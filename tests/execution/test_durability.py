"""Nothing asked twice, nothing lost: engines that die, prompts that kill, drivers that vanish, runs that stand still."""

import asyncio
import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from arbitrage.errors import DrainedError, ExecutionError, RunDirectoryError, StalledError, StorageError
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.lock import LOCK_FILE, hold_run_lock, require_session
from arbitrage.execution.progress import NoProgress, StopFlag
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.execution.run import Backend
from arbitrage.runs import spent_journals
from arbitrage.runs.journal import attempts
from arbitrage.runs.manifest import LIVE_FILE, LiveRun
from tests.support.asked import asked_pipeline
from tests.support.paths import ROOT
from tests.support.runs import Notes, journaled, run, shard_bytes
from tests.support.waiting import WITHIN_S, wait_until


@pytest.mark.parametrize(
    ("backend", "kills"),
    [("local", "engine"), ("ray", "engine"), ("ray", "process")],  # local and process: see drivers below
    indirect=["backend"],
)
def test_a_crashing_prompt_becomes_a_reject_and_does_not_affect_others(
    tmp_path: Path, backend: Backend, kills: str
) -> None:
    poisoned = asked_pipeline(120, {"poison": "question 77", "poison_kills": kills, "latency_s": 0.002})
    manifest = run(tmp_path / "r", poisoned, backend, shards=2)
    step = next(s for s in manifest.steps if s.name == "generate-fake")
    assert (step.num_in, step.num_rows, step.rejected) == (120, 119, {"engine_died": 1})
    assert not list((tmp_path / "r").glob("*/_journal/*"))


def test_the_engine_is_restarted_at_most_3_plus_log2_of_the_batch_times(tmp_path: Path) -> None:
    notes = Notes()
    poisoned = asked_pipeline(400, {"poison": "question 77", "max_in_flight": 64})
    run(tmp_path / "r", poisoned, LocalBackend(), progress=notes, shards=2)
    restarts = [note for note in notes.notes if "starting its worker again" in note]
    assert 1 <= len(restarts) <= 3 + 6


def test_several_poisonous_prompts_are_all_found(tmp_path: Path) -> None:
    manifest = run(tmp_path / "r", asked_pipeline(100, {"poison": "7"}), shards=2)  # 7, 17, 27, …, 70…79, …, 97
    step = next(s for s in manifest.steps if s.name == "generate-fake")
    assert step.rejected == {"engine_died": 19}
    assert step.num_rows == 81


def test_an_engine_that_dies_once_resumes_from_its_journal(tmp_path: Path) -> None:
    engine = {"crash_after": 40, "crash_marker": str(tmp_path / "crashed"), "latency_s": 0.001, "max_in_flight": 4}
    notes = Notes()
    run(tmp_path / "died", asked_pipeline(100, engine), progress=notes, shards=2)
    assert sum("died" in note for note in notes.notes) == 1
    run(tmp_path / "healthy", asked_pipeline(100, {"max_in_flight": 4}), shards=2)
    assert sorted(shard_bytes(tmp_path / "died").values()) == sorted(shard_bytes(tmp_path / "healthy").values())


DRIVER = textwrap.dedent("""
    import json, sys
    from functools import partial
    from pathlib import Path
    from arbitrage.execution.local import LocalBackend
    from arbitrage.execution.ray.backend import RayBackend
    from tests.support.asked import asked_pipeline
    from tests.support.runs import run
    directory, backend, num_rows, engine = sys.argv[1:]
    pipeline = asked_pipeline(int(num_rows), json.loads(engine))
    on = {"local": LocalBackend, "ray": RayBackend}.get(backend) or partial(RayBackend, backend)
    run(Path(directory), pipeline, on(), shards=3)
""")


SLOW = {"latency_s": 0.4}
"""A run that is to be killed lasts longer than it takes to see what it has journaled; its results are the same."""


def driver(
    directory: Path, backend: str, num_rows: int, engine: dict[str, Any], **env: str
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", DRIVER, str(directory), backend, str(num_rows), json.dumps(engine)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | env, stderr=subprocess.PIPE)


@pytest.mark.process
def test_sigkill_loses_only_what_was_in_flight(
    tmp_path: Path, backend: Backend, request: pytest.FixtureRequest
) -> None:
    where = "local" if backend.name == "local" else request.getfixturevalue("shared_ray")
    directory, engine = tmp_path / "killed", {"max_in_flight": 4}
    process = driver(directory, where, 150, engine | SLOW)
    wait_until(lambda: journaled(directory) >= 20, process)
    process.kill()
    process.wait()
    run(directory, asked_pipeline(150, engine), shards=3)
    run(tmp_path / "whole", asked_pipeline(150, engine), shards=3)
    assert shard_bytes(directory) == shard_bytes(tmp_path / "whole")
    assert not list(directory.glob("*/_journal/*"))


@pytest.mark.process
def test_journaled_completions_are_not_requested_again(tmp_path: Path) -> None:
    directory, engine = tmp_path / "r", {"max_in_flight": 4}
    process = driver(directory, "local", 150, engine | SLOW)
    wait_until(lambda: journaled(directory) >= 20, process)
    process.kill()
    process.wait()
    kept = journaled(directory)
    manifest = run(directory, asked_pipeline(150, engine), shards=3)
    step = next(s for s in manifest.steps if s.name == "generate-fake")
    assert step.num_replayed == kept >= 20


@pytest.mark.parametrize(
    "point",
    [
        "journal.append:5",
        "journal.sync:2",
        "shard.staged:2",
        "stats.committed:3",
        "shard.published:4",
        "shard.published:6",
        "journal.removed:2",
        "manifest:1",
    ],
)
@pytest.mark.process
def test_death_at_any_named_point_leaves_the_same_bytes(tmp_path: Path, point: str) -> None:
    directory, engine = tmp_path / "r", {"latency_s": 0.002}
    process = driver(directory, "local", 60, engine, ARBITRAGE_CRASH_AT=point)
    assert process.wait(WITHIN_S) == -signal.SIGKILL
    run(directory, asked_pipeline(60, engine), shards=3)
    run(tmp_path / "whole", asked_pipeline(60, engine), shards=3)
    assert shard_bytes(directory) == shard_bytes(tmp_path / "whole")
    assert not list(directory.rglob("_tmp*")) + list(directory.glob("*/_journal/*"))


@pytest.mark.ray
def test_a_worker_that_dies_while_it_writes_leaves_nothing_beside_its_driver(tmp_path: Path) -> None:
    directory, marker = tmp_path / "r", tmp_path / "died"
    process = driver(directory, "ray", 60, {"latency_s": 0.002}, ARBITRAGE_CRASH_AT=f"shard.staged:1:{marker}")
    assert process.wait(WITHIN_S) == 0
    assert marker.exists()
    assert not list(directory.rglob("_tmp*")) + list(directory.glob("*/_journal/*"))


@pytest.mark.ray
def test_a_shard_whose_worker_dies_before_it_can_say_so_is_not_made_again(tmp_path: Path) -> None:
    directory, marker = tmp_path / "r", tmp_path / "died"
    crash_at = f"journal.removed:1:{marker}"
    process = driver(directory, "ray", 60, {"latency_s": 0.002}, ARBITRAGE_CRASH_AT=crash_at)
    assert process.wait(WITHIN_S) == 0
    written = [file.stat().st_mtime_ns for file in directory.glob("generate-*/shard-*.parquet")]
    assert min(written) < marker.stat().st_mtime_ns
    assert not list(directory.rglob("_tmp*")) + list(directory.glob("*/_journal/*"))


@pytest.mark.parametrize("loss", ["emptied", "zeros", "gone"])
@pytest.mark.process
def test_a_shard_that_a_power_loss_takes_back_is_made_again_from_its_journal(tmp_path: Path, loss: str) -> None:
    """A shard is renamed into its place before it is durable: until it is, its journal stays."""
    directory, engine = tmp_path / "r", {"latency_s": 0.002}
    process = driver(directory, "local", 60, engine, ARBITRAGE_CRASH_AT="journal.removed:1")
    assert process.wait(WITHIN_S) == -signal.SIGKILL
    shard, *_ = sorted(directory.glob("generate-*/shard-*.parquet"))
    assert [folder.name for folder in directory.glob("generate-*/_journal/*")].count(shard.stem) == 1
    size = shard.stat().st_size
    shard.unlink()
    if loss != "gone":
        shard.write_bytes(bytes(size) if loss == "zeros" else b"")
    manifest = run(directory, asked_pipeline(60, engine), shards=3)
    step = next(s for s in manifest.steps if s.name == "generate-fake")
    run(tmp_path / "whole", asked_pipeline(60, engine), shards=3)
    (whole,) = (tmp_path / "whole").glob(f"generate-*/{shard.name}")
    assert step.num_replayed >= pq.read_metadata(whole).num_rows
    found = {name: data for name, data in shard_bytes(directory).items() if not name.startswith("_damaged")}
    assert found == shard_bytes(tmp_path / "whole")
    assert not list(directory.glob("*/_journal/*"))


def test_journals_stay_until_their_shards_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []

    def make_durable(directory: Path) -> None:
        seen.append({folder.name for folder in (directory / "_journal").iterdir()})

    monkeypatch.setattr(spent_journals, "make_durable", make_durable)
    monkeypatch.setattr(spent_journals, "MAX_SHARDS", 4)
    run(tmp_path / "r", asked_pipeline(60, {}), shards=10)
    assert set.union(*seen) == {f"shard-{k:05d}" for k in range(10)}
    assert len(seen) <= 5, "one sync for each batch"
    assert not list((tmp_path / "r").glob("*/_journal/*"))


@pytest.mark.parametrize("num_kills", [15])
@pytest.mark.process
def test_a_driver_that_is_killed_again_and_again_confirms_no_suspect(tmp_path: Path, num_kills: int) -> None:
    """Preemption says nothing of the prompts that were in flight, be they the same each time."""
    directory, engine = tmp_path / "r", {"latency_s": 30.0, "max_in_flight": 4}
    for attempt in range(num_kills):
        process = driver(directory, "local", 8, engine)
        wait_until(lambda: len(list(directory.glob("*/_journal/*/*.jsonl"))) > attempt, process)  # noqa: B023
        wait_until(lambda: any(b'"take"' in path.read_bytes() for path in newest_attempts(directory)), process)
        process.kill()
        process.wait()
    manifest = run(directory, asked_pipeline(8, {"max_in_flight": 4}), shards=3)
    step = next(s for s in manifest.steps if s.name == "generate-fake")
    assert (step.num_rows, step.rejected) == (8, {})


def newest_attempts(directory: Path) -> list[Path]:
    return [max(found) for folder in directory.glob("*/_journal/*") if (found := list(folder.iterdir()))]


def test_a_stopped_run_completes_only_requests_in_flight(tmp_path: Path, backend: Backend) -> None:
    directory, stop, engine = tmp_path / "r", StopFlag(), {"max_in_flight": 4}
    waiting = threading.Thread(target=lambda: _ask_to_stop(directory, stop))
    waiting.start()
    with pytest.raises(DrainedError):
        run(directory, asked_pipeline(200, engine | SLOW), backend, stop=stop, shards=2)
    waiting.join()
    assert 10 <= journaled(directory) < 200
    for folder in directory.glob("*/_journal/*"):
        for path in attempts(folder):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            taken = {line["take"] for line in lines if "take" in line}
            assert taken == {line["row"]["candidate_id"] for line in lines if "row" in line}
    run(directory, asked_pipeline(200, engine), backend, shards=2)
    assert (directory / "manifest.json").exists()


def _ask_to_stop(directory: Path, stop: StopFlag) -> None:
    wait_until(lambda: journaled(directory) >= 10)
    stop.is_requested = True


def test_a_run_that_stands_still_is_ended_and_says_where_it_stood(tmp_path: Path, backend: Backend) -> None:
    patience_s = 5.0 if backend.name == "local" else 30.0  # a worker of Ray has to start meanwhile
    with pytest.raises(StalledError, match=r"nothing has moved for \d+ s; under way: generate-fake.*shards 0, 1"):
        run(tmp_path / "r", asked_pipeline(10, {"latency_s": 600.0}), backend, stall_after_s=patience_s, shards=2)


def test_where_it_stands_is_published_while_it_works(tmp_path: Path, ray_backend: RayBackend) -> None:
    heard: list[LiveRun] = []

    class Reads(NoProgress):
        def live(self, steps: Any) -> None:
            heard.append(LiveRun.model_validate_json((tmp_path / "r" / LIVE_FILE).read_text()))

    run(
        tmp_path / "r",
        asked_pipeline(100, {"latency_s": 0.4, "max_in_flight": 8}),
        ray_backend,
        progress=Reads(),
        shards=2,
    )
    steps = [live.steps["generate-fake"] for live in heard if "generate-fake" in live.steps]
    assert any(0 < step.num_in_flight <= 16 and step.replicas == 1 for step in steps)
    assert any(0 < step.num_answered < 100 and step.completion_tokens for step in steps)


@pytest.mark.process
def test_a_second_driver_is_refused_while_the_first_lives_and_takes_over_when_it_is_dead(tmp_path: Path) -> None:
    directory, engine = tmp_path / "r", {"max_in_flight": 2}
    process = driver(directory, "local", 40, engine | {"latency_s": 3.0})
    wait_until(lambda: journaled(directory) >= 2, process)
    with pytest.raises(RunDirectoryError, match=rf"another process is running in it \(process {process.pid} on"):
        run(directory, asked_pipeline(40, engine), shards=3)
    process.kill()
    process.wait()
    run(directory, asked_pipeline(40, engine), shards=3)


def test_a_worker_of_a_dead_run_publishes_nothing(tmp_path: Path) -> None:
    with hold_run_lock(tmp_path) as old:
        require_session(tmp_path, old)
    with hold_run_lock(tmp_path) as new:
        assert new != old
        with pytest.raises(RunDirectoryError, match="another run has taken over"):
            require_session(tmp_path, old)
    assert (tmp_path / LOCK_FILE).read_text() == new


def test_an_overtaken_attempt_sends_no_more_and_another_continues(tmp_path: Path, ray_backend: RayBackend) -> None:
    """Another attempt begins the shard: a worker that was taken for dead, or one that takes this one for dead."""
    directory, engine = tmp_path / "r", {"max_in_flight": 4}
    notes = Notes()
    kept: list[int] = []

    def overtake() -> None:
        wait_until(lambda: journaled(directory) >= 20)
        [folder] = directory.glob("generate-*/_journal/*")
        (folder / "00002.jsonl").write_text('{"begin":{}}\n')
        wait_until((folder / "00003.jsonl").exists)
        kept.append(sum('{"row"' in line for line in (folder / "00001.jsonl").read_text().splitlines()))

    other = threading.Thread(target=overtake)
    other.start()
    manifest = run(directory, asked_pipeline(160, engine | SLOW), ray_backend, shards=1, progress=notes)
    other.join()
    [step] = [s for s in manifest.steps if s.name == "generate-fake"]
    assert kept == [step.num_replayed]
    assert 20 <= step.num_replayed < 150  # a look each second, ten rows a second
    assert any("overtaken" in note.lower() for note in notes.notes)
    run(tmp_path / "whole", asked_pipeline(160, engine), shards=1)
    assert shard_bytes(directory) == shard_bytes(tmp_path / "whole")


def test_a_worker_that_closes_badly_does_not_keep_the_others_open(tmp_path: Path) -> None:
    closed = []

    class Worker:
        def __init__(self, name: str) -> None:
            self.name = name

        async def close(self) -> None:
            closed.append(self.name)
            if self.name == "a":
                raise ExecutionError("a does not close")

    from arbitrage.execution.local import _LocalRun

    local = _LocalRun.__new__(_LocalRun)
    local._workers = {name: Worker(name) for name in ("a", "b")}  # type: ignore[dict-item]
    with pytest.raises(ExecutionError, match="a does not close"):
        asyncio.run(local._close_unless(set()))
    assert closed == ["a", "b"]


@pytest.mark.parametrize("after", [1, 3, 8, 13])
def test_a_disk_that_fails_leaves_a_run_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """EIO from the n-th fsync on, whoever asks for it: a journal's thread, or a commit."""
    directory, engine, calls = tmp_path / "r", {"latency_s": 0.01, "max_in_flight": 4}, itertools.count(1)
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if next(calls) >= after:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", failing)
        with pytest.raises(StorageError, match="Input/output error"):
            run(directory, asked_pipeline(60, engine), shards=2)
    assert not (directory / "manifest.json").exists()
    run(directory, asked_pipeline(60, engine), shards=2)
    run(tmp_path / "whole", asked_pipeline(60, engine), shards=2)
    assert shard_bytes(directory) == shard_bytes(tmp_path / "whole")
