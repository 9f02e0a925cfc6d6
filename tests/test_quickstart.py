"""The first command a newcomer runs: real models, a real reward model, real Ray, no network."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from datasets import List, load_dataset

QUICKSTART = [sys.executable, "-m", "arbitrage.cli.main", "quickstart"]


def without_network(command: list[str]) -> list[str]:
    """Run a command in a network namespace that has a loopback and nothing else, where that is allowed."""
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        return command
    return ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("quickstart")
    command = without_network([*QUICKSTART, "--json"])
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows_of(told: dict[str, Any], budget: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in told["summary"]["judged"]["overall"]["rows"] if row["budget"] == budget}


def test_everything_lies_where_the_readme_says(told: dict[str, Any]) -> None:
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
    assert len(generate) == 6
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


def test_a_run_killed_half_way_goes_on_where_it_stood(tmp_path: Path) -> None:
    """SIGKILL to the driver while teachers answer; its Ray goes down with it; the second run redoes nothing."""
    command = [*QUICKSTART, "--set", "prompts.per_language=8", "--set", "num_shards=6", "--set", "sampling.n=2"]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        run = tmp_path / "runs" / "quickstart"
        deadline = time.monotonic() + 240
        while len(list(run.glob("generate-*/shard-*.parquet"))) < 8:
            assert driver.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    time.sleep(3)  # actors notice that their driver is gone; one of them may have been committing a shard
    before = {p: p.stat().st_mtime_ns for p in run.rglob("shard-*.parquet")}
    assert not (run / "manifest.json").exists()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr
    assert all(p.stat().st_mtime_ns == when for p, when in before.items())
    manifest = json.loads((run / "manifest.json").read_text())
    assert sum(s["num_reused"] for s in manifest["steps"]) == len([p for p in before if "_rejects" not in str(p)])
    steps = {s["name"]: s for s in manifest["steps"]}
    assert steps["generate-commons"]["num_rows"] == 2 * steps["prompts"]["num_rows"]
    assert steps["select-sft"]["num_rows"] + steps["select-sft"]["num_rejected"] == steps["prompts"]["num_rows"]
