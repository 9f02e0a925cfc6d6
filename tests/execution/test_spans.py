"""Steps that do some of the shards: exploring on a few, committing on the rest."""

from pathlib import Path

from arbitrage.records import Calibration
from arbitrage.runs.layout import shard_path
from arbitrage.runs.run import open_run
from arbitrage.tables import from_table
from tests.support.runs import run, shard_bytes, shard_times
from tests.support.toy import toy_explorer


def test_a_step_may_do_some_of_the_shards_and_wait_for_what_others_make_of_theirs(tmp_path: Path) -> None:
    manifest = run(tmp_path / "r", toy_explorer())
    rows = {s.name: (s.num_shards, s.num_rows) for s in manifest.steps}
    opened = open_run(tmp_path / "r")
    [explored] = from_table(opened.table("calibrate"), Calibration)
    assert rows["generate-a"] == (2, explored.num_scores)
    assert rows["generate-b"] == (2, 40 - explored.num_scores)
    assert rows["ensemble"] == (4, 40)
    assert (opened.shards("generate-a"), opened.shards("generate-b")) == ((0, 1), (2, 3))
    assert all(s.num_reused == s.num_shards for s in run(tmp_path / "r", toy_explorer()).steps)


def test_a_step_that_does_more_shards_keeps_those_it_did(tmp_path: Path) -> None:
    run(tmp_path / "r", toy_explorer(explore=2))
    before = shard_times(tmp_path / "r")
    manifest = run(tmp_path / "r", toy_explorer(explore=3))
    assert {s.name: s.num_reused for s in manifest.steps} == {
        "prompts": 4,
        "generate-a": 2,
        "calibrate": 0,
        "generate-b": 0,  # it reads the count
        "ensemble": 0,
    }
    again = run(tmp_path / "r", toy_explorer(explore=2))
    assert all(s.num_reused == s.num_shards for s in again.steps), "a third explored shard changes nothing for two"
    assert {name: when for name, when in shard_times(tmp_path / "r").items() if name in before} == before


def test_a_shard_lost_beyond_what_a_corpus_step_reads_does_not_concern_it(tmp_path: Path) -> None:
    directory = tmp_path / "r"
    run(directory, toy_explorer())
    bytes_before = shard_bytes(directory)
    shard_path(open_run(directory).directory("prompts"), 3).unlink()
    manifest = run(directory, toy_explorer())
    reused = {s.name: s.num_reused for s in manifest.steps}
    assert reused == {"prompts": 3, "generate-a": 2, "calibrate": 1, "generate-b": 2, "ensemble": 4}
    assert shard_bytes(directory) == bytes_before


def test_a_pilot_of_the_explored_shards_is_reused_by_the_whole(tmp_path: Path) -> None:
    pilot = run(tmp_path / "r", toy_explorer(), only=2)
    assert {s.name: s.num_shards for s in pilot.steps}["generate-b"] == 0
    reused = {s.name: s.num_reused for s in run(tmp_path / "r", toy_explorer()).steps}
    assert reused == {"prompts": 4, "generate-a": 2, "calibrate": 1, "generate-b": 0, "ensemble": 2}
