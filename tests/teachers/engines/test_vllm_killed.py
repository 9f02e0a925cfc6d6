"""A real vLLM whose engine process is killed in the middle of a run: it is started again, and nothing is asked twice."""

import json
import threading
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import yaml

from arbitrage.execution.local import LocalBackend
from arbitrage.records import Candidate
from arbitrage.runs.journal import attempts
from arbitrage.runs.run import open_run
from arbitrage.tables import from_table
from tests.support.pipelines import run_file
from tests.support.runs import journaled
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.alone,
    pytest.mark.vllm,
    pytest.mark.timeout(400),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]

NUM_PROMPTS = 60
TEACHER = {
    "name": "iberia",
    "model": "demo:iberia",
    "languages": ["es"],
    "engine": {"kind": "vllm", "device": "cpu", "enforce_eager": True, "max_num_seqs": 4, "kv_cache_gb": 0.25},
    "precision": "fp32",
    "licence": "Apache-2.0",
    "resources": {"cpus": 1},
}


def kill_the_engine(directory: Path, after: int, kept: dict[str, str]) -> None:
    """Wait for a number of results in journals, SIGKILL the engine's process, and take down what the journals hold."""
    wait_until(lambda: journaled(directory) >= after)
    (engine,) = [child for child in psutil.Process().children(recursive=True) if "EngineCore" in child.name()]
    engine.kill()
    for path in [path for folder in directory.glob("*/_journal/*") for path in attempts(folder)]:
        rows = [json.loads(line)["row"] for line in path.read_text().splitlines() if line.startswith('{"row"')]
        kept.update({row["candidate_id"]: row["text"] for row in rows})


def test_a_run_resumes_from_its_journal_when_its_engine_is_killed(tmp_path: Path) -> None:
    (tmp_path / "teachers.yaml").write_text(yaml.safe_dump({"teachers": [TEACHER]}))
    config = {
        "kind": "sft",
        "name": "killed",
        "prompts": {"kind": "demo", "languages": ["es"], "per_language": NUM_PROMPTS},
        "teachers": str(tmp_path / "teachers.yaml"),
        "router": {"kind": "single", "teacher": "iberia"},
        "sampling": {"n": 2, "max_tokens": 24},
        "checks": [{"kind": "emptiness"}],
        "ensemble": {"weights": {"emptiness": 1.0}},
        "export": [],
        "num_shards": 1,
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(config))
    directory, kept = tmp_path / "run", {}
    killing = threading.Thread(target=kill_the_engine, args=(directory, 20, kept))
    killing.start()
    manifest = run_file(tmp_path / "pipeline.yaml", directory, LocalBackend())
    killing.join()
    step = next(s for s in manifest.steps if s.name == "generate-iberia")
    assert (step.num_rows, step.num_rejected) == (2 * NUM_PROMPTS, 0)
    assert 20 <= len(kept) <= step.num_replayed < 2 * NUM_PROMPTS
    made = {
        c.candidate_id: c.text
        for t in open_run(directory).tables("generate-iberia")
        for c in from_table(t, Candidate)
    }
    assert {candidate_id: made[candidate_id] for candidate_id in kept} == kept
