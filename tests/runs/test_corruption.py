"""Damage in a run directory: found where it is read, mended by the next run, never used; what was paid for stays."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from arbitrage.cli.main import app
from arbitrage.errors import ArbitrageError, DamagedFileError, StorageError
from arbitrage.runs.layout import rejects_path, shard_path, stats_path
from arbitrage.runs.lineage import read_stats
from arbitrage.runs.manifest import Manifest, RunPlan
from arbitrage.runs.paths import path_component
from arbitrage.runs.run import Run, open_run
from arbitrage.runs.sealed import commit_sealed
from benchmarks.bit_flips import KINDS, Case, flip, make_case
from tests.support.asked import asked_pipeline
from tests.support.runs import Notes, run

NUM_PROMPTS, NUM_SHARDS = 40, 2
ENGINE: dict[str, Any] = {"poison": "question 7", "max_in_flight": 8}


def run_again(directory: Path, engine: dict[str, Any] = ENGINE) -> tuple[Manifest, list[str]]:
    notes = Notes()
    manifest = run(directory, asked_pipeline(NUM_PROMPTS, engine), shards=NUM_SHARDS, progress=notes)
    return manifest, notes.notes


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corruption") / "run"
    run_again(directory)
    return directory


@pytest.fixture
def directory(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "run")


def files_of(directory: Path) -> dict[str, bytes]:
    """Every shard and every file of rejects."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("shard-*.parquet"))
        if "_damaged" not in path.parts
    }


def asked_again(manifest: Manifest) -> int:
    """How many completions the teacher's step paid for in this run."""
    step = next(step for step in manifest.steps if step.name == "generate-fake")
    return 0 if step.num_reused == step.num_shards else step.num_in - step.num_replayed


def read_all(directory: Path, step: str) -> None:
    run = open_run(directory)
    for each in (run.tables, run.rejects):
        list(each(step))


def read_documents(directory: Path) -> None:
    run = open_run(directory)
    _ = run.manifest, run.notes


def shard_with_rejects(run: Run) -> int:
    directory = run.directory("generate-fake")
    return next(k for k in range(NUM_SHARDS) if rejects_path(directory, k).exists())


Damage = Callable[[Path], None]


def turn_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def lose(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = {"turned": turn_a_bit, "cut": cut, "lost": lose, "emptied": empty}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("step", "place"),
    [
        *((step, place) for step in ("prompts", "route-fake", "generate-fake") for place in (shard_path, stats_path)),
        ("generate-fake", rejects_path),
    ],
)
def test_a_damaged_file_is_named_when_it_is_read_and_mended_by_verify_and_run(
    directory: Path, step: str, place: Callable[..., Path], damage: str
) -> None:
    before, run = files_of(directory), open_run(directory)
    shard = shard_with_rejects(run)
    path = place(run.directory(step), shard)
    DAMAGES[damage](path)
    with pytest.raises(DamagedFileError, match=rf"{path.name}: is (damaged|missing).*`arbitrage verify .* --repair`"):
        read_all(directory, step)
    assert CliRunner().invoke(app, ["verify", str(directory), "--repair"]).exit_code == 3
    manifest, _ = run_again(directory)
    assert files_of(directory) == before
    assert CliRunner().invoke(app, ["verify", str(directory)]).exit_code == 0
    if step != "generate-fake" or place is stats_path:
        assert asked_again(manifest) == 0
    elif place is rejects_path:
        stats = read_stats(run.directory(step), shard)
        assert stats is not None
        assert stats.num_in - stats.num_replayed == 1  # the reject alone


@pytest.mark.parametrize("damage", ["cut", "lost", "emptied"])
@pytest.mark.parametrize("place", [shard_path, stats_path, rejects_path])
def test_a_run_finds_files_of_another_size_by_itself(
    directory: Path, place: Callable[..., Path], damage: str
) -> None:
    before, run = files_of(directory), open_run(directory)
    path = place(run.directory("generate-fake"), shard_with_rejects(run))
    DAMAGES[damage](path)
    run_again(directory)
    assert files_of(directory) == before


