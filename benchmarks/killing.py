"""Runs that are killed: how one is started, what kills it and when, and that it is started again until it ends."""

import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from arbitrage.runs.crash import arm
from benchmarks.harness import CLI, MockServer, environment

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
    "arbitrage.report.page",
    "arbitrage.report.rendering",
    "arbitrage.teachers.check",
    "arbitrage.teachers.engines.openai.client",
    "pipelines.loading",
)
DEADLINE_S = 120.0


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
            arm(crash_at)
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
