"""What the benchmarks share: the mock server's process, a run that asks it, and what its log says.

A run is the smallest pipeline there is: prompts from JSONL, one teacher, one cheap check, select SFT rows.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
CLI = (sys.executable, "-m", "arbitrage.cli.main")
OPEN_FILES = 8192


@dataclass(frozen=True)
class MockServer:
    """A running mock server."""

    base_url: str
    pid: int
    log: Path

    def control(self, order: str, **values: Any) -> dict[str, Any]:
        """Give it an order: stats, crash, arm, disarm."""
        url = self.base_url.removesuffix("/v1") + f"/control/{order}"
        request = urllib.request.Request(url, data=json.dumps(values).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found


def stats_of(server: MockServer) -> dict[str, Any]:
    """Return the server's counters; all calls that have ended are in its log afterwards."""
    return server.control("stats")


@contextmanager
def serve(**config: Any) -> Iterator[MockServer]:
    """Run a mock server in its own session, so that nothing that kills a client can reach it."""
    allow_open_files()
    with tempfile.TemporaryDirectory(prefix="mock-") as directory:
        log = Path(directory) / "calls.log"
        log.touch()
        command = [sys.executable, "-m", "benchmarks.mock_server", "--log", str(log)]
        process = subprocess.Popen(
            [*command, "--config", json.dumps(config)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            yield MockServer(told["base_url"], told["pid"], log)
        finally:
            process.terminate()
            process.wait(10)


def allow_open_files() -> None:
    """Raise the soft limit on open files: 256 in flight are 256 sockets on both sides."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))


@dataclass(frozen=True)
class Calls:
    """The server's log, in order of start. Arrays are of equal length."""

    key: np.ndarray
    attempt: np.ndarray
    status: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def since(self, moment: float) -> "Calls":
        """Return the calls that started after a moment."""
        return self.where(self.start >= moment)

    def where(self, chosen: np.ndarray) -> "Calls":
        return Calls(*(values[chosen] for values in (self.key, self.attempt, self.status, self.start, self.end)))

    @property
    def num(self) -> int:
        return len(self.start)

    @property
    def num_answers(self) -> int:
        """Keys that were answered."""
        return len(set(self.key[self.status == 200]))

    @property
    def span_s(self) -> float:
        """From the first call's arrival to the last one's answer."""
        return float(self.end.max() - self.start.min()) if self.num else 0.0

    def in_flight_seconds(self, first: float, last: float) -> float:
        """Integral of calls under way between two moments."""
        return float(np.clip(np.minimum(self.end, last) - np.maximum(self.start, first), 0.0, None).sum())


def read_calls(server: MockServer) -> Calls:
    """Read everything the server has answered so far."""
    stats_of(server)  # flushes
    lines = [line.split() for line in server.log.read_text().splitlines()]
    lines.sort(key=lambda parts: float(parts[3]))
    columns = list(zip(*lines, strict=True)) or [(), (), (), (), ()]
    kinds = (str, int, int, float, float)
    return Calls(*(np.array([kind(v) for v in values]) for kind, values in zip(kinds, columns, strict=True)))


def write_prompts(path: Path, num_prompts: int, mark: Mapping[int, str] | None = None) -> Path:
    """Write distinct English prompts; `mark` puts a text into those at the given positions."""
    with path.open("w", encoding="utf-8") as file:
        for n in range(num_prompts):
            extra = (mark or {}).get(n, "")
            prompt = f"Question {n}: which of the rivers that flow past town {n * 7919 % 10007} is longest? {extra}"
            file.write(json.dumps({"id": f"q{n}", "prompt": prompt.strip(), "language": "en"}) + "\n")
    return path


def openai_engine(base_url: str, max_in_flight: int = 256, **more: Any) -> dict[str, Any]:
    """Return the config of the engine that asks the mock server."""
    return {"kind": "openai", "base_url": base_url, "max_in_flight": max_in_flight} | more


def write_run(
    directory: Path,
    num_prompts: int,
    engine: Mapping[str, Any],
    num_shards: int = 4,
    replicas: int = 1,
    **more: Any,
) -> Path:
    """Write prompts, a pool of one teacher, and a pipeline; return the pipeline's path.

    Args:
        directory: for all three files.
        num_prompts: to ask; 0 leaves `prompts.jsonl` as it is.
        engine: the teacher's engine config.
        num_shards: of the run.
        replicas: of the teacher's client, each a process of its own on Ray.
        more: further top-level keys of the pipeline.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if num_prompts:
        write_prompts(directory / "prompts.jsonl", num_prompts)
    teacher = {"name": "mock", "model": "mock", "revision": "1", "languages": ["en"], "engine": dict(engine)}
    teacher["resources"] = {"replicas": replicas}
    if engine["kind"] == "fake":
        teacher |= {"model": "", "revision": None}
    pool = directory / "teachers.yaml"
    pool.write_text(yaml.safe_dump({"teachers": [teacher]}))
    config: dict[str, Any] = {
        "kind": "sft",
        "name": "bench",
        "prompts": {"kind": "jsonl", "paths": str(directory / "prompts.jsonl")},
        "teachers": str(pool),
        "router": {"kind": "single", "teacher": "mock"},
        "sampling": {"n": 1, "max_tokens": 64},
        "checks": [{"kind": "emptiness"}],
        "ensemble": {"weights": {"emptiness": 1.0}},
        "export": [],
        "num_shards": num_shards,
        "max_rejected": 1.0,
    }
    path = directory / "pipeline.yaml"
    path.write_text(yaml.safe_dump(config | more))
    return path


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a child: this checkout first, no telemetry, offline."""
    there = os.environ.get("PYTHONPATH")
    path = f"{ROOT}{os.pathsep}{there}" if there else str(ROOT)
    return os.environ | {"PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"} | more


@dataclass(frozen=True)
class Done:
    """A process that has ended. Times are of CLOCK_MONOTONIC, as in the server's log."""

    code: int
    started: float
    ended: float
    stdout: str
    stderr: str

    @property
    def seconds(self) -> float:
        return self.ended - self.started


def run_process(command: Sequence[str], env: Mapping[str, str] | None = None, expect: int | None = 0) -> Done:
    """Run a command to its end; raise with its last words if it ends otherwise than expected."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=dict(env or environment()))
        code = process.wait()
        ended = time.monotonic()
        out.seek(0)
        err.seek(0)
        done = Done(code, started, ended, out.read(), err.read())
    if expect is not None and code != expect:
        raise SystemExit(f"{' '.join(command)}: exit code {code}\n{done.stderr[-3000:]}")
    return done


def run_cli(pipeline: Path, run_dir: Path, backend: str, env: Mapping[str, str] | None = None) -> Done:
    """Run `arbitrage run` with backend "local" or "ray"."""
    local = ["--local"] if backend == "local" else []
    return run_process([*CLI, "run", str(pipeline), "--run-dir", str(run_dir), *local], env)


@dataclass(frozen=True)
class Asked:
    """A run that has ended, and the calls the server got from it."""

    done: Done
    calls: Calls


def ask_all(pipeline: Path, run_dir: Path, backend: str, server: MockServer, num_rows: int) -> Asked:
    """Run, and require that every row was answered."""
    done = run_cli(pipeline, run_dir, backend)
    calls = read_calls(server).since(done.started)
    if calls.num_answers != num_rows:
        raise SystemExit(f"{backend}: {calls.num_answers} answers, wanted {num_rows}")
    return Asked(done, calls)


@contextmanager
def scratch(keep: Path | None = None) -> Iterator[Path]:
    """Return a directory for files of this benchmark, removed at the end."""
    directory = keep or Path(tempfile.mkdtemp(prefix="bench-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield directory
    finally:
        if keep is None:
            shutil.rmtree(directory, ignore_errors=True)
