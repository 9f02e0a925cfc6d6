"""`arbitrage teachers fetch`: weights are downloaded once, at the pinned revision, and what fails has a cause."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.clusters import running_cluster
from tests.support.hub import Hub, serve_hub
from tests.support.tiny_model import save_model

pytestmark = pytest.mark.process


def write(path: Path, *teachers: dict[str, Any]) -> Path:
    common = {"languages": ["en"], "precision": "fp32", "engine": {"kind": "transformers"}}
    path.write_text(yaml.safe_dump({"teachers": [common | teacher for teacher in teachers]}))
    return path


def fetched(hub: Hub, home: Path, *arguments: object) -> tuple[int, list[dict[str, Any]]]:
    """Run the command with the Hub on loopback; return its exit code and what it prints."""
    env = os.environ | {"HF_ENDPOINT": hub.base_url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    env.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-m", "arbitrage.cli.main", "teachers", "fetch", "--json", *map(str, arguments)]
    told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert told.stdout, told.stderr
    return told.returncode, json.loads(told.stdout)


@pytest.mark.model
@pytest.mark.long
def test_weights_are_downloaded_once_at_their_revision(tmp_path: Path) -> None:
    model = save_model(tmp_path / "files")
    (model / "consolidated.safetensors").write_bytes(b"the same in another format")
    (model / "README.md").write_text("not needed")
    pinned = {"model": "org/tiny", "revision": "c" * 40}
    path = write(
        tmp_path / "teachers.yaml",
        pinned | {"name": "one"},
        pinned | {"name": "two", "precision": "bf16"},
        {"name": "local", "model": str(model)},
        {"name": "gone", "model": "org/gone"},
        {"name": "gated", "model": "org/gated"},
        {"name": "far", "model": "x", "engine": {"kind": "openai", "base_url": "http://localhost:1/v1"}},
    )
    models = {"org/tiny": model, "org/gated": model}
    with serve_hub(Hub(models, gated=frozenset({"org/gated"}))) as hub:
        code, (tiny, local, gone, gated) = fetched(hub, tmp_path / "home", "--pool", path)
        assert tiny["error"] is None
        first = list(hub.sent)
        again, (same,) = fetched(hub, tmp_path / "home", "one", "--pool", path)
    assert code == 4
    names = sorted(name for name, _ in first)
    assert "model.safetensors" in names
    assert len(set(names)) == len(names)
    assert not {"consolidated.safetensors", "README.md"} & set(names)
    assert tiny["downloaded_bytes"] == tiny["size_bytes"] > 0
    assert (Path(tiny["directory"]) / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert (local["downloaded_bytes"], local["directory"], local["error"]) == (0, str(model), None)
    assert gone["error"] == "there is no such model, or it is private: check the name, and set HF_TOKEN"
    assert gated["error"] == "access is restricted: accept its terms on its page, and set HF_TOKEN"
    assert (again, same["downloaded_bytes"], same["size_bytes"]) == (0, 0, tiny["size_bytes"])
    assert hub.sent == first


@pytest.mark.ray
@pytest.mark.model
def test_on_a_cluster_every_node_reports(arbitrage: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "teachers.yaml", {"name": "local", "model": str(save_model(tmp_path / "files"))})
    with running_cluster({"num_cpus": 1}, [{"num_cpus": 1}]) as cluster:
        told = arbitrage("teachers", "fetch", "--pool", path, "--ray", cluster.address)
    assert told.code == 0
    assert told.out.count("✓ local: ") == 2
    assert "already here" in told.out
