"""`ray job submit` against a head that requires a token, and what Prometheus would scrape from it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbitrage.runs.run import open_run
from tests.support.head import ROOT, Head, running_head
from tests.support.pipelines import write_pipeline, write_pool
from tests.support.runs import journaled
from tests.support.waiting import WITHIN_S, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.ray]

pytest.importorskip("aiohttp_cors", reason="the job server needs ray[default]: the extra `cluster`")

TOKEN = "a-token-of-this-test-alone-0123456789"
SCRAPED_WITHIN_S = 120.0
"""Actors hand their metrics to their node's agent every ten seconds, and when they end."""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with running_head(TOKEN) as running:
        yield running


def arbitrage_run(directory: Path, address: str) -> list[str]:
    pipeline = write_pipeline(directory, pool=["ant", "cow"])
    options = ["--ray", address, "--run-dir", str(directory / "run"), "--json"]
    return [sys.executable, "-m", "arbitrage.cli.main", "run", str(pipeline), *options]


def test_a_submitted_job_runs_the_pipeline_and_its_counters_can_be_scraped(head: Head, tmp_path: Path) -> None:
    done = head.ray("job", "submit", "--address", head.dashboard, "--", *arbitrage_run(tmp_path, "auto"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    assert TOKEN not in done.stdout + done.stderr

    manifest = open_run(tmp_path / "run").manifest
    kept = (tmp_path / "run" / "run.json").read_text() + (tmp_path / "run" / "manifest.json").read_text()
    assert TOKEN not in kept
    asked = [s for s in manifest.steps if s.name.startswith("generate")]
    assert sum(s.num_rows for s in asked) == 2 * 48 * 2
    wanted = {s.name: s.num_rows + s.num_rejected for s in asked}
    assert scraped(head, "num_answered", wanted) == wanted
    pools = {(pool, step) for _, pool, step in head.scrape("ray_arbitrage_num_answered_total")}
    assert pools == {(name, name) for name in wanted}
    assert set(scraped(head, "num_in_flight", dict.fromkeys(wanted, 0), "").values()) <= {0}


def scraped(head: Head, name: str, wanted: dict[str, int], suffix: str = "_total") -> dict[str, float]:
    """Scrape until a metric is by step what is wanted, or time is up; return it as it is."""
    deadline = time.monotonic() + SCRAPED_WITHIN_S
    while True:
        found = head.scrape(f"ray_arbitrage_{name}{suffix}")
        by_step = {step: value for (_, _, step), value in sorted(found.items())}
        if by_step == wanted or time.monotonic() > deadline:
            return by_step
        time.sleep(0.5)


@pytest.mark.parametrize(("token", "why"), [("", "Missing authentication token"), ("wrong", "Invalid")])
def test_a_job_without_the_token_is_refused(head: Head, token: str, why: str) -> None:
    done = head.ray("job", "submit", "--address", head.dashboard, "--", "true", token=token)
    assert done.returncode != 0
    assert why in done.stderr


def test_a_driver_without_the_token_is_told_so_in_a_sentence(head: Head, tmp_path: Path) -> None:
    environ = {k: v for k, v in head.environ.items() if k != "RAY_AUTH_TOKEN"} | {"HOME": str(tmp_path)}
    command = arbitrage_run(tmp_path, head.address)
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: Ray at {head.address} requires a token")
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "run").glob("generate-*"))


def test_a_stopped_job_drains(head: Head, tmp_path: Path) -> None:
    command = arbitrage_run(tmp_path, "auto")
    write_pool(tmp_path / "teachers.yaml", ant={"latency_s": 0.5, "max_in_flight": 2}, bee={}, cow={})
    job = ["--address", head.dashboard, "stopped"]
    submitted = head.ray("job", "submit", "--no-wait", "--submission-id", job[2], *job[:2], "--", *command)
    assert submitted.returncode == 0, submitted.stderr
    wait_until(lambda: journaled(tmp_path / "run") >= 3)
    assert head.ray("job", "stop", *job).returncode == 0
    said = head.ray("job", "logs", *job).stdout
    assert "SIGTERM: waiting for requests in flight" in said
    assert "interrupted; rerun the same command to resume" in said
    assert "Traceback" not in said
