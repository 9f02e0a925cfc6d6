"""Exactness over seeded kills: what a killed and resumed run has doubled, lost, spoiled or paid for twice.

    python -m benchmarks.kills                                200 kills of driver, worker and endpoint, local and Ray
    python -m benchmarks.kills --kills 40 --backends local    a minute
    python -m benchmarks.kills --seed 7 --kills 10 --points random    one seed again

A run is started, killed with SIGKILL, and started again until it ends by itself; then its files are compared with
those of a run that nobody killed. What dies, and when, comes from the seed:

  call       the driver, when the server has got its n-th call since the start (the server kills it)
  random     the driver, after a part of the time an unkilled run takes
  named      whoever comes first, by its own hand: ARBITRAGE_CRASH_AT=<name>:<n>:<file>, at a named point
  worker     Ray's actor process, when the server has got its n-th call (on Ray only)
  endpoint   everything under way at the server, which stays away for a moment

Driver kills on `local` fork a process that has imported everything: the same code as the command line, without its
start. `duplicates`, `missing`, `unreadable`: rows and files of all steps. `changed`: shards that are not byte-
identical. `left_over`: temporary files and journals. `wasted`: calls for a key that had been answered in full before.
`journaled_wasted`: those whose answer had left the server `--settle-s` or more before the kill, which a journal must
have kept. `beyond_window`: wasted calls above one in-flight window per kill. `points`: kills by what died;
`not_reached`: named points that were never passed.
"""

import hashlib
import math
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq

from benchmarks.harness import (
    CLI,
    Calls,
    MockServer,
    emit,
    environment,
    openai_engine,
    parser,
    read_calls,
    say,
    scratch,
    serve,
    write_run,
)

CRASH_AT = "ARBITRAGE_CRASH_AT"
CRASH_POINTS = (
    "journal.append",
    "journal.sync",
    "shard.staged",
    "stats.committed",
    "shard.published",
    "journal.removed",
    "manifest",
)
PRELOADED = (
    "arbitrage.cli.main",
    "arbitrage.execution.local",
    "arbitrage.export.export",
    "arbitrage.report.build",
    "arbitrage.report.terminal",
    "arbitrage.teachers.check",
    "arbitrage.teachers.openai_client",
    "pipelines.loading",
)
DEADLINE_S = 120.0
DYING_S = 0.05
"""What a killed process had sent may reach the server so much later; its successor takes longer to start."""


