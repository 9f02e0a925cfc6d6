"""Runs and exports in an object store: same bytes, exact resume, what is published when."""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from arbitrage.errors import StorageError, UserError
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.lock import LOCK_FILE
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.execution.run import Backend
from arbitrage.export.export import export_run
from arbitrage.runs import paths
from arbitrage.runs.layout import shard_path
from arbitrage.runs.paths import StorePath, files_below
from arbitrage.runs.run import open_run
from tests.support.asked import asked_pipeline
from tests.support.object_store import SECRET, requests_in
from tests.support.own_process import own_process
from tests.support.pipelines import write_pipeline
from tests.support.runs import run, shard_bytes

pytestmark = pytest.mark.usefixtures("store")
BACKENDS = [LocalBackend(), RayBackend()]


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards that a run on a disk writes."""
    directory = tmp_path_factory.mktemp("on-disk")
    run(directory, asked_pipeline(60, {}), shards=2)
    return shard_bytes(directory)


@pytest.mark.parametrize("backend", BACKENDS, ids=["local", "ray"])
@pytest.mark.ray
def test_a_run_in_a_store_writes_the_bytes_of_a_run_on_a_disk(
    prefix: StorePath, on_disk: dict[str, bytes], backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend.name == "local":
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    manifest = run(prefix, asked_pipeline(60, {}), backend, shards=2)
    assert manifest.status == "complete"
    assert shard_bytes(prefix) == on_disk
    left = {path.name for path in files_below(prefix) if not path.name.startswith("shard-")}
    assert left <= {"run.json", "manifest.json", "_live.json"}  # no journal, no lease
    assert not list(tmp_path.iterdir())  # what was on its way is away


def test_a_second_run_does_nothing_and_a_deleted_shard_is_made_again(
    prefix: StorePath, on_disk: dict[str, bytes]
) -> None:
    run(prefix, asked_pipeline(60, {}), shards=2)
    again = run(prefix, asked_pipeline(60, {}), shards=2)
    assert all(step.num_reused == step.num_shards for step in again.steps)
    shard_path(open_run(prefix).directory("generate-fake"), 1).unlink()
    mended = run(prefix, asked_pipeline(60, {}), shards=2)
    assert {s.name: s.num_shards - s.num_reused for s in mended.steps} == {
        "prompts": 0,
        "route-fake": 0,
        "generate-fake": 1,
    }
    assert shard_bytes(prefix) == on_disk


def test_counts_come_before_their_shard_and_the_manifest_last(
    prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = StorePath.write_bytes

    def noted(self: StorePath, data: Any) -> None:
        write(self, data)
        written.append(self.uri.removeprefix(f"{prefix.uri}/"))

    monkeypatch.setattr(StorePath, "write_bytes", noted)
    run(prefix, asked_pipeline(20, {}), shards=2)
    mine = [name for name in written if name not in (LOCK_FILE, "_live.json") and "_journal" not in name]
    assert mine[0] == "run.json"
    assert mine[-1] == "manifest.json"
    shards = [name for name in mine if name.endswith(".parquet")]
    assert len(shards) == 6
    for shard in shards:
        stats = shard.replace("/shard", "/_stats/shard").replace(".parquet", ".json")
        assert mine.index(stats) < mine.index(shard)
    assert len(mine) == len(set(mine))  # every name is written once


def test_the_command_line_works_on_a_store(
    tmp_path: Path, prefix: StorePath, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from arbitrage.cli.main import main

    def arbitrage(*arguments: object) -> str:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["arbitrage", *map(str, arguments)])
        code: object = 0
        try:
            with own_process():
                main()
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        assert not code, said.err
        return said.out

    monkeypatch.chdir(tmp_path)
    pipeline = write_pipeline(tmp_path)
    before = set(tmp_path.iterdir())
    assert f"report: {prefix}/report.html" in arbitrage("run", pipeline, "--local", "--run-dir", prefix)
    assert set(tmp_path.iterdir()) == before  # nothing of the run is here
    arbitrage("plan", pipeline, "--run-dir", prefix)
    found = json.loads(arbitrage("status", prefix, "--json"))
    assert (found["run"], found["finished"], found["at_work"]) == (str(prefix), True, False)
    assert {step["name"]: step["shards_done"] for step in found["steps"]}["generate-cow"] == 3
    assert len(arbitrage("show", prefix, "sft", "-n", 2, "--json").splitlines()) == 2
    (prefix / "report.html").unlink()
    assert arbitrage("report", prefix).strip() == f"{prefix}/report.html"
    assert len((prefix / "report.html").read_bytes()) > 10_000
    results = json.loads(arbitrage("export", prefix, "--json"))
    assert {result["path"] for result in results} == {f"{prefix}/export/sft", f"{prefix}/export/preference"}
    arbitrage("export", prefix, "--dataset", "sft", "--out", tmp_path / "out")
    assert (tmp_path / "out" / "sft" / "provenance.json").exists()
    assert not [path for path in prefix.files() if SECRET.encode() in path.read_bytes()]
    _check_shards_and_exports(prefix, tmp_path / "copy")


def test_a_run_is_planned_once(
    tmp_path: Path, prefix: StorePath, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning takes a request for each shard and step, and each is paid for."""
    from arbitrage.cli.main import main

    pipeline = write_pipeline(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["arbitrage", "run", str(pipeline), "--local", "--run-dir", str(prefix)])
    for _ in range(2):
        num_before = len(requests_in(store))
        with own_process(), pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        made = requests_in(store)[num_before:]
        planning = made[: next(i for i, each in enumerate(made) if each.startswith("PUT") and "/run.json" in each)]
    counts = [each for each in planning if each.startswith("GET") and "/_stats/" in each]
    assert len(counts) == len(set(counts)) > 30


