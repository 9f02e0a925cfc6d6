"""Whole runs whose teacher answers by batch: killed, stopped and slow, and nothing is paid twice."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
import yaml

from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import NoProgress
from arbitrage.execution.run import execute
from pipelines.loading import load_pipeline
from tests.support.batch_server import BatchServer, serve_batches
from tests.support.pipelines import QUESTIONS, write_pipeline

NUM_CANDIDATES = 8 * len(QUESTIONS) * 2


def a_pipeline(directory: Path, server: BatchServer, **engine) -> Path:
    options = {"kind": "openai_batch", "base_url": server.base_url, "gather_s": 0.3, "poll_s": 0.05} | engine
    teacher = {
        "name": "ant",
        "model": "m",
        "languages": list(QUESTIONS),
        "engine": options | {"api_key_env": "BATCH_KEY"},
        "cost": {"usd_per_million_prompt_tokens": 1000.0, "usd_per_million_completion_tokens": 1000.0},
    }
    path = write_pipeline(directory, kind="sft", checks=[])
    (directory / "teachers.yaml").write_text(yaml.safe_dump({"teachers": [teacher]}))
    return path


class Driver:
    """`arbitrage run` in a process of its own."""

    def __init__(self, path: Path, key: str = "good-key") -> None:
        self._path, self._key = path, key

    async def start(self, crash_at: str = "") -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "arbitrage.cli.main", "run", str(self._path), "--local"]
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=self._path.parent,
            env=os.environ | {"BATCH_KEY": self._key, "ARBITRAGE_CRASH_AT": crash_at},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def finish(self) -> tuple[int, str]:
        process = await self.start()
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()


async def until_polled(server: BatchServer, process: asyncio.subprocess.Process) -> None:
    while not server.polls:
        assert process.returncode is None
        await asyncio.sleep(0.05)


@pytest.mark.process
async def test_a_killed_driver_finds_its_batch_and_pays_half_the_price_once(tmp_path):
    async with serve_batches(num_polls=None) as server:
        driver = Driver(a_pipeline(tmp_path, server))
        process = await driver.start()
        await until_polled(server, process)
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        server.num_polls = 1
        code, said = await driver.finish()
    assert code == 0, said
    assert "batch batch_0 of an earlier run found (in_progress)" in said
    assert server.calls.count("POST /v1/files") == server.calls.count("POST /v1/batches") == 1
    assert len(server.num_answered) == NUM_CANDIDATES
    assert set(server.num_answered.values()) == {1}
    manifest = json.loads((tmp_path / "runs" / "small" / "manifest.json").read_text())
    step = next(step for step in manifest["steps"] if step["name"] == "generate-ant")
    assert step["cost_usd"] == pytest.approx(NUM_CANDIDATES * 10 / 1000 / 2)


@pytest.mark.process
@pytest.mark.parametrize("crash_at", ["journal.append:20", "shard.staged:2"])
async def test_a_driver_killed_while_it_collects_submits_nothing_again(tmp_path, crash_at):
    async with serve_batches() as server:
        driver = Driver(a_pipeline(tmp_path, server))
        process = await driver.start(crash_at)
        await process.communicate()
        assert process.returncode == -signal.SIGKILL
        code, said = await driver.finish()
    assert code == 0, said
    assert server.calls.count("POST /v1/batches") == 1
    assert set(server.num_answered.values()) == {1}


@pytest.mark.process
async def test_a_stopped_run_leaves_its_batch_and_says_so(tmp_path):
    async with serve_batches(num_polls=None) as server:
        driver = Driver(a_pipeline(tmp_path, server))
        process = await driver.start()
        await until_polled(server, process)
        process.send_signal(signal.SIGTERM)
        said, _ = await process.communicate()
        assert process.returncode == 130, said
        assert b"submitted batches keep running; rerunning collects" in b" ".join(said.split())
        server.num_polls = 1
        code, again = await driver.finish()
    assert code == 0, again
    assert server.calls.count("POST /v1/batches") == 1


@pytest.mark.process
async def test_a_wrong_key_is_exit_code_four_and_one_sentence(tmp_path):
    async with serve_batches() as server:
        code, said = await Driver(a_pipeline(tmp_path, server), key="wrong-key").finish()
    assert code == 4
    assert "the key is missing or wrong" in " ".join(said.split())
    assert "wrong-key" not in said
    assert "Traceback" not in said


async def test_a_run_that_waits_for_a_batch_is_not_stalled(tmp_path, monkeypatch):
    monkeypatch.setenv("BATCH_KEY", "good-key")
    async with serve_batches(num_polls=9) as server:
        request = load_pipeline(a_pipeline(tmp_path, server)).request(tmp_path / "run", None, stall_after_s=0.5)
        manifest = await asyncio.to_thread(execute, request, LocalBackend(), NoProgress())
    assert server.polls == {"batch_0": 9}
    assert manifest.status == "complete"
