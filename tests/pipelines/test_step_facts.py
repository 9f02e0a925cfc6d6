"""Every reject names the step whose directory holds it, and a finished run says what each of its steps is."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbitrage.contracts.steps import StepFacts
from arbitrage.runs.run import Run, open_run
from tests.support.pipelines import run_file, write_pipeline, write_pool

LOSING = {"failures": {"timeout": 0.3}}


def reject_steps(found: Run) -> dict[str, set[str]]:
    """Return step → what its rejects say their step is; steps without rejects are left out."""
    steps = {
        step.name: {name for table in found.rejects(step.name) for name in table["step"].to_pylist()}
        for step in found.plan.steps
    }
    return {name: named for name, named in steps.items() if named}


def run_of(directory: Path, **changes: Any) -> Run:
    """Run a pipeline whose teachers lose rows, some prompts come twice and some are in a language that no teacher speaks."""
    path = write_pipeline(directory, max_rejected=1.0, **changes)
    prompts = directory / "prompts.jsonl"
    rows = prompts.read_text(encoding="utf-8").splitlines()
    swahili = [
        json.dumps({"id": f"sw-{n}", "prompt": f"Mto upi kati ya hii {n} ni mrefu zaidi?", "language": "sw"})
        for n in range(6)
    ]
    prompts.write_text("\n".join([*rows, rows[0], *swahili]) + "\n", encoding="utf-8")
    write_pool(directory / "teachers.yaml", ant=LOSING, bee=LOSING, cow={})
    run_file(path, directory / "run")
    return open_run(directory / "run")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    pairs = {"policy": {"kind": "max_gap"}, "min_gap": 0.8, "mix": {"quotas": {"default": 3}}}
    return run_of(
        tmp_path_factory.mktemp("mixed"),
        pairs=pairs,
        sft={"min_score": 0.5},
        compare=[{"kind": "uniform"}, {"kind": "uniform", "seed": 1}],
    )


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of(
        tmp_path_factory.mktemp("explored"), kind="explore_commit", explore=1, commit={"top_k": 3}, compare=[]
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of(
        tmp_path_factory.mktemp("compared"),
        kind="compare_strategies",
        compare=[],
        router={"kind": "all", "language_filter": "off"},
        strategies=[{"name": "mix_some", "router": {"kind": "uniform"}}],
        student={"model": "demo:novice", "engine": {"kind": "transformers"}, "seeds": [1]},
        evaluation={"kind": "demo", "per_language": 2},
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "mixed",
            {
                "prompts",
                "route-all",
                "route-uniform",
                "route-uniform-2",
                "generate-ant",
                "generate-bee",
                "pair-preference",
                "select-preference",
                "select-sft",
            },
        ),
        ("explored", {"generate-ant", "generate-ant-commit", "route-learned"}),
        pytest.param("compared", {"prompts", "select-single-ant"}, marks=pytest.mark.model),
    ],
)
def test_every_reject_names_the_step_whose_directory_holds_it(
    name: str, expected: set[str], request: pytest.FixtureRequest
) -> None:
    found = reject_steps(request.getfixturevalue(name))
    assert found == {step: {step} for step in found}
    assert expected <= found.keys()


def test_the_name_of_a_step_and_of_its_directory_are_made_of_its_facts(mixed: Run, explored: Run) -> None:
    for step in (*mixed.plan.steps, *explored.plan.steps):
        assert step.name == step.facts.name
        assert step.directory == f"{step.facts.name}-{step.fingerprint}"


def test_a_finished_run_says_what_each_step_is(mixed: Run, explored: Run) -> None:
    facts = mixed.plan.facts
    assert facts["generate-ant"] == StepFacts(verb="generate", label="ant", teacher="ant", is_budgeted=True)
    assert facts["score-taste-bee"] == StepFacts(verb="score", label="taste-bee", teacher="bee", scorer="taste")
    assert facts["check-cow"] == StepFacts(verb="check", label="cow", teacher="cow")
    assert [step for step, each in facts.items() if each.is_budgeted] == [
        "prompts",
        "generate-ant",
        "generate-bee",
        "generate-cow",
    ]
    committed = explored.plan.facts["generate-ant-commit"]
    assert (committed.part, committed.teacher, committed.is_budgeted) == ("commit", "ant", True)


def test_a_teacher_whose_name_holds_a_dash_is_told_from_the_reward(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, rewards=[{"kind": "fake", "name": "good-taste"}])
    write_pool(tmp_path / "teachers.yaml", **{"score-me": {}, "ant-1-commit": {}})
    assert yaml.safe_load(path.read_text())["kind"] == "preference"
    run_file(path, tmp_path / "run")
    facts = open_run(tmp_path / "run").plan.facts
    found = facts["score-good-taste-score-me"]
    assert (found.scorer, found.teacher) == ("good-taste", "score-me")
    assert facts["generate-ant-1-commit"].part == ""