def fingerprint_files(run_dir: Path) -> dict[str, str]:
    """Return path → digest of every shard and reject file."""
    files = sorted(run_dir.glob("*/**/*.parquet"))
    return {str(f.relative_to(run_dir)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def rows_of(run_dir: Path) -> tuple[Counter[str], int]:
    """Return how often each row of each step is there, and the number of files that cannot be read."""
    rows: Counter[str] = Counter()
    unreadable = 0
    for file in sorted(run_dir.glob("*/*.parquet")):
        try:
            table = pq.read_table(file, partitioning=None)
        except Exception:  # noqa: BLE001 — whatever is wrong with it, it is unreadable
            unreadable += 1
            continue
        step = file.parent.name
        rows.update(f"{step} {sorted(row.items(), key=str)}" for row in table.to_pylist())
    return rows, unreadable


class Forked:
    """Starts runs by forking a process in which everything is imported already."""

    def __init__(self, pipeline: Path) -> None:
        import pipelines.loading  # noqa: F401

        self._pipeline = pipeline

    def start(self, run_dir: Path, crash_at: str = "") -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            os.environ.pop(CRASH_AT, None)
            if crash_at:
                os.environ[CRASH_AT] = crash_at
            quiet = os.open(run_dir.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            sys.argv = ["arbitrage", "run", str(self._pipeline), "--run-dir", str(run_dir), "--local"]
            from arbitrage.cli.main import main

            main()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            os._exit(code)


class Spawned:
    """Starts runs as anyone would, on Ray."""

    def __init__(self, pipeline: Path) -> None:
        self._pipeline = pipeline

    def start(self, run_dir: Path, crash_at: str = "") -> int:
        log = os.open(run_dir.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        env = environment(**({CRASH_AT: crash_at} if crash_at else {}))
        command = [*CLI, "run", str(self._pipeline), "--run-dir", str(run_dir)]
        actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2), (os.POSIX_SPAWN_CLOSE, log)]
        pid = os.posix_spawn(command[0], command, env, file_actions=actions)
        os.close(log)
        return pid


def wait(pid: int, run_dir: Path) -> int:
    """Return how a process ended: an exit code, or −signal."""
    give_up = time.monotonic() + DEADLINE_S
    while time.monotonic() < give_up:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise SystemExit(f"hung for {DEADLINE_S:g} s: {run_dir.with_suffix('.log').read_text()[-2000:]}")


def actor_of(driver: int) -> int | None:
    """Return the process of an actor that does shards for this driver."""
    try:
        family = psutil.Process(driver).children(recursive=True)
    except psutil.NoSuchProcess:
        return None
    hosts = [child.pid for child in family if _is_host(child)]
    return min(hosts, default=None)


def _is_host(process: psutil.Process) -> bool:
    try:
        return "ray::Host" in " ".join(process.cmdline())
    except psutil.Error:
        return False


class Series:
    """One run directory, killed again and again until its run ends."""

    def __init__(self, starter: Forked | Spawned, server: MockServer, run_dir: Path, draw: random.Random) -> None:
        self.starter, self.server, self.run_dir, self.draw = starter, server, run_dir, draw
        self.kills: Counter[str] = Counter()
        self.moments: list[float] = []
        self.codes: list[int] = []

    def run(self, kinds: list[str], seconds: float, num_calls: int) -> None:
        """Kill once in each of the ways given, then let it finish."""
        for kind in kinds:
            if self._is_finished():
                return
            self._killed_once(kind, seconds, num_calls)
        for _ in range(3):
            if self._is_finished():
                return
            self.codes.append(wait(self.starter.start(self.run_dir), self.run_dir))
        if not self._is_finished():
            raise SystemExit(f"does not finish: {self.run_dir.with_suffix('.log').read_text()[-2000:]}")

    def _is_finished(self) -> bool:
        return bool(self.codes) and self.codes[-1] == 0

    def _killed_once(self, kind: str, seconds: float, num_calls: int) -> None:
        after = self.draw.randrange(1, max(2, num_calls))
        name = self.draw.choice(CRASH_POINTS)
        marker = self.run_dir.with_suffix(f".crash-{len(self.codes)}")
        crash_at = f"{name}:{self.draw.randrange(1, 9)}:{marker}" if kind == "named" else ""
        before = self.server.control("stats")
        pid = self.starter.start(self.run_dir, crash_at)
        if kind == "call":
            self.server.control("arm", pid=pid, after=after)
        elif kind == "endpoint":
            self.server.control("arm", pid=0, after=after)
        elif kind == "random":
            self._kill_later(pid, self.draw.random() * seconds)
        elif kind == "worker":
            self._kill_worker(pid, after)
        code = wait(pid, self.run_dir)
        self.codes.append(code)
        self.server.control("disarm")
        after_it = self.server.control("stats")
        self.moments += after_it["crash_times"][len(before["crash_times"]) :]  # answers on the wire are lost with it
        by_server = after_it["kill_times"][len(before["kill_times"]) :]
        if marker.exists():  # whoever it was: driver, actor or task
            self.kills[name] += 1
            self.moments.append(float(marker.read_text()))
        elif kind == "worker" and by_server:
            self.kills[kind] += 1
            self.moments += by_server
        elif code == -signal.SIGKILL:
            self.kills[kind] += 1
            self.moments += by_server or [time.monotonic()]
        elif kind == "endpoint" and after_it["num_crashes"] > before["num_crashes"]:
            self.kills[kind] += 1

    def _kill_later(self, pid: int, seconds: float) -> None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)

    def _kill_worker(self, driver: int, after: int) -> None:
        """Wait for the actor, then have the server kill it at its n-th call."""
        give_up = time.monotonic() + DEADLINE_S
        while time.monotonic() < give_up and psutil.pid_exists(driver):
            actor = actor_of(driver)
            if actor is not None:
                self.server.control("arm", pid=actor, after=max(1, after // 2))
                return
            if os.waitid(os.P_PID, driver, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
            time.sleep(0.02)


def count_waste(calls: Calls, moments: Sequence[float], window: int, settle_s: float) -> dict[str, int]:
    """Count calls for keys that had been answered already, against the kills their answers were lost in.

    An answer is lost in the first kill after its call began, or a moment before: a process takes some milliseconds to
    die, and what the server hears and answers meanwhile nobody reads.
    """
    answered: dict[str, tuple[float, float]] = {}
    last_began: dict[str, float] = {}
    wasted = journaled = 0
    by_kill: Counter[float] = Counter()

    def kill_between(began: float, again: float) -> float:
        return next((kill for kill in sorted(moments) if began - DYING_S <= kill <= again), math.inf)

    for key, status, start, end in zip(calls.key, calls.status, calls.start, calls.end, strict=True):
        if key in answered:
            began, arrived = answered[key]
            wasted += 1
            journaled += bool(kill_between(began, start) - arrived > settle_s)
            by_kill[kill_between(last_began[key], start)] += 1
        last_began[key] = start
        if status == 200:
            answered[key] = start, end
    return {
        "calls": calls.num,
        "aborted": int(np.sum(calls.status == 499)),
        "wasted": wasted,
        "journaled_wasted": journaled,
        "beyond_window": sum(max(0, n - window) for n in by_kill.values()),
    }


def kinds_for(backend: str, wanted: list[str], draw: random.Random, num: int) -> list[str]:
    possible = [kind for kind in wanted if backend == "ray" or kind != "worker"]
    return [draw.choice(possible) for _ in range(num)]


def measure(backend: str, num_kills: int, options: Any, directory: Path, server: MockServer) -> dict[str, Any]:
    pipeline = directory / "pipeline.yaml"
    starter = Forked(pipeline) if backend == "local" else Spawned(pipeline)
    started = time.monotonic()
    plain = directory / f"{backend}-plain"
    if wait(starter.start(plain), plain):
        raise SystemExit(plain.with_suffix(".log").read_text()[-2000:])
    seconds = time.monotonic() - started
    wanted_files, (wanted_rows, _) = fingerprint_files(plain), rows_of(plain)
    total: Counter[str] = Counter()
    points: Counter[str] = Counter()
    series = 0
    while points.total() < num_kills and series < 4 * num_kills:
        draw = random.Random(f"{options.seed}-{backend}-{series}")
        run_dir = directory / f"{backend}-{series}"
        one = Series(starter, server, run_dir, draw)
        since = time.monotonic()
        one.run(kinds_for(backend, options.points, draw, options.per_run), seconds, options.rows)
        total.update(count_waste(read_calls(server).since(since), one.moments, options.in_flight, options.settle_s))
        total.update(compare(run_dir, wanted_files, wanted_rows))
        points.update(one.kills)
        series += 1
        say(f"{backend} {series}: {points.total()} kills, {dict(total)}")
    return {
        "kills": points.total(),
        "runs": series,
        "seconds": round(time.monotonic() - started, 1),
        **{
            name: total[name]
            for name in ("duplicates", "missing", "unreadable", "changed", "extra_files", "left_over")
        },
        **{name: total[name] for name in ("calls", "aborted", "wasted", "journaled_wasted", "beyond_window")},
        "wasted_per_kill": round(total["wasted"] / max(1, points.total()), 2),
        "points": dict(sorted(points.items())),
        "not_reached": sorted(set(CRASH_POINTS) - set(points)) if "named" in options.points else [],
    }


def compare(run_dir: Path, wanted_files: dict[str, str], wanted_rows: Counter[str]) -> dict[str, int]:
    """Compare a killed and resumed run with one that nobody killed."""
    files = fingerprint_files(run_dir)
    rows, unreadable = rows_of(run_dir)
    strays = [f for f in run_dir.rglob("*") if f.is_file() and ("_journal" in f.parts or f.name.startswith("_tmp-"))]
    for stray in strays:
        say(f"left over: {stray}")
    return {
        "duplicates": sum((rows - wanted_rows).values()),
        "missing": sum((wanted_rows - rows).values()),
        "unreadable": unreadable,
        "changed": sum(files[name] != digest for name, digest in wanted_files.items() if name in files),
        "extra_files": len(files.keys() - wanted_files.keys()),
        "left_over": len(strays),
    }


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--kills", type=int, default=200, help="over all backends")
    parse.add_argument("--ray-share", type=float, default=0.1, help="share of the kills that is done on Ray")
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--rows", type=int, default=160)
    parse.add_argument("--in-flight", type=int, default=8)
    parse.add_argument("--shards", type=int, default=3)
    parse.add_argument("--latency-s", type=float, default=0.02)
    parse.add_argument("--per-run", type=int, default=5, help="kills of one run directory")
    parse.add_argument("--settle-s", type=float, default=0.25, help="an answer this old must be in the journal")
    parse.add_argument("--backends", nargs="+", default=["local", "ray"], choices=["local", "ray"])
    kinds = ["call", "random", "named", "worker", "endpoint"]
    parse.add_argument("--points", nargs="+", default=kinds, choices=kinds)
    options = parse.parse_args()
    share = {"local": 1.0 - options.ray_share, "ray": options.ray_share}
    whole = sum(share[b] for b in options.backends)
    result: dict[str, Any] = {"seed": options.seed, "rows": options.rows, "in_flight": options.in_flight}
    with scratch() as directory, serve(latency_s=options.latency_s, latency="uniform", down_s=0.05) as server:
        write_run(directory, options.rows, openai_engine(server.base_url, options.in_flight), options.shards)
        for backend in options.backends:
            num = max(1, round(options.kills * share[backend] / whole))
            result[backend] = measure(backend, num, options, directory, server)
    for name in ("kills", "duplicates", "missing", "unreadable", "changed", "journaled_wasted", "beyond_window"):
        result[name] = sum(result[backend][name] for backend in options.backends)
    emit("kills", result)


if __name__ == "__main__":
    main()
