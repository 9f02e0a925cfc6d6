"""A Ray head with its job server, as `ray start --head` makes one: loopback only, every port chosen, a token asked for."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.paths import ROOT

UP_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class Head:
    """A running head.

    Attributes:
        address: for drivers.
        dashboard: URL of the dashboard and job server.
        metrics: URL that Prometheus would scrape.
        environ: of a process that knows the token.
    """

    address: str
    dashboard: str
    metrics: str
    environ: dict[str, str] = field(repr=False)

    def ray(self, *arguments: str, token: str | None = None, timeout_s: float = 120.0) -> subprocess.CompletedProcess:
        """Run the command `ray`, with the head's token, another, or none ("")."""
        environ = self.environ if token is None else self.environ | {"RAY_AUTH_TOKEN": token}
        if token == "":
            environ = {k: v for k, v in environ.items() if not k.startswith("RAY_AUTH")}
        return subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", *arguments],
            env=environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def scrape(self, prefix: str) -> dict[tuple[str, ...], float]:
        """Return (name, pool, step) → value, summed over workers, of the metrics whose name starts with `prefix`."""
        with urllib.request.urlopen(self.metrics, timeout=10) as answer:
            text = answer.read().decode()
        found: dict[tuple[str, ...], float] = {}
        for name, labels, value in re.findall(rf"^({prefix}\w*)\{{(.*)\}} (\S+)", text, re.MULTILINE):
            tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            key = name, tags.get("pool", ""), tags.get("step", "")
            found[key] = found.get(key, 0.0) + float(value)
        return found


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def running_head(token: str, num_cpus: int = 2) -> Iterator[Head]:
    """Start a head with dashboard and job server that asks for a token; stop what it started, and nothing else."""
    names = "port dashboard-port metrics-export-port dashboard-agent-listen-port dashboard-agent-grpc-port"
    names += " runtime-env-agent-port node-manager-port object-manager-port"
    ports = dict(zip(names.split(), free_ports(8), strict=True))
    with tempfile.TemporaryDirectory(prefix="rh", dir="/tmp", ignore_cleanup_errors=True) as folder:  # sockets: short
        environ = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
            "HOME": folder,  # where Ray would look for a token of its own
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
            "RAY_JOB_STOP_WAIT_TIME_S": "60",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--include-dashboard=true"]
        command += [f"--temp-dir={folder}", f"--num-cpus={num_cpus}", "--object-store-memory=100000000"]
        command += [f"--{name}={port}" for name, port in ports.items()]
        log = Path(folder, "head.log")
        with log.open("w") as out:
            started = subprocess.Popen(command, env=environ, stdout=out, stderr=out, start_new_session=True)
        head = Head(
            f"127.0.0.1:{ports['port']}",
            f"http://127.0.0.1:{ports['dashboard-port']}",
            f"http://127.0.0.1:{ports['metrics-export-port']}/metrics",
            environ,
        )
        try:
            _await_agent(head, started, log)
            yield head
        finally:
            started.terminate()
            try:
                started.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()


def _await_agent(head: Head, started: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the node's agent exports metrics: it is the last to come up, and it runs the jobs."""
    deadline = time.monotonic() + UP_TIMEOUT_S
    while time.monotonic() < deadline and started.poll() is None:
        try:
            urllib.request.urlopen(head.metrics, timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"the head did not come up:\n{log.read_text()}")
