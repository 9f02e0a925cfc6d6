"""Whatever a file holds, a command ends with exit code 0, 2, 3 or 4 and says in a sentence what is wrong.

Valid files of every kind are damaged, by seed (`tests.support.mutations`), and the command that reads them runs as a user runs it. A traceback, a
hang, or an exit code without a sentence fails the test. `pytest -rP` prints the counts by reader and exit code;
`ARBITRAGE_DAMAGES=10` tries ten times as many.
"""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import pytest

from arbitrage.runs.manifest import LiveRun, LiveStep
from arbitrage.runs.store import replace_json
from tests.support.mutations import Format, mutations
from tests.support.pipelines import write_pipeline, write_pool, write_prompts
from tests.support.reward_matrices import toy_outcomes, write_matrix
from tests.support.waiting import WITHIN_S

pytestmark = pytest.mark.long

FACTOR = int(os.environ.get("ARBITRAGE_DAMAGES", "1"))
SEED = 13
LIMIT_S = 60
ALLOWED = (0, 2, 3, 4)

Command = Callable[..., Any]


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer."""

    def stop(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"still at work after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def complaint(told: Any) -> str | None:
    """Return what is wrong with how a command ended."""
    said = told.out + told.err
    if told.code not in ALLOWED:
        return f"exit code {told.code}"
    if "Traceback" in said or "errors.pydantic.dev" in said:
        return "a traceback or a third party's address is shown"
    sentences = [line for line in told.err.splitlines() if line.startswith(("error: ", "Error: ", "│", "Usage"))]
    if told.code and not sentences and "✗" not in told.out:
        return "no sentence says what is wrong"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", "".join(sentences)):
        return "the sentence holds control characters"
    if any(len(line) > 1500 for line in sentences):
        return "the sentence is longer than a screen"
    return None


def attack(
    arbitrage: Command,
    name: str,
    path: Path,
    num_tries: int,
    calls: Sequence[Sequence[object]],
    form: Format = "bytes",
) -> None:
    """Damage a file again and again, each time in another way, and run one of the calls; restore the file.

    Args:
        arbitrage: calls the command line.
        name: of the reader, for the counts.
        path: the file.
        num_tries: how often.
        calls: arguments of the commands that read it, taken in turn.
        form: with `json`, `jsonl` and `yaml` every second mutation changes values, not only bytes.
    """
    valid = path.read_bytes()
    codes: Counter[int] = Counter()
    faults = []
    for number, mutation in enumerate(mutations(valid, form, SEED, num_tries * FACTOR)):
        call = calls[number % len(calls)]
        what = f"{number} ({mutation.label}): {' '.join(map(str, call))}"
        path.write_bytes(mutation.data)
        try:
            with limited(LIMIT_S):
                told = arbitrage(*call)
        except Exception as error:  # noqa: BLE001 — whatever a user would see as a traceback
            faults.append(f"{what}: {error!r:.300}")
            continue
        codes[told.code] += 1
        if problem := complaint(told):
            faults.append(f"{what}: {problem}: {told.err[-300:]!r}")
    path.write_bytes(valid)
    counts = ", ".join(f"exit {code}: {count}" for code, count in sorted(codes.items()))
    print(f"{name}: {sum(codes.values())} damaged files: {counts}")
    assert not faults, f"{len(faults)} of {num_tries * FACTOR}:\n" + "\n".join(faults[:12])


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A pipeline of one shard whose source is small."""
    write_pipeline(tmp_path, num_shards=1)
    write_prompts(tmp_path / "prompts.jsonl", per_language=2)
    return tmp_path / "pipeline.yaml"


@pytest.fixture
def of_one_teacher(pipeline: Path) -> Path:
    """The same with one teacher and one router, for damage to its prompts: most of a plan's time goes into its tables."""
    write_pipeline(pipeline.parent, num_shards=1, compare=[])
    write_prompts(pipeline.with_name("prompts.jsonl"), per_language=2)
    write_pool(pipeline.with_name("teachers.yaml"), ant={})
    return pipeline


def test_prompts_of_json_lines(arbitrage: Command, of_one_teacher: Path) -> None:
    pipeline = of_one_teacher
    attack(arbitrage, "prompts.jsonl", pipeline.with_name("prompts.jsonl"), 240, [("plan", pipeline)], "jsonl")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl.gz"])
def test_prompts_of_other_formats(arbitrage: Command, of_one_teacher: Path, suffix: str) -> None:
    pipeline = of_one_teacher
    frame = pd.read_json(pipeline.with_name("prompts.jsonl"), lines=True)
    path = pipeline.with_name(f"prompts{suffix}")
    kind = suffix.split(".")[1]
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        path.write_bytes(gzip.compress(pipeline.with_name("prompts.jsonl").read_bytes()))
    call = ("plan", pipeline, "--set", f"prompts.paths={path}", "--set", f"prompts.kind={kind}")
    attack(arbitrage, f"prompts{suffix}", path, 120, [call])


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_recordings(arbitrage: Command, tmp_path: Path, suffix: str) -> None:
    write_pipeline(tmp_path, num_shards=1, compare=[], teachers=str(tmp_path / "pool.yaml"))
    prompts = [json.loads(line) for line in write_prompts(tmp_path / "prompts.jsonl", 2).read_text().splitlines()]
    rows = [
        {"id": row["id"], "text": f"Answer {n}.", "end": "stop", "used": 7, "logprob": -1.5}
        for n, row in enumerate(prompts)
    ]
    path = tmp_path / f"answers{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pd.DataFrame(rows).to_parquet(path)
    columns = {"key": "id", "finish_reason": "end", "completion_tokens": "used", "cumulative_logprob": "logprob"}
    engine = {"kind": "replay", "paths": str(path), "match": "source_id", "columns": columns}
    write_pool(tmp_path / "pool.yaml", old=engine)
    check = ("teachers", "check", "--pool", tmp_path / "pool.yaml")
    run = ("run", tmp_path / "pipeline.yaml", "--local", "--run-dir", tmp_path / "run")
    form: Format = "jsonl" if suffix == ".jsonl" else "bytes"
    attack(arbitrage, f"recordings{suffix}", path, 160, [check, check, run], form)


