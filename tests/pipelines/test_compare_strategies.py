"""Strategies as queries over one table of fake teachers; and a real run: students trained, evaluated, resumed."""

import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbitrage.config import parse
from arbitrage.errors import ConfigError, DataError, InterruptedRunError, UserError
from arbitrage.execution.context import RunContext
from arbitrage.execution.progress import StopFlag
from arbitrage.prompts.sources import JsonlConfig
from arbitrage.records import Route, SftExample
from arbitrage.runs.paths import parse_path
from arbitrage.runs.run import Run, open_run
from arbitrage.tables import from_table
from arbitrage.teachers.pool import TeacherConfig
from pipelines.compare_strategies import CompareStrategiesConfig
from pipelines.loading import load_pipeline
from pipelines.students.budgets import strategy_rows
from pipelines.students.evaluation import eval_prompts, evaluate_student
from tests.support.pipelines import run_file, write_pipeline, write_prompts

STRATEGIES: list[dict[str, Any]] = [
    {"name": "uniform", "router": {"kind": "uniform"}},
    {"name": "learned", "learner": {"kind": "auto"}},
    {"name": "reward", "router": {"kind": "all"}},
    {"name": "reward-of-2", "router": {"kind": "all"}, "samples": 2},
    {"name": "mix_all", "router": {"kind": "all"}, "keep": "all"},
]
pytestmark = pytest.mark.model  # a student's arguments are checked by TRL, which imports transformers
STUDENT = {"model": "demo:novice", "engine": {"kind": "transformers"}, "seeds": [1]}


def fake(directory: Path, **changes: Any) -> Path:
    """Write a comparison over three fake teachers; `cow` declares English alone."""
    config = {
        "kind": "compare_strategies",
        "router": {"kind": "all", "language_filter": "off"},
        "compare": [],
        "checks": [{"kind": "emptiness"}],
        "strategies": STRATEGIES,
        "student": STUDENT,
        "evaluation": {"kind": "demo", "per_language": 2},
        "num_shards": 4,
    }
    path = write_pipeline(directory, **(config | changes))
    write_prompts(directory / "prompts.jsonl", per_language=20)
    pool = yaml.safe_load((directory / "teachers.yaml").read_text())
    for teacher in pool["teachers"]:
        if teacher["name"] == "cow":
            teacher["languages"] = ["en"]
    (directory / "teachers.yaml").write_text(yaml.safe_dump(pool))
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("strategies")
    run_file(fake(directory), directory / "run")
    return open_run(directory / "run")


def rows(found: Run, strategy: str) -> list[SftExample]:
    step = found.plan.datasets[strategy]
    return [row for part in found.tables(step) for row in from_table(part, SftExample)]


def routes(found: Run, strategy: str) -> dict[str, tuple[str, ...]]:
    steps = found.step(found.plan.datasets[strategy]).inputs["routes"]
    return {r.prompt_id: r.teachers for s in steps for part in found.tables(s) for r in from_table(part, Route)}


def test_a_single_teacher_answers_in_every_language(table: Run) -> None:
    found = rows(table, "single-cow")
    assert {row.teacher for row in found} == {"cow"}
    assert Counter(row.language for row in found) == dict.fromkeys(("en", "de", "ru", "ar", "hi", "th"), 20)


def test_others_keep_to_declared_languages(table: Run) -> None:
    for strategy in ("uniform", "learned", "reward", "mix_all"):
        assert {row.language for row in rows(table, strategy) if row.teacher == "cow"} <= {"en"}


def test_the_row_is_by_a_routed_teacher(table: Run) -> None:
    for strategy in ("uniform", "learned"):
        asked = routes(table, strategy)
        assert len(asked) == 120
        assert {row.prompt_id: (row.teacher,) for row in rows(table, strategy)} == asked


def test_reward_keeps_the_best_by_score_of_all_sampled(table: Run) -> None:
    best: dict[str, float] = defaultdict(lambda: float("-inf"))
    for row in rows(table, "mix_all"):
        best[row.prompt_id] = max(best[row.prompt_id], row.score)
    assert {row.prompt_id: row.score for row in rows(table, "reward")} == best
    more = {row.prompt_id: row.score for row in rows(table, "reward-of-2")}
    assert all(more[prompt] >= score for prompt, score in best.items())
    assert sum(more.values()) > sum(best.values())


def test_what_a_row_costs(table: Run) -> None:
    config = load_pipeline(table.path.parent / "pipeline.yaml").config
    assert isinstance(config, CompareStrategiesConfig)
    price = {one.strategy: one.price for one in strategy_rows(table, config.compared())}
    assert price["single-ant"]["th"] == price["uniform"]["th"] == price["mix_all"]["en"] == 1.0
    assert (price["reward"]["en"], price["reward"]["th"], price["reward-of-2"]["th"]) == (3.0, 2.0, 4.0)


