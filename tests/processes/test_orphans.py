"""Engine processes end with the process that started them, also when that is killed."""

import os
import signal
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from tests.support.tiny_model import shipped_or_tiny
from tests.support.waiting import wait_until

WAITS = """
import subprocess, sys, time
from arbitrage.processes.orphans import end_engines_with_this_process
end_engines_with_this_process()
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(engine.pid, flush=True)
time.sleep(600)
"""

SERVES = """
import time
from pathlib import Path
import psutil
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.vllm import VllmConfig
config = VllmConfig(device="cpu", enforce_eager=True, kv_cache_gb=0.25)
engine = config.build(ModelSpec("tiny", {model!r}, precision="fp32", context_length=128))
print(*[p.pid for p in psutil.Process().children(recursive=True) if "EngineCore" in p.name()], flush=True)
time.sleep(600)
"""


def kill_when_it_has_told(program: str) -> list[psutil.Process]:
    """Start a program, SIGKILL it once it has printed the pids of its engine, and return the engine's processes."""
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    engine = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert engine
    assert all(process.is_running() for process in engine)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    return engine


def await_the_end(processes: list[psutil.Process]) -> None:
    wait_until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes))


@pytest.fixture(autouse=True)
def unmarked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that started an engine in this process has marked what it starts."""
    monkeypatch.delenv("ARBITRAGE_ENGINE_OF", raising=False)


@pytest.mark.process
def test_what_was_started_ends_with_a_parent_that_is_killed() -> None:
    await_the_end(kill_when_it_has_told(WAITS))


@pytest.mark.process
def test_processes_of_others_continue() -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        await_the_end(kill_when_it_has_told(WAITS))
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.vllm
@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
def test_a_real_engine_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    model = str(shipped_or_tiny(tmp_path))
    await_the_end(kill_when_it_has_told(SERVES.format(model=model)))
