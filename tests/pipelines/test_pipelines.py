"""Whole pipelines over fake teachers: the same on both backends, and every row accounted for."""

from pathlib import Path

import pytest

from arbitrage.errors import ConfigError
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.records import Candidate, PreferencePair, Prompt, Score, SftExample
from arbitrage.runs.run import Run, open_run
from arbitrage.tables import from_table
from pipelines.loading import load_pipeline
from tests.support.paths import ROOT
from tests.support.pipelines import run_file, write_pipeline, write_pool
from tests.support.runs import shard_bytes


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("small")
    run_file(write_pipeline(directory), directory / "run")
    return open_run(directory / "run")


def test_both_backends_write_the_same_bytes(small: Run, tmp_path: Path, ray_backend: RayBackend) -> None:
    run_file(write_pipeline(tmp_path), tmp_path / "run", ray_backend)
    on_ray = shard_bytes(tmp_path / "run")
    assert on_ray == shard_bytes(small.path)
    assert len(on_ray) > 30


def test_every_candidate_is_scored_by_every_scorer(small: Run) -> None:
    candidates = {
        c.candidate_id
        for step in small.plan.table["candidates"]
        for table in small.tables(step)
        for c in from_table(table, Candidate)
    }
    assert len(candidates) == 48 * 3 * 2
    scored: dict[str, set[str]] = {}
    for step in (*small.plan.table["scores"], *small.plan.table["final"]):
        for table in small.tables(step):
            for score in from_table(table, Score):
                scored.setdefault(score.reward.split("@")[0], set()).add(score.candidate_id)
    assert set(scored) == {"taste", "emptiness", "truncation", "language-confusion", "reasoning-left", "ensemble"}
    assert all(ids == candidates for ids in scored.values())


def test_selected_rows_are_the_best_of_their_own_prompt(small: Run) -> None:
    prompts = {p.prompt_id: p for t in small.tables("prompts") for p in from_table(t, Prompt)}
    values: dict[str, dict[str, float]] = {}
    for table in small.tables("ensemble"):
        for score in from_table(table, Score):
            if score.value is not None:
                values.setdefault(score.prompt_id, {})[score.candidate_id] = score.value
    examples = [e for t in small.tables("select-sft") for e in from_table(t, SftExample)]
    assert examples
    for example in examples:
        assert example.score == max(values[example.prompt_id].values())
        assert example.messages[:-1] == prompts[example.prompt_id].messages
    pairs = [p for t in small.tables("select-preference") for p in from_table(t, PreferencePair)]
    assert pairs
    for pair in pairs:
        assert pair.score_gap == pytest.approx(pair.chosen_score - pair.rejected_score)
        assert pair.score_gap >= 0.5
        assert {pair.chosen_id, pair.rejected_id} <= values[pair.prompt_id].keys()


def test_gates_keep_english_and_cut_answers_out(small: Run) -> None:
    shut = [s.error for t in small.tables("ensemble") for s in from_table(t, Score) if s.error]
    assert {"filter:language-confusion", "filter:truncation"} <= set(shut)


def test_the_books_balance_by_language_and_teacher(small: Run) -> None:
    for step in small.manifest.steps:
        for account in step.accounts:
            assert account.num_in == account.num_out + sum(account.rejected.values())
    generate = next(s for s in small.manifest.steps if s.name == "generate-bee")
    assert {(a.language, a.teacher, a.num_in) for a in generate.accounts} == {
        (language, "bee", 16) for language in ("en", "de", "ru", "ar", "hi", "th")
    }


def test_calibration_takes_the_bias_out(small: Run) -> None:
    languages = {p.prompt_id: p.language for t in small.tables("prompts") for p in from_table(t, Prompt)}
    raw: dict[str, list[float]] = {}
    final: dict[str, list[float]] = {}
    for step in small.plan.table["scores"]:
        for score in (s for t in small.tables(step) for s in from_table(t, Score)):
            if score.reward.startswith("taste@") and score.value is not None:
                raw.setdefault(languages[score.prompt_id], []).append(score.value)
    for score in (s for t in small.tables("ensemble") for s in from_table(t, Score)):
        if score.value is not None:
            final.setdefault(languages[score.prompt_id], []).append(score.value)
    mean = {tag: sum(v) / len(v) for tag, v in raw.items()}
    calibrated = {tag: sum(v) / len(v) for tag, v in final.items()}
    assert mean["ar"] - mean["en"] > 2.0
    assert abs(calibrated["ar"] - calibrated["en"]) < 1.0


def test_a_teacher_that_joins_costs_its_own_answers_alone(small: Run, tmp_path: Path) -> None:
    run_file(write_pipeline(tmp_path), tmp_path / "run")
    before = shard_bytes(tmp_path / "run")
    times = {name: (tmp_path / "run" / name).stat().st_mtime_ns for name in before}
    path = write_pipeline(tmp_path)
    write_pool(tmp_path / "teachers.yaml", ant={}, bee={"truncated": 0.2}, cow={"wrong_language": 0.5}, dog={})
    run_file(path, tmp_path / "run")
    redone = {s.name for s in open_run(tmp_path / "run").manifest.steps if s.num_reused < s.num_shards}
    assert redone == {
        "route-all",
        "route-uniform",
        "generate-dog",
        "score-taste-dog",
        "check-dog",
        "calibrate",
        "ensemble",
        "select-sft",
        "select-preference",
    }
    kept = [name for name in before if name.startswith(("generate", "score", "check", "prompts"))]
    assert all((tmp_path / "run" / name).stat().st_mtime_ns == times[name] for name in kept)


def test_a_teacher_that_leaves_a_uniform_pool_changes_the_routes(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, router={"kind": "uniform"}, compare=[])
    run_file(path, tmp_path / "run")
    path = write_pipeline(tmp_path, router={"kind": "uniform"}, compare=[], pool=["ant", "bee"])
    run_file(path, tmp_path / "run")
    redone = {s.name for s in open_run(tmp_path / "run").manifest.steps if s.num_reused < s.num_shards}
    assert {"generate-ant", "generate-bee"} <= redone


def test_an_unknown_teacher_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, pool=["ant", "bea"])
    with pytest.raises(Exception, match=r"no teacher is named 'bea' \(did you mean 'bee'\?\)"):
        load_pipeline(path).config.build()


def test_two_rewards_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, rewards=[{"kind": "fake", "name": "x"}, {"kind": "fake", "name": "x", "seed": 1}])
    with pytest.raises(ConfigError, match="rewards: the name 'x' is given twice"):
        load_pipeline(path)


@pytest.mark.parametrize(
    "name", ["preference", "sft", "quickstart", "train_router", "explore_commit", "steering", "compare_strategies"]
)
def test_shipped_pipelines_validate(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = ROOT
    monkeypatch.chdir(root)
    config = load_pipeline(root / "pipelines" / f"{name}.yaml").config
    assert config.select_teachers(config.load_pool())
    assert config.name == name
