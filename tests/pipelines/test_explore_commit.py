"""Explore on the first shards, commit on the rest: the same bytes everywhere, fewer answers asked, better ones got."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbitrage.errors import ConfigError, UserError
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.export.export import export_run
from arbitrage.records import Candidate, Route, Score
from arbitrage.report.page import build_report
from arbitrage.report.summary import summarise
from arbitrage.runs.run import NOTES_FILE, Run, open_run
from arbitrage.runs.sealed import commit_sealed
from arbitrage.tables import from_table
from pipelines.explore_commit import ExploreCommitConfig
from pipelines.loading import load_pipeline
from pipelines.routing.outcomes import reading_of_run
from pipelines.routing.savings import savings_of
from pipelines.routing.trained import trained_by
from routers.learning.artifact import digest_of, load_artifact
from tests.support.pipelines import run_file, write_pipeline, write_prompts
from tests.support.runs import shard_bytes
from tests.support.waiting import WITHIN_S


def pipeline(directory: Path, **changes: Any) -> Path:
    """Two of six shards explored; `ant` is sound, `bee` is often cut short, `cow` often answers in English."""
    config: dict[str, Any] = {
        "kind": "explore_commit",
        "explore": 2,
        "num_shards": 6,
        "sampling": {"n": 1},
        "checks": [
            {"kind": "truncation"},
            {"kind": "language_confusion"},
        ],
    }
    path = write_pipeline(directory, **(config | changes))
    write_prompts(directory / "prompts.jsonl", per_language=40)
    return path


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("explored")
    path = pipeline(directory)
    run_file(path, directory / "run")
    commit_sealed(directory / "run" / NOTES_FILE, load_pipeline(path).config.finish(directory / "run"))
    return open_run(directory / "run")


def rows(found: Run, step: str, record: Any) -> list[Any]:
    return [row for table in found.tables(step) for row in from_table(table, record)]


def test_both_backends_write_the_same_bytes(explored: Run, tmp_path: Path, ray_backend: RayBackend) -> None:
    run_file(pipeline(tmp_path), tmp_path / "run", ray_backend)
    assert shard_bytes(tmp_path / "run") == shard_bytes(explored.path)


def test_every_teacher_is_sampled_first_and_then_one(explored: Run) -> None:
    first, rest = rows(explored, "route-all", Route), rows(explored, "route-learned", Route)
    assert {len(route.teachers) for route in first} == {3}
    assert {len(route.teachers) for route in rest} == {1}
    assert {len(route.expected) for route in rest} == {1}
    assert len(first) + len(rest) == 240
    assert not {route.prompt_id for route in first} & {route.prompt_id for route in rest}
    answered = {c.prompt_id for name in explored.plan.table["candidates"] for c in rows(explored, name, Candidate)}
    assert len(answered) == 240
    assert len(rows(explored, "ensemble", Score)) == 3 * len(first) + len(rest)


def test_it_samples_fewer_and_is_better_than_chance(explored: Run) -> None:
    saved = savings_of(explored.path)
    assert saved is not None
    assert saved.generations < 0.6 * saved.generations_of_all == 0.6 * 720
    assert saved.reward.committed > saved.reward.uniform + 0.1
    assert saved.reward.every_teacher >= saved.reward.best_single >= saved.reward.uniform
    shares = {t: sum(t in r.teachers for r in rows(explored, "route-learned", Route)) for t in ("ant", "bee", "cow")}
    assert shares["ant"] > shares["cow"]


def test_the_router_it_trained_is_written_as_files(explored: Run) -> None:
    place = explored.path / "export" / "router"
    artifact = load_artifact(Path(str(place)))
    assert artifact.teachers == ("ant", "bee", "cow")
    assert artifact.about["num_prompts"] == len(rows(explored, "route-all", Route))
    queries = reading_of_run(explored.path).matrix.queries
    assert (artifact.predictor.predict(queries) == trained_by(explored.path).predictor.predict(queries)).all()


def test_strategies_are_compared_where_every_teacher_was_sampled(explored: Run) -> None:
    summary = summarise(explored)
    assert summary.judged is not None
    assert summary.judged.overall.num_prompts == len(rows(explored, "route-all", Route))
    assert summary.num_prompts == 240


def test_the_report_says_what_was_saved(explored: Run) -> None:
    page = (build_report(explored.path).path).read_text(encoding="utf-8")
    assert "sampling every teacher would take 720" in page
    assert "prompts that were explored; on the others a router chose" in page
    assert "carry a reference" not in page


def test_data_sets_hold_both_parts(explored: Run) -> None:
    [sft] = export_run(explored.path, "trl", ["sft"])
    [table] = export_run(explored.path, "trl", ["candidates"])
    first, rest = (len(rows(explored, name, Route)) for name in ("route-all", "route-learned"))
    assert table.num_rows == 3 * first + rest
    assert first < sft.num_rows <= 240


def test_another_learner_trains_and_routes_again_and_explores_nothing_anew(tmp_path: Path) -> None:
    run_file(pipeline(tmp_path), tmp_path / "run")
    manifest = run_file(pipeline(tmp_path, learner={"kind": "best_single"}), tmp_path / "run")
    redone = {s.name for s in manifest.steps if s.num_reused < s.num_shards}
    assert {"train-router", "route-learned"} <= redone
    kept = {
        "prompts",
        "route-all",
        "calibrate",
        "ensemble-explore",
        "generate-ant",
        "score-taste-ant",
        "check-ant",
    }
    assert not kept & redone
    assert all(
        name.endswith("-commit") or name in ("train-router", "route-learned", "ensemble", "select-sft")
        for name in redone
    )


def test_exploring_more_keeps_what_was_explored(tmp_path: Path) -> None:
    run_file(pipeline(tmp_path), tmp_path / "run")
    manifest = run_file(pipeline(tmp_path, explore=3), tmp_path / "run")
    assert {s.name: s.num_reused for s in manifest.steps}["generate-ant"] == 2


def test_a_pilot_of_explored_shards_saves_nothing_yet(tmp_path: Path) -> None:
    path = pipeline(tmp_path)
    manifest = run_file(path, tmp_path / "run", shards=range(2))
    assert {s.name: s.num_rows for s in manifest.steps}["generate-ant-commit"] == 0
    assert savings_of(tmp_path / "run") is None
    assert "savings" not in load_pipeline(path).config.finish(tmp_path / "run").figures
    assert summarise(open_run(tmp_path / "run")).num_answers > 0


def test_something_must_be_left_to_commit_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="all 6 shards would be explored"):
        load_pipeline(pipeline(tmp_path, explore=6))


def test_only_the_router_reward_explores(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="router"):
        load_pipeline(pipeline(tmp_path, router={"kind": "uniform"}))


# --- outcomes of a run -------------------------------------------------------------------------------------


def test_the_matrix_holds_mean_final_scores(tmp_path: Path) -> None:
    run_file(write_pipeline(tmp_path), tmp_path / "run")
    found = open_run(tmp_path / "run")
    reading = reading_of_run(tmp_path / "run")
    matrix = reading.matrix
    assert (len(matrix) + sum(reading.dropped.values()), matrix.teachers) == (48, ("ant", "bee", "cow"))
    candidates = {c.candidate_id: c for n in found.plan.table["candidates"] for c in rows(found, n, Candidate)}
    cells: dict[tuple[str, str], list[Score]] = {}
    for score in rows(found, "ensemble", Score):
        draft = candidates[score.candidate_id]
        cells.setdefault((draft.prompt_id, draft.teacher), []).append(score)
    floors: dict[str, float] = {}
    language = dict(zip(matrix.prompt_ids, matrix.queries.languages, strict=True))
    for (prompt_id, _), scores in cells.items():
        for score in scores:
            if score.value is not None:
                tag = language[prompt_id]
                floors[tag] = min(score.value, floors.get(tag, np.inf))
    for p, prompt_id in enumerate(matrix.prompt_ids):
        for t, teacher in enumerate(matrix.teachers):
            values = [floors[language[prompt_id]] if s.value is None else s.value for s in cells[prompt_id, teacher]]
            assert matrix.rewards_PT[p, t] == pytest.approx(np.mean(values))


def test_a_run_that_sampled_some_teachers_is_no_reward_matrix(tmp_path: Path) -> None:
    run_file(write_pipeline(tmp_path, router={"kind": "uniform"}, compare=[]), tmp_path / "run")
    with pytest.raises(UserError, match="did not sample every teacher"):
        reading_of_run(tmp_path / "run")


# --- the command line --------------------------------------------------------------------------------------


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "arbitrage.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)


@pytest.mark.process
def test_train_and_show_on_the_command_line(explored: Run, tmp_path: Path) -> None:
    done = cli("router", "train", "--run", str(explored.path), "--out", str(tmp_path / "router"), "--set", "folds=3")
    assert done.returncode == 0, done.stderr
    assert "route by it:" in done.stdout
    shown = json.loads(cli("router", "show", str(tmp_path / "router"), "--json").stdout)
    assert shown["digest"] == digest_of(tmp_path / "router")
    assert shown["about"]["learner"]["folds"] == 3
    assert shown["teachers"] == ["ant", "bee", "cow"]
    wrong = cli("router", "train", "--run", str(explored.path), "--out", str(tmp_path / "x"), "--learner", "lerned")
    assert wrong.returncode == 2
    assert "did you mean 'learned'?" in wrong.stderr


def test_a_trained_router_routes_another_run(explored: Run, tmp_path: Path) -> None:
    place = str(explored.path / "export" / "router")
    run_file(write_pipeline(tmp_path, router={"kind": "learned", "artifact": place}, compare=[]), tmp_path / "run")
    assert {len(route.teachers) for route in rows(open_run(tmp_path / "run"), "route-learned", Route)} == {1}


def test_a_training_run_writes_its_router(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, kind="train_router")
    run_file(path, tmp_path / "run")
    finish = load_pipeline(path).config.finish(tmp_path / "run")
    assert load_artifact(Path(finish.figures["router"])).teachers == ("ant", "bee", "cow")


@pytest.mark.process
def test_an_estimate_counts_the_rest_as_one_each(tmp_path: Path) -> None:
    told = json.loads(cli("plan", str(pipeline(tmp_path)), "--run-dir", str(tmp_path / "run"), "--json").stdout)
    generations = sum(row["generations"] for row in told["generation"])
    assert isinstance(load_pipeline(pipeline(tmp_path)).config, ExploreCommitConfig)
    assert 240 < generations < 0.6 * 720