def test_a_turned_bit_in_what_a_run_reads_is_set_aside_and_made_again(directory: Path) -> None:
    before, run = files_of(directory), open_run(directory)
    path = shard_path(run.directory("prompts"), 0)
    turn_a_bit(path)
    shard_path(run.directory("generate-fake"), 0).unlink()  # so that the prompts are read
    _, notes = run_again(directory)
    assert files_of(directory) == before
    assert any("shard-00000.parquet: is damaged; it is set aside as _damaged/prompts" in note for note in notes)
    assert (directory / "_damaged" / path.relative_to(directory)).exists()


def test_lost_prompts_and_counts_cost_no_completion(directory: Path) -> None:
    run = open_run(directory)
    for shard in range(NUM_SHARDS):
        shard_path(run.directory("prompts"), shard).unlink()
        stats_path(run.directory("route-fake"), shard).unlink()
        stats_path(run.directory("generate-fake"), shard).unlink()
    manifest, _ = run_again(directory)
    assert asked_again(manifest) == 0
    assert {step.name: step.num_reused for step in manifest.steps} == {
        "prompts": 0,
        "route-fake": 2,
        "generate-fake": 2,
    }


def test_counts_are_not_read_from_a_shard_that_is_damaged_too(directory: Path) -> None:
    before, run = files_of(directory), open_run(directory)
    path = shard_path(run.directory("generate-fake"), 0)
    data = bytearray(path.read_bytes())
    data[60] ^= 1  # in a page of data
    path.write_bytes(data)
    stats_path(run.directory("generate-fake"), 0).unlink()
    run_again(directory)
    assert files_of(directory) == before


@pytest.mark.parametrize("name", ["manifest.json", "run.json", "notes.json"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"null",
        b"[]",
        b'{"steps": 1e999}',
        b"\x00" * 5000,
    ],
)
def test_a_file_of_the_run_that_is_garbage_is_one_sentence(directory: Path, name: str, content: bytes) -> None:
    (directory / name).write_bytes(content)
    with pytest.raises(DamagedFileError) as found:
        read_documents(directory)
    assert "\n" not in str(found.value)
    assert f"{name}: is damaged" in str(found.value)
    run_again(directory)
    assert open_run(directory).manifest.status == "complete"


@pytest.mark.parametrize("change", [b'"num_shards": 2', b'"name": "toy"', b'"directory": "prompts-'])
def test_a_plan_that_was_edited_is_not_believed(directory: Path, change: bytes) -> None:
    path = directory / "run.json"
    data = path.read_bytes()
    assert change in data
    path.write_bytes(data.replace(change, change[:-1] + b"9"))
    with pytest.raises(DamagedFileError, match="its checksum does not match its text"):
        open_run(directory)


def test_a_lost_plan_is_written_again(directory: Path) -> None:
    before = files_of(directory)
    (directory / "run.json").unlink()
    assert CliRunner().invoke(app, ["verify", str(directory)]).exit_code == 3
    manifest, _ = run_again(directory)
    assert asked_again(manifest) == 0
    assert files_of(directory) == before


def test_a_shard_that_a_finished_run_lacks_is_missed(directory: Path) -> None:
    run = open_run(directory)
    shard_path(run.directory("generate-fake"), 1).unlink()
    with pytest.raises(DamagedFileError, match=r"shard-00001\.parquet: is missing"):
        list(run.tables("generate-fake"))


def test_verify_lists_damage_and_strays_and_changes_nothing_by_itself(directory: Path) -> None:
    run = open_run(directory)
    turn_a_bit(shard_path(run.directory("generate-fake"), 0))
    (directory / "pyarrow.py").write_text("raise SystemExit")
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    found = CliRunner().invoke(app, ["verify", str(directory), "--json"])
    assert found.exit_code == 3
    told = json.loads(found.stdout)
    [damage] = told["damage"]
    assert damage["path"] == f"{run.directory('generate-fake').name}/shard-00000.parquet"
    assert "expected digest" in damage["what"]
    assert [stray["path"] for stray in told["strays"]] == ["pyarrow.py"]
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_repair_deletes_nothing(directory: Path) -> None:
    run = open_run(directory)
    paths = [shard_path(run.directory("generate-fake"), 0), stats_path(run.directory("route-fake"), 1)]
    for path in paths:
        turn_a_bit(path)
    contents = [path.read_bytes() for path in paths]
    CliRunner().invoke(app, ["verify", str(directory), "--repair"])
    aside = [directory / "_damaged" / path.relative_to(directory) for path in paths]
    assert [path.read_bytes() for path in aside] == contents
    assert not (directory / "manifest.json").exists()  # the run is not complete now


