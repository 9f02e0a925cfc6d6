"""`arbitrage teachers try`: each teacher is started and measured, and one that fails does not keep the others from it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.clusters import running_cluster
from tests.support.tiny_model import save_model

pytestmark = pytest.mark.process


def write(path: Path, *teachers: dict[str, Any]) -> Path:
    common = {"languages": ["de", "en"], "precision": "fp32"}
    path.write_text(yaml.safe_dump({"teachers": [common | teacher for teacher in teachers]}))
    return path


def pool(tmp_path: Path) -> Path:
    model = save_model(tmp_path / "tiny", reasons=True)
    broken = save_model(tmp_path / "broken")
    (broken / "config.json").write_text("{")
    here = {"kind": "transformers"}
    return write(
        tmp_path / "teachers.yaml",
        {"name": "broken", "model": str(broken), "engine": here},
        {"name": "tiny", "model": str(model), "engine": here, "sampling": {"reasoning_budget": 4, "min_tokens": 12}},
        {"name": "fake", "engine": {"kind": "fake", "failures": {"bad_request": 1.0}}},
    )


@pytest.mark.model
def test_each_teacher_is_tried_and_the_cause_of_a_failure_is_one_line(arbitrage: Any, tmp_path: Path) -> None:
    told = arbitrage("teachers", "try", "--pool", pool(tmp_path), "--max-tokens", "24", "--json")
    assert told.code == 4
    broken, tiny, fake = json.loads(told.out)
    assert broken["error"].startswith("teacher 'broken': cannot load")
    assert tiny["error"] is None
    assert min(tiny["tokens_per_s"], tiny["start_s"], tiny["memory_gb"], tiny["weights_gb"]) > 0
    assert [sample["language"] for sample in tiny["samples"]] == ["de", "en"]
    assert all(sample["reasoning_tokens"] == 4 for sample in tiny["samples"])
    assert [sample["failure"] for sample in fake["samples"]] == ["bad_request: as configured"] * 2
    shown = arbitrage("teachers", "try", "fake", "--pool", tmp_path / "teachers.yaml")
    assert shown.code == 4
    assert "✗ fake on " in shown.out
    assert "    de: ✗ bad_request: as configured" in shown.out


@pytest.mark.ray
def test_on_a_cluster_each_runs_where_its_resources_are(arbitrage: Any, tmp_path: Path) -> None:
    path = write(
        tmp_path / "teachers.yaml",
        {"name": "fits", "engine": {"kind": "fake"}, "resources": {"cpus": 1}},
        {"name": "huge", "engine": {"kind": "fake"}, "resources": {"gpus": 8}},
    )
    with running_cluster({"num_cpus": 1}, []) as cluster:
        told = arbitrage("teachers", "try", "--pool", path, "--ray", cluster.address, "--json")
    fits, huge = json.loads(told.out)
    assert told.code == 4
    assert fits["error"] is None
    assert fits["samples"][0]["text"]
    assert huge["error"] == "no node of the cluster has 0 CPUs, 8 GPUs"
