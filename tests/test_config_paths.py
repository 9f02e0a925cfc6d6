"""Relative paths: those of a file are looked for beside it, those of the command line in the working directory."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbitrage.config import paths_beside, resolved_path, typed_texts
from tests.support.head import ROOT
from tests.support.pipelines import write_pipeline


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a directory that is not the file's."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_a_files_path_is_beside_it_first_and_then_in_the_working_directory(elsewhere: Path) -> None:
    config = elsewhere / "config"
    config.mkdir()
    for name in ("both", "beside"):
        (config / name).touch()
    for name in ("both", "working"):
        (elsewhere / "work" / name).touch()
    (config / "a1.jsonl").touch()
    with paths_beside(config / "pipeline.yaml", typed=["typed", "both.typed"]):
        assert resolved_path("both") == config / "both"
        assert resolved_path("beside") == config / "beside"
        assert resolved_path("working") == elsewhere / "work" / "working"
        assert resolved_path("nowhere") == config / "nowhere"
        assert resolved_path("a*.jsonl") == config / "a*.jsonl"
        assert resolved_path("typed") == elsewhere / "work" / "typed"
        assert resolved_path("/abs/olute") == Path("/abs/olute")
        assert resolved_path("x" * 5000) == config / ("x" * 5000)
    assert resolved_path("beside") == elsewhere / "work" / "beside"


def test_what_was_typed_is_found_in_lists_and_mappings() -> None:
    found = typed_texts(["prompts.paths=[a.jsonl, b.jsonl]", "x={y: c, z: [d]}", "n=4", "e=f.yaml"])
    assert found == {"a.jsonl", "b.jsonl", "c", "d", "f.yaml"}


def test_a_pipeline_runs_from_another_directory(elsewhere: Path, arbitrage: Callable[..., Any]) -> None:
    config = elsewhere / "config"
    config.mkdir()
    os.chdir(config)
    path = write_pipeline(config)
    raw = yaml.safe_load(path.read_text())
    raw["teachers"], raw["prompts"]["paths"] = "teachers.yaml", "prompts.jsonl"
    path.write_text(yaml.safe_dump(raw))
    os.chdir(elsewhere / "work")
    done = arbitrage("run", "../config/" + path.name, "--local")
    assert done.code == 0, done.err
    assert (elsewhere / "work" / "runs" / "small" / "manifest.json").exists()
    (elsewhere / "work" / "mine.jsonl").write_text((config / "prompts.jsonl").read_text())
    (config / "mine.jsonl").write_text("broken")  # not what the command line means
    done = arbitrage(
        "run", "../config/" + path.name, "--local", "--set", "prompts.paths=mine.jsonl", "--run-dir", "r"
    )
    assert done.code == 0, done.err


def test_the_rayjobs_entrypoint_finds_its_files_from_another_directory(
    elsewhere: Path, arbitrage: Callable[..., Any]
) -> None:
    """The pod's directories, under a root of this test: the config map, the volume, and the image's `/work`."""
    (job,) = [
        document
        for document in yaml.safe_load_all((ROOT / "docker" / "kuberay" / "rayjob.yaml").read_text())
        if document["kind"] == "RayJob"
    ]
    config, runs = elsewhere / "config", elsewhere / "runs"
    for folder in (config, runs):
        folder.mkdir()
    for source in (ROOT / "pipelines" / "preference.yaml", ROOT / "teachers.yaml"):
        (config / source.name).write_text(source.read_text())
    (runs / "prompts.jsonl").write_text('{"id": "1", "prompt": "How many?", "language": "en"}\n')
    words = shlex.split(job["spec"]["entrypoint"])
    here = [word.replace("/config/", f"{config}/").replace("/runs/", f"{runs}/") for word in words]
    assert here[:2] == ["arbitrage", "run"]
    ray = here.index("--ray")
    os.chdir(elsewhere / "work")
    told = arbitrage("plan", *here[2:ray], *here[ray + 2 :])
    assert told.code == 0, told.err
    assert "aya-expanse-8b" in told.out
