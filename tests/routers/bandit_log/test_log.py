"""What a bandit's run logs: read from a real run, judged, learned from, and given to the next one."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from arbitrage.cli.main import app
from arbitrage.records import Route
from arbitrage.runs.run import open_run
from arbitrage.tables import from_table
from pipelines.routing.outcomes import log_of_run
from routers.bandit_log.outcome_log import OutcomeLog, read_log, write_log
from routers.evaluation.logged import FROM_LOG, judge_logged
from tests.support.pipelines import run_file, write_pipeline, write_prompts
from tests.support.reward_matrices import TEACHERS, toy_outcomes


def logged_run(directory: Path, router: dict[str, object]) -> Path:
    """Run `ant` (sound), `bee` (often cut short) and `cow` (often answers in English), one asked per prompt."""
    directory.mkdir()
    checks = [{"kind": "truncation"}, {"kind": "language_confusion"}]
    path = write_pipeline(directory, kind="sft", router=router, sampling={"n": 1}, checks=checks, export=[])
    write_prompts(directory / "prompts.jsonl", per_language=60)
    run_file(path, directory / "run")
    return directory / "run"


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["router", *map(str, arguments)])
    assert result.exit_code == 0, f"{result.output} {result.exception!r}"
    return result.output


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return logged_run(tmp_path_factory.mktemp("log") / "first", {"kind": "bandit", "floor": 0.1})


def test_a_run_is_logged_as_it_was_routed(first: Path) -> None:
    routes = {r.prompt_id: r for t in open_run(first).tables("route-bandit") for r in from_table(t, Route)}
    log = log_of_run(first)
    assert log.teachers == ("ant", "bee", "cow")
    assert 0.9 * len(routes) < len(log) <= len(routes) == 360
    assert sorted(log.propensity_P) == pytest.approx(sorted(r.propensity or 0 for r in routes.values())[-len(log) :])


def test_the_next_run_samples_the_teacher_with_higher_rewards(first: Path, tmp_path: Path) -> None:
    assert "outcomes of ant, bee, cow" in call("log", first, "--out", tmp_path / "log.parquet")
    router = {"kind": "bandit", "floor": 0.1, "outcomes": str(tmp_path / "log.parquet"), "noise": 0.5}
    second = logged_run(tmp_path / "second", router)
    shares = [np.bincount(log_of_run(path).chosen_P, minlength=3) / 360 for path in (first, second)]
    assert shares[1][0] > shares[0][0] + 0.2
    call("log", first, second, "--out", tmp_path / "both.parquet")
    assert len(read_log(tmp_path / "both.parquet")) == len(log_of_run(first)) + len(log_of_run(second))


def test_routers_are_judged_by_the_log_and_learned_from_it(first: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.parquet"
    call("log", first, "--out", log)
    call("train", "--log", log, "--out", tmp_path / "router")
    found = json.loads(call("off-policy", log, "--router", tmp_path / "router", "--json"))
    values = {one["router"]: one["value"]["doubly_robust"]["value"] for one in found}
    assert set(values) == {FROM_LOG, str(tmp_path / "router"), "always ant", "always bee", "always cow"}
    assert values["always ant"] > max(values["always bee"], values["always cow"])
    assert values[FROM_LOG] > float(np.mean(read_log(log).reward_P))
    assert {one["value"]["support"] for one in found} == {1.0}
    printed = call("off-policy", log)
    assert "doubly robust" in printed
    assert "supported" in printed


def test_a_run_that_sampled_every_teacher_has_no_log(tmp_path: Path) -> None:
    run_dir = logged_run(tmp_path / "all", {"kind": "all"})
    result = CliRunner().invoke(app, ["router", "log", str(run_dir), "--out", str(tmp_path / "log.parquet")])
    assert result.exit_code != 0
    assert (
        "sent no prompt to a single teacher; logs come from runs with `router: {kind: bandit}` or `uniform`"
        in str(result.exception)
    )


def test_what_is_judged_was_never_learned_from() -> None:
    """Rewards that are pure noise: a router learned from the log must not look better than the log."""
    matrix = toy_outcomes(200, language_gain=0.0, topic_gain=0.0, noise=1.0)
    chosen_P = np.random.default_rng(0).integers(0, len(TEACHERS), len(matrix))
    rows = np.arange(len(matrix))
    reward_P = matrix.rewards_PT[rows, chosen_P]
    log = OutcomeLog(matrix.queries, matrix.cluster_P, TEACHERS, chosen_P, reward_P, np.full(len(rows), 0.25))
    found = {one.router: one.value.doubly_robust for one in judge_logged(log, {})}
    learned = found[FROM_LOG]
    assert learned is not None
    assert learned.interval is not None
    assert learned.interval.low < reward_P.mean() < learned.interval.high


def test_logs_of_different_pools_are_concatenated(tmp_path: Path) -> None:
    matrix = toy_outcomes(10)
    rows = np.arange(len(matrix))
    one = OutcomeLog(
        matrix.queries, matrix.cluster_P, TEACHERS[:1], rows * 0, matrix.rewards_PT[:, 0], np.ones(len(rows))
    )
    two = OutcomeLog(
        matrix.queries, matrix.cluster_P, TEACHERS[1:2], rows * 0, matrix.rewards_PT[:, 1], np.ones(len(rows))
    )
    write_log(tmp_path / "log.parquet", [one, two])
    found = read_log(tmp_path / "log.parquet")
    assert found.teachers == TEACHERS[:2]
    assert len(found) == 2 * len(matrix)
    assert len(np.unique(found.cluster_P)) == 10