def test_pools(arbitrage: Command, pipeline: Path) -> None:
    path = pipeline.with_name("teachers.yaml")
    calls = [("teachers", "check", "--pool", path), ("plan", pipeline)]
    attack(arbitrage, "teachers.yaml", path, 240, calls, "yaml")


def test_pipelines(arbitrage: Command, pipeline: Path) -> None:
    attack(arbitrage, "pipeline.yaml", pipeline, 240, [("plan", pipeline)], "yaml")


def test_matrices(arbitrage: Command, tmp_path: Path) -> None:
    path = write_matrix(tmp_path / "matrix.parquet", toy_outcomes(6))
    calls = [("router", "train", "--matrix", path, "--out", tmp_path / "router", "--learner", "best_single")]
    attack(arbitrage, "matrix.parquet", path, 100, calls)


def test_judged_files(arbitrage: Command, tmp_path: Path) -> None:
    for side in "ab":
        rows = [
            {
                "id": str(n),
                "prompt": f"What is {n} plus one?",
                "language": "en",
                "text": f"{n + 1} {side}",
                "reference": n,
            }
            for n in range(8)
        ]
        (tmp_path / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    calls = [
        (
            "judge",
            tmp_path / "a.jsonl",
            tmp_path / "b.jsonl",
            "--judge",
            "exact",
            "--column",
            "answer=text",
            "--run-dir",
            tmp_path / "run",
        )
    ]
    attack(arbitrage, "judge a.jsonl", tmp_path / "a.jsonl", 100, calls, "jsonl")


def test_profiled_files(arbitrage: Command, pipeline: Path) -> None:
    path = pipeline.with_name("prompts.jsonl")
    attack(arbitrage, "profile", path, 100, [("profile", path, "--column", "text=prompt")], "jsonl")


@pytest.mark.parametrize("name", ["router.json", "router.safetensors"])
def test_router_artifacts(arbitrage: Command, tmp_path: Path, name: str) -> None:
    path = write_matrix(tmp_path / "matrix.parquet", toy_outcomes(20))
    train = ("router", "train", "--matrix", path, "--out", tmp_path / "router", "--learner", "language_table")
    assert arbitrage(*train).code == 0
    calls = [("router", "show", tmp_path / "router")]
    attack(arbitrage, name, tmp_path / "router" / name, 120, calls, "json" if name.endswith("json") else "bytes")


@pytest.fixture
def run_directory(finished_once: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, for a test to damage."""
    return Path(shutil.copytree(finished_once / "runs" / "small", tmp_path / "run"))


@pytest.mark.parametrize("name", ["run.json", "manifest.json", "notes.json", "_live.json"])
def test_files_about_a_run(arbitrage: Command, run_directory: Path, name: str) -> None:
    if name == "_live.json":  # as a run at work has it
        replace_json(run_directory / name, LiveRun(at=time.time(), steps={"generate-ant": LiveStep(num_items=9)}))
    calls = [
        ("status", run_directory),
        ("report", run_directory),
        ("show", run_directory, "sft", "-n", 1),
        ("status", run_directory, "--json"),
        ("export", run_directory),
    ]
    attack(arbitrage, name, run_directory / name, 80, calls, "json")


@pytest.mark.parametrize("pattern", ["_stats/shard-00001.json", "shard-00001.parquet"])
@pytest.mark.parametrize("step", ["prompts", "generate-ant", "score-taste-bee", "ensemble", "select-sft"])
def test_files_of_a_step(arbitrage: Command, run_directory: Path, step: str, pattern: str) -> None:
    [path] = run_directory.glob(f"{step}-*/{pattern}")
    calls = [("report", run_directory), ("export", run_directory), ("show", run_directory, "sft", "-n", 1)]
    attack(arbitrage, f"{step} {pattern}", path, 30, calls, "json" if pattern.endswith("json") else "bytes")


@pytest.mark.process
def test_journals(arbitrage: Command, tmp_path: Path) -> None:
    write_pipeline(tmp_path, num_shards=1, compare=[], checks=[{"kind": "emptiness"}])
    write_prompts(tmp_path / "prompts.jsonl", per_language=2)
    write_pool(tmp_path / "teachers.yaml", ant={})
    run = ("run", tmp_path / "pipeline.yaml", "--local", "--run-dir", tmp_path / "run")
    killed = subprocess.run(
        [sys.executable, "-m", "arbitrage.cli.main", *map(str, run)],
        cwd=tmp_path,
        env=os.environ | {"ARBITRAGE_CRASH_AT": "journal.append:20"},
        capture_output=True,
        timeout=WITHIN_S,
    )
    assert killed.returncode == -signal.SIGKILL
    [journal] = (tmp_path / "run").glob("generate-ant-*/_journal/shard-00000/*.jsonl")
    kept = Path(shutil.copytree(tmp_path / "run", tmp_path / "kept"))
    again = kept / journal.relative_to(tmp_path / "run")

    def resume(*arguments: object) -> Any:
        shutil.rmtree(tmp_path / "run")
        shutil.copytree(kept, tmp_path / "run")
        return arbitrage(*arguments)

    attack(resume, "journal", again, 100, [run], "bytes")