@pytest.mark.parametrize("kind", ["shard", "counts", "plan", "step"])
def test_a_link_in_a_run_directory_is_not_followed(directory: Path, tmp_path: Path, kind: str) -> None:
    run = open_run(directory)
    paths = {
        "shard": shard_path(run.directory("generate-fake"), 0),
        "counts": stats_path(run.directory("generate-fake"), 0),
        "plan": directory / "run.json",
        "step": run.directory("generate-fake"),
    }
    elsewhere = tmp_path / "elsewhere"
    paths[kind].rename(elsewhere)
    paths[kind].symlink_to(elsewhere)
    before = sorted((path, path.stat().st_mtime_ns) for path in [elsewhere, *elsewhere.rglob("*")])
    with pytest.raises(ArbitrageError, match="link"):
        read_all(directory, "generate-fake")
    assert CliRunner().invoke(app, ["verify", str(directory)]).exit_code == 3
    try:
        run_again(directory)
    except ArbitrageError as error:
        assert "link" in str(error)  # noqa: PT017
    assert sorted((path, path.stat().st_mtime_ns) for path in [elsewhere, *elsewhere.rglob("*")]) == before


@pytest.mark.parametrize("name", ["generate-fake", "_damaged"])
def test_nothing_is_removed_or_put_where_a_link_leads(directory: Path, name: str) -> None:
    """A directory that a planted link stands for is left alone: its temporary files, and its other ones."""
    step = open_run(directory).directory("generate-fake")
    link = step if name == "generate-fake" else directory / name
    if link.exists():
        shutil.rmtree(link)
    elsewhere = directory.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "_tmp-1-mine").write_text("mine")
    link.symlink_to(elsewhere)
    if name == "_damaged":
        cut(shard_path(step, 0))
    with pytest.raises(StorageError, match="is a link, and links in a run directory are not followed"):
        run_again(directory)
    assert [path.name for path in elsewhere.iterdir()] == ["_tmp-1-mine"]


def test_a_link_where_the_lock_or_a_temporary_file_is_to_be_is_not_written_through(directory: Path) -> None:
    victim = directory.parent / "victim"
    victim.write_text("mine")
    (directory / "_lock").unlink()
    (directory / "_lock").symlink_to(victim)
    with pytest.raises((ArbitrageError, StorageError)):
        run_again(directory)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", "", "a\x00b", "x" * 300, ".hidden", "a\nb"])
def test_a_plan_that_leads_out_of_its_directory_is_refused(directory: Path, name: str) -> None:
    plan = open_run(directory).plan
    steps = [plan.steps[0].model_copy(update={"directory": name}), *plan.steps[1:]]
    for field, value in (("steps", tuple(steps)), ("datasets", {name: "generate-fake"})):
        forged = RunPlan.model_construct(**(dict(plan) | {field: value}))
        try:
            commit_sealed(directory / "run.json", forged)
        except ValueError:
            continue  # not even JSON
        with pytest.raises(DamagedFileError, match="cannot be the name of a file"):
            open_run(directory)


def test_a_name_keeps_its_letters() -> None:
    assert path_component("Ärger", "the data set") == "Ärger"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("flips"), 30)


@pytest.mark.process
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [11, 12])
def test_a_turned_bit_is_never_used(case: Case, kind: str, seed: int, tmp_path: Path) -> None:
    assert flip(case, kind, seed, tmp_path / "copy") in ("found", "harmless")
