"""A cluster of hosts with networks of their own, of which one is cut off in the middle of a run."""

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from arbitrage.runs.run import open_run
from tests.support.hosts import Host, connected_hosts
from tests.support.paths import ROOT
from tests.support.pipelines import QUESTIONS, run_file, write_pipeline, write_prompts
from tests.support.runs import journaled, shard_bytes
from tests.support.waiting import WITHIN_S, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.ray]

PORT = 6379
PER_LANGUAGE = 30
ENGINE = {"latency_s": 0.15, "max_in_flight": 4}
ENVIRON = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "a-token-of-this-test-alone-0123456789",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""Told otherwise, for Ray takes most of a minute to give a silent node up."""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Host]]:
    """A head without cores, and two hosts with one core each."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--object-store-memory=80000000"]
    with connected_hosts(3) as hosts:
        head, *workers = hosts
        start = [*ray, "--head", f"--node-ip-address={head.address}", f"--port={PORT}", "--num-cpus=0"]
        head.start([*start, "--include-dashboard=false"], tmp_path / "head.log", **ENVIRON)
        for worker in workers:
            start = [*ray, f"--address={head.address}:{PORT}", f"--node-ip-address={worker.address}", "--num-cpus=1"]
            log = tmp_path / f"{worker.address}.log"
            worker.start(start, log, **ENVIRON)
            wait_until(partial(says, log, "Ray runtime started"), log=log)
        yield hosts


def says(log: Path, words: str) -> bool:
    return words in log.read_text()


def pipeline(directory: Path) -> Path:
    path = write_pipeline(directory, compare=[], num_shards=4)
    write_prompts(directory / "prompts.jsonl", PER_LANGUAGE)
    pool = f"""
teachers:
- name: ant
  languages: [{", ".join(QUESTIONS)}]
  licence: Apache-2.0
  engine: {{kind: fake, latency_s: {ENGINE["latency_s"]}, max_in_flight: {ENGINE["max_in_flight"]}}}
  resources: {{cpus: 1, replicas: 2}}
"""
    (directory / "teachers.yaml").write_text(pool)
    return path


def test_a_run_continues_without_a_host_that_is_cut_off(cluster: list[Host], tmp_path: Path) -> None:
    head, _, lost = cluster
    path, directory, log = pipeline(tmp_path), tmp_path / "r", tmp_path / "driver.log"
    command = [sys.executable, "-m", "arbitrage.cli.main", "run", str(path), "--run-dir", str(directory)]
    driver = head.start([*command, "--ray", f"{head.address}:{PORT}"], log, **ENVIRON)
    wait_until(lambda: journaled(directory) >= 60, driver, log)
    lost.pull_the_cable()
    assert driver.wait(WITHIN_S) == 0, log.read_text()
    assert "its node died" in log.read_text()
    step = next(s for s in open_run(directory).manifest.steps if s.name == "generate-ant")
    assert (step.num_rows, step.num_rejected) == (len(QUESTIONS) * PER_LANGUAGE * 2, 0)
    finished = shard_bytes(directory)
    run_file(path, tmp_path / "whole")
    assert finished == shard_bytes(tmp_path / "whole")
    time.sleep(3)  # what runs on the lost host may have gone on until it looked
    assert shard_bytes(directory) == finished
    assert not [file for file in directory.glob("*/_journal/*/*") if os.path.getsize(file)]
