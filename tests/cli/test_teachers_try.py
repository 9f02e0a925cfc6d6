"""`arbitrage teachers try`: each teacher is started and measured, and one that fails does not keep the others from it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbitrage.models.measured import memory_warning
from tests.support.clusters import running_cluster
from tests.support.pipelines import write_pipeline
from tests.support.scoring import save_reward_model
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


@pytest.mark.model
def test_reward_models_of_a_pipeline_are_tried(arbitrage: Any, tmp_path: Path) -> None:
    broken = save_reward_model(tmp_path / "broken")
    (broken / "config.json").write_text("{")
    rewards = [
        {"kind": "classifier", "name": "rm", "model": str(save_reward_model(tmp_path / "rm"))},
        {"kind": "classifier", "name": "broken", "model": str(broken)},
        {"kind": "fake", "name": "none"},
    ]
    path = write_pipeline(tmp_path, rewards=rewards)
    told = arbitrage("teachers", "try", "--rewards", path, "--json")
    assert told.code == 4
    good, bad = json.loads(told.out)
    assert bad["error"].startswith("reward 'broken': cannot load")
    assert min(good["scores_per_s"], good["start_s"], good["memory_gb"], good["weights_gb"]) > 0
    assert [pair["language"] for pair in good["pairs"]] == ["en", "de", "es"]
    assert all(pair["right"] is not None for pair in good["pairs"])
    told = arbitrage("teachers", "try", "nobody", "--rewards", path)
    assert told.code != 0
    assert "no reward model is named 'nobody'; it has rm, broken" in told.err


@pytest.mark.parametrize(
    ("weights", "gpus", "said"),
    [
        (16.0, 1, None),
        (71.0, 1, "little is left for the key-value cache"),
        (80.0, 1, "they do not fit; use more GPUs"),
        (80.0, 2, None),
        (16.0, 0.25, "little is left"),  # a share of a GPU
        (None, 1, None),
        (80.0, 0, None),  # on CPUs
    ],
)
def test_weights_are_compared_with_the_memory_of_the_gpus_held(
    weights: float | None, gpus: float, said: str | None
) -> None:
    found = memory_warning(weights, 80.0, gpus, 0.9)
    assert (found is None) == (said is None)
    assert said is None or said in str(found)


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
