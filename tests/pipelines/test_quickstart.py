"""The first command that a new user runs: real models, a real reward model, real Ray, no network.

Its driver is killed half way, and the same command is given again: what comes of that is what the README promises.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from datasets import List, load_dataset

from tests.support.waiting import wait_until

pytestmark = [pytest.mark.alone, pytest.mark.ray]

QUICKSTART = [sys.executable, "-m", "arbitrage.cli.main", "quickstart"]
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}  # a new user's


def without_network(command: list[str]) -> list[str]:
    """Run a command in a network namespace that has a loopback and nothing else, where that is allowed."""
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        return command
    return ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]


@dataclass(frozen=True)
class Killed:
    """The files that existed when the driver had been killed, and the finished run's own account."""

    shards: dict[Path, int]
    had_manifest: bool
    told: dict[str, Any]


def kill_half_way(command: list[str], directory: Path) -> None:
    """SIGKILL the driver while teachers answer; its Ray goes down with it."""
    with (directory / "log").open("w") as log:
        driver = subprocess.Popen(command, cwd=directory, env=ENVIRON, stdout=log, stderr=log)
        run = directory / "runs" / "quickstart"
        wait_until(lambda: len(list(run.glob("generate-*/shard-*.parquet"))) >= 8, driver, directory / "log")
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    time.sleep(3)  # actors notice that their driver is gone; one of them may have been committing a shard


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    directory = tmp_path_factory.mktemp("quickstart")
    command = without_network([*QUICKSTART, "--json"])
    kill_half_way(command, directory)
    run = directory / "runs" / "quickstart"
    shards = {path: path.stat().st_mtime_ns for path in run.rglob("shard-*.parquet")}
    had_manifest = (run / "manifest.json").exists()
    done = subprocess.run(command, cwd=directory, env=ENVIRON, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return Killed(shards, had_manifest, json.loads(done.stdout))


@pytest.fixture(scope="module")
def told(killed: Killed) -> dict[str, Any]:
    return killed.told


def rows_of(told: dict[str, Any], budget: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in told["summary"]["judged"]["overall"]["rows"] if row["budget"] == budget}


def test_every_file_is_where_the_readme_says(told: dict[str, Any]) -> None:
    run = Path(told["run"])
    assert run.parts[-2:] == ("runs", "quickstart")
    for path in ["manifest.json", "report.html", "export/sft/README.md", "export/preference/README.md"]:
        assert (run / path).exists(), path


def test_arbitrage_beats_the_best_single_teacher(told: dict[str, Any]) -> None:
    judged = told["summary"]["judged"]
    assert judged["metric"]["name"].startswith("exact")
    single = {r["name"]: r["value"]["value"] for r in judged["overall"]["rows"] if r["name"].startswith("single:")}
    best = max(single.values())
    rewards = [r for r in judged["overall"]["rows"] if r["name"] == "reward"]
    strongest = max(rewards, key=lambda r: r["value"]["value"])
    assert strongest["value"]["value"] > best + 0.10
    assert strongest["difference"]["interval"]["low"] > 0.0
    oracle = max(r["value"]["value"] for r in judged["overall"]["rows"] if r["name"] == "oracle")
    assert strongest["value"]["value"] < oracle


def test_the_books_balance(told: dict[str, Any]) -> None:
    manifest = json.loads((Path(told["run"]) / "manifest.json").read_text())
    steps = {s["name"]: s for s in manifest["steps"]}
    generate = [s for name, s in steps.items() if name.startswith("generate-")]
    assert len(generate) == 7
    for step in generate:
        assert step["num_in"] == step["num_rows"] + step["num_rejected"]
    # the generalist declares every language and is asked everything; specialists only what they declare
    assert steps["generate-commons"]["num_in"] == 2 * steps["prompts"]["num_rows"] == 1120
    assert 0 < steps["generate-iberia"]["num_in"] < 1120


@pytest.mark.parametrize(("dataset", "column"), [("sft", "completion"), ("preference", "chosen")])
def test_exports_load_with_their_types(told: dict[str, Any], dataset: str, column: str, tmp_path: Path) -> None:
    path = str(Path(told["run"]) / "export" / dataset)
    rows = load_dataset(path, split="train", cache_dir=str(tmp_path))
    assert len(rows) > 100
    assert isinstance(rows.features[column], List)
    assert rows[0][column][0]["role"] == "assistant"
    files = load_dataset("parquet", data_files=f"{path}/data/**/*.parquet", split="train", cache_dir=str(tmp_path))
    assert files.features[column] == rows.features[column]
    assert len(files) == len(rows)


def test_a_run_killed_half_way_resumes(killed: Killed) -> None:
    assert not killed.had_manifest
    assert all(path.stat().st_mtime_ns == when for path, when in killed.shards.items())
    manifest = json.loads((Path(killed.told["run"]) / "manifest.json").read_text())
    finished = [path for path in killed.shards if "_rejects" not in str(path)]
    assert sum(s["num_reused"] for s in manifest["steps"]) == len(finished) >= 8
    steps = {s["name"]: s for s in manifest["steps"]}
    assert steps["select-sft"]["num_rows"] + steps["select-sft"]["num_rejected"] == steps["prompts"]["num_rows"]