def _check_shards_and_exports(directory: StorePath, copy: Path) -> None:
    from datasets import load_dataset

    filesystem = paths._filesystem("s3", "bucket")
    step = open_run(directory).directory("select-sft")
    rows = pq.read_table(str(step).removeprefix("s3://"), filesystem=filesystem)
    assert rows.num_rows == sum(table.num_rows for table in open_run(directory).tables("select-sft")) > 0
    exported = directory / "export" / "sft"
    assert isinstance(exported, StorePath)
    for path in exported.files():
        target = copy / path.uri.removeprefix(f"{exported}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert load_dataset(str(copy), split="train").num_rows == rows.num_rows
    assert json.loads((copy / "provenance.json").read_text())["rows"]["exported"] == rows.num_rows


def test_an_export_takes_the_place_of_an_earlier_one_provenance_last(
    tmp_path: Path, prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.pipelines import run_file

    run_file(write_pipeline(tmp_path), tmp_path / "run")
    export_run(tmp_path / "run", out=prefix, datasets=["sft"])
    target = prefix / "sft"
    before = {path.uri for path in target.files()}
    (target / "data" / "train" / "xx.00000.parquet").write_bytes(b"of an earlier export")
    uploaded: list[str] = []
    upload = StorePath.upload

    def stop_half_way(self: StorePath, path: Path) -> None:
        if len(uploaded) == 3:
            raise StorageError("gone")
        uploaded.append(self.name)
        upload(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(StorePath, "upload", stop_half_way)
        with pytest.raises(StorageError):
            export_run(tmp_path / "run", out=prefix, datasets=["sft"])
    assert not (target / "provenance.json").exists()
    export_run(tmp_path / "run", out=prefix, datasets=["sft"])
    assert {path.uri for path in target.files()} == before
    export_run(tmp_path / "run", out=tmp_path / "out", datasets=["sft"])
    for path in target.files():
        assert path.read_bytes() == (tmp_path / "out" / "sft" / path.uri.removeprefix(f"{target}/")).read_bytes()
    (target / "provenance.json").unlink()
    with pytest.raises(UserError, match="is not an export"):
        export_run(tmp_path / "run", out=prefix, datasets=["sft"])