def test_an_oracle_keeps_what_is_right(tmp_path: Path) -> None:
    oracle = {"name": "oracle", "router": {"kind": "all"}, "keep": "right"}
    path = world(tmp_path, strategies=[{"name": "reward", "router": {"kind": "all"}}, oracle])
    run_file(path, tmp_path / "run")
    found = open_run(tmp_path / "run")
    config = load_pipeline(path).config
    assert isinstance(config, CompareStrategiesConfig)
    right = {one.strategy: sum(one.right.values()) for one in strategy_rows(found, config.compared())}
    assert right["oracle"] >= max(right["reward"], right["single-iberia"], right["single-commons"]) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategies": [{"name": "odd"}]}, "strategy 'odd': give either `router` or `learner`"),
        ({"strategies": [STRATEGIES[0], STRATEGIES[0]]}, "two strategies are called 'uniform'"),
        ({"strategies": [{"name": "../up", "router": {"kind": "uniform"}}]}, "strategies.0.name"),
        ({"strategies": [{"name": "o", "router": {"kind": "all"}, "keep": "right"}]}, "needs the check `exact`"),
        ({"strategies": [STRATEGIES[3] | {"samples": 9}]}, "more samples than `sampling.n`, which is 2"),
        ({"singles": False}, "set `singles: true`, or name a strategy `single-<teacher>`"),
        ({"student": STUDENT | {"seeds": [1, 1]}}, "seeds: one is given twice"),
        ({"student": STUDENT | {"arguments": {"seed": 3}}}, "give `seeds`, one student each"),
        ({"student": STUDENT | {"model": "demo:nobody"}}, "nobody"),
    ],
)
def test_configs_that_cannot_work(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_pipeline(fake(tmp_path, **changes))
    assert message in str(caught.value).replace("[", ".").replace("].", ".")


def test_a_strategy_with_an_unknown_teacher_is_refused(tmp_path: Path) -> None:
    stranger = {"name": "x", "router": {"kind": "single", "teacher": "bea"}}
    with pytest.raises(ConfigError, match="did you mean 'bee'"):
        load_pipeline(fake(tmp_path, strategies=[stranger])).config.build()


def test_an_error_in_the_training_options_is_found_before_sampling(tmp_path: Path) -> None:
    slip = STUDENT | {"arguments": {"max_step": 3}}
    with pytest.raises(ConfigError, match="max_step: SFTConfig has no such argument; nearest: max_steps"):
        load_pipeline(fake(tmp_path, student=slip)).config.build()


def test_students_are_beside_a_local_run(table: Run) -> None:
    config = load_pipeline(table.path.parent / "pipeline.yaml").config
    with pytest.raises(UserError, match="choose a local --run-dir"):
        config.follow(parse_path("s3://bucket/run"), RunContext())


# --- a real run --------------------------------------------------------------------------------------------


def world(directory: Path, **changes: Any) -> Path:
    """Write a comparison in the demo world, of two teachers in two languages, with students of two steps."""
    config: dict[str, Any] = {
        "kind": "compare_strategies",
        "name": "tiny",
        "prompts": {"kind": "demo", "split": "train", "languages": ["es", "en"], "per_language": 9},
        "teachers": "demo:teachers.yaml",
        "pool": ["iberia", "commons"],
        "rewards": [{"kind": "fake", "name": "taste"}],
        "checks": [{"kind": "exact"}],
        "strategies": [{"name": "reward", "router": {"kind": "all"}}],
        "student": STUDENT
        | {
            "arguments": {"max_steps": 2, "per_device_train_batch_size": 4, "save_strategy": "no"},
            "max_tokens": 8,
        },
        "evaluation": {"kind": "demo", "languages": ["es", "en"], "per_language": 4},
        "workers": 1,
        "num_shards": 1,
    }
    path = directory / "world.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


@pytest.mark.trainer
@pytest.mark.timeout(240)
def test_students_are_trained_examined_and_resumed_one_by_one(tmp_path: Path) -> None:
    path, directory = world(tmp_path), tmp_path / "run"
    run_file(path, directory)
    config = load_pipeline(path).config
    told: list[str] = []
    stopped = StopFlag()
    stopped.is_requested = True
    with pytest.raises(InterruptedRunError, match="with 5 students to go"):
        config.follow(directory, RunContext(note=told.append, stop=stopped))
    config.follow(directory, RunContext(note=told.append))
    assert told[1] == "5 of 5 students to train, 1 at a time"  # the start, two singles, reward at either budget
    figures = json.loads((directory / "students.json").read_bytes())
    assert figures["num_questions"] == 8
    sizes = {(row["strategy"], *row["budgets"]): (row["rows"], row["generations"]) for row in figures["rows"]}
    assert sizes == {
        ("single-iberia", "rows", "generations"): (18, 18.0),
        ("single-commons", "rows", "generations"): (18, 18.0),
        ("reward", "rows"): (18, 36.0),
        ("reward", "generations"): (8, 16.0),
    }
    [spoilt] = directory.glob("students/reward-generations-*")
    first = {p: p.stat().st_mtime_ns for p in directory.glob("students/*/training.json") if p.parent != spoilt}
    shutil.rmtree(spoilt)
    config.follow(directory, RunContext(note=told.append))
    assert "1 of 5 students to train, 1 at a time" in told
    assert {p: p.stat().st_mtime_ns for p in first} == first
    assert json.loads((directory / "students.json").read_bytes()) == figures
    assert config.finish(directory).lines[0].startswith("students at matched rows: ")


def test_an_exam_without_references_is_refused(tmp_path: Path) -> None:

    student = parse({"name": "s", "engine": {"kind": "fake"}, "languages": ["und"]}, TeacherConfig, "test")
    write_prompts(tmp_path / "prompts.jsonl")
    prompts = parse(
        {"paths": str(tmp_path / "prompts.jsonl"), "columns": {"prompt": "prompt", "language": "language"}},
        JsonlConfig,
        "test",
    )
    evaluate_student(student, prompts, 8, tmp_path)
    with pytest.raises(DataError, match="no prompt of the evaluation has a reference"):
        eval_prompts(tmp_path, frozenset())
    asked = frozenset(row["prompt_id"] for row in open_run(tmp_path / "evaluation").table("prompts").to_pylist())
    with pytest.raises(DataError, match="no prompt of the evaluation is absent from the candidate table"):
        eval_prompts(tmp_path, asked)
