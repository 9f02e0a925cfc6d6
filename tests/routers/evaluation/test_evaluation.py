"""Router evaluation: what is gained where there is something to gain, what is left alone where there is nothing."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from arbitrage.candidates.matrix_file import blend_rewards
from arbitrage.cli.main import app
from routers.evaluation.evaluate import evaluate
from routers.evaluation.frontier import count_generations, trace_frontier
from routers.evaluation.samples import trace_samples
from routers.evaluation.validity import select_by_each_reward
from routers.learning.auto import AutoLearner
from routers.learning.folds import deal_folds
from routers.learning.learned import LearnedLearner
from routers.learning.table import TableLearner
from tests.support.reward_matrices import split, toy_outcomes, write_matrix

pytestmark = pytest.mark.long

FEW = (TableLearner(), LearnedLearner())


def figures(found, name):
    return next(f for f in found.routers if f.name == name)


def without_signal(num_sources=80):
    """One teacher is best everywhere; all else is noise."""
    matrix = toy_outcomes(num_sources, language_gain=0.0, topic_gain=0.0, noise=0.2)
    return replace(matrix, rewards_PT=matrix.rewards_PT + np.array([0.3, 0.0, 0.0, 0.0]))


def test_folds_never_split_a_cluster_and_are_of_about_equal_size():
    cluster_P = np.repeat(np.arange(60), 3)
    fold_P = deal_folds(cluster_P, 5, seed=1)
    assert all(len(set(fold_P[cluster_P == c].tolist())) == 1 for c in range(60))
    assert np.ptp(np.bincount(fold_P)) <= 3
    assert not np.array_equal(fold_P, deal_folds(cluster_P, 5, seed=2))


@pytest.mark.process
def test_routing_pays_where_teachers_differ_and_auto_finds_it():
    found = evaluate(toy_outcomes(), num_folds=3, learners=FEW, jobs=2)
    assert figures(found, "oracle").gap_closed.value == pytest.approx(1.0)
    assert figures(found, "best_single").gap_closed.value == 0.0
    assert figures(found, "learned").gap_closed.value > 0.8
    auto = figures(found, "auto")
    assert auto.gap_closed.interval.low > 0.7
    assert auto.mean_reward > figures(found, "random").mean_reward
    assert set(auto.per_language) == {"de", "ja", "pt", "sw"}
    assert sum(auto.shares.values()) == pytest.approx(1.0)


@pytest.mark.process
def test_auto_stays_with_the_best_single_teacher_where_there_is_nothing_to_gain():
    found = evaluate(without_signal(), num_folds=3, learners=FEW, jobs=2)
    assert figures(found, "auto").gain.value > -0.01
    assert figures(found, "auto").shares["anna"] > 0.9
    assert {choice.learner.label for choice in found.choices} & {"best_single", "blend_cautious"}


def test_auto_falls_back_to_the_language_table_where_nothing_is_surely_better():
    choice = AutoLearner().choose(toy_outcomes(60, topic_gain=0.0))
    assert choice.learner.label == "per_language_shrunken"
    assert choice.reason.startswith("a table by language is above the best single teacher, and no router")
    assert choice.gains["per_language_shrunken"] >= max(choice.gains["learned"], choice.gains["blend"]) - 1e-12 > 0


def test_auto_leaves_the_language_table_where_the_topic_decides():
    choice = AutoLearner().choose(toy_outcomes(120, language_gain=0.0))
    assert choice.gains["per_language_shrunken"] < 0.5 * choice.gains[choice.learner.label]
    assert "by more than chance (95%, one-sided)" in choice.reason


@pytest.mark.process
def test_processes_change_nothing():
    matrix = toy_outcomes(40)
    one, two = (evaluate(matrix, learners=FEW, jobs=jobs) for jobs in (1, 2))
    for name in one.expected:
        np.testing.assert_allclose(one.expected[name], two.expected[name], atol=1e-9)


def test_a_second_judge_who_disagrees_keeps_auto_at_home():
    matrix = toy_outcomes(60)
    against = replace(matrix, judge_PT=-matrix.rewards_PT)
    assert AutoLearner().choose(against).learner.label == "best_single"
    assert AutoLearner(use_judge=False).choose(against).learner.label != "best_single"


def test_agreeing_rewards_are_followed_and_a_wrong_one_is_not():
    matrix, noise = toy_outcomes(48), np.random.default_rng(1)
    rewards = {name: matrix.rewards_PT + noise.normal(0, 0.05, matrix.rewards_PT.shape) for name in "abc"}
    languages = matrix.queries.languages.tolist()
    honest = replace(matrix, rewards_by_name=rewards, rewards_PT=blend_rewards(rewards, languages))
    assert AutoLearner().choose(honest).learner.label == "consensus"
    lying = {**rewards, "c": -matrix.rewards_PT}
    liar = replace(matrix, rewards_by_name=lying, rewards_PT=blend_rewards(lying, languages))
    assert AutoLearner().choose(liar).learner.label == "best_single"
    judged = {one.judge: one for one in select_by_each_reward(liar)}
    assert judged["c"].naive.interval.high < 0  # what two honest rewards like, the liar punishes
    assert judged["a"].auto.interval.high >= 0  # with a liar among the two others, auto stays at home
    assert set(judged["a"].chose) == {"best_single"}


def test_cost_weight_trades_reward_for_cost():
    matrix = toy_outcomes(60)
    costed = replace(matrix, cost_PT=np.tile([1.0, 2.0, 3.0, 10.0], (len(matrix), 1)))
    frontier = trace_frontier(matrix.rewards_PT, costed)
    costs, rewards = [p.cost for p in frontier.points], [p.mean_reward for p in frontier.points]
    assert costs == sorted(costs)
    assert rewards == sorted(rewards)
    assert costs[0] == 1.0
    assert rewards[-1] == pytest.approx(matrix.rewards_PT.max(axis=1).mean())
    assert frontier.area > frontier.area_of_singles
    assert trace_frontier(matrix.rewards_PT, matrix) is None


def test_second_answers_help_most_where_the_router_is_least_sure():
    matrix = toy_outcomes(300, noise=0.15)
    train, test = split(matrix)
    expected_PT = LearnedLearner().fit(train).predict(test.queries)
    points = count_generations(expected_PT, test)
    by_how = {point.how: point for point in points}
    assert by_how["top 4"].mean_reward == pytest.approx(test.rewards_PT.max(axis=1).mean())
    one, some, two = by_how["0% unsure get 2"], by_how["30% unsure get 2"], by_how["top 2"]
    assert one.mean_reward < some.mean_reward < two.mean_reward
    share = (some.mean_reward - one.mean_reward) / (two.mean_reward - one.mean_reward)
    assert share > some.per_prompt - 1.0  # more than lots would buy


def test_only_the_admitted_are_counted_and_only_they_make_doubt():
    matrix = toy_outcomes(100)
    rewards_PT = matrix.rewards_PT.copy()
    rewards_PT[matrix.queries.languages == "ja", :3] = np.nan  # one in four prompts has one teacher
    matrix = replace(matrix, rewards_PT=rewards_PT)
    expected_PT = np.where(matrix.admitted_PT, rewards_PT, 9.0)  # much is expected of those who may not be asked
    by_how = {point.how: point for point in count_generations(expected_PT, matrix)}
    assert [by_how[f"top {k}"].per_prompt for k in (2, 3, 4)] == [1.75, 2.5, 3.25]
    assert by_how["top 4"].mean_reward == pytest.approx(np.nanmax(rewards_PT, axis=1).mean())
    assert by_how["50% unsure get 2"].per_prompt == 1.5
    random_PT = np.random.default_rng(0).normal(size=expected_PT.shape)
    doubted = {point.how: point for point in count_generations(random_PT, matrix)}
    assert doubted["20% unsure get 2"].mean_reward > doubted["0% unsure get 2"].mean_reward


def test_equal_doubt_is_not_all_doubt():
    matrix = toy_outcomes(100)
    points = count_generations(np.tile([1.0, 0.5, 0.0, 0.0], (len(matrix), 1)), matrix)
    assert [point.per_prompt for point in points[:6]] == pytest.approx([1.0, 1.05, 1.1, 1.2, 1.3, 1.5])
    one, half, two = points[0], points[5], points[6]
    assert half.mean_reward - one.mean_reward == pytest.approx(0.5 * (two.mean_reward - one.mean_reward), rel=0.25)


def test_a_single_teacher_has_no_second():
    matrix = toy_outcomes(20).among(["anna"])
    points = count_generations(matrix.rewards_PT, matrix)
    assert {point.per_prompt for point in points} == {1.0}


def test_more_prompts_teach_more():
    curve = trace_samples(LearnedLearner(), toy_outcomes(noise=0.2), sizes=(16, 64), num_folds=3)
    gaps = [point.gap_closed for point in curve.points]
    assert gaps[-1] > gaps[0]
    assert all(point.single_gap_closed <= 1e-9 for point in curve.points)


@pytest.fixture
def matrix_file(tmp_path):
    return write_matrix(tmp_path / "rewards.parquet", toy_outcomes(60))


def call(*args):
    result = CliRunner().invoke(app, ["router", *map(str, args)])
    assert result.exit_code == 0, result.output
    return result.output


def test_eval_prints_a_table_and_writes_what_it_promises(tmp_path, matrix_file):
    out = tmp_path / "out.json"
    printed = call("eval", "--matrix", matrix_file, "--models", "anna,bert,carl", "--jobs", 1, "--json", out)
    assert "auto chose" in printed
    assert "Cost and quality" in printed
    found = json.loads(out.read_text())
    assert found["prompts"] == 240
    assert found["models"] == ["anna", "bert", "carl"]
    names = [router["name"] for router in found["routers"]]
    assert names[0] == "auto"
    assert {"random", "best_single", "per_language", "oracle", "knn_40", "learned"} <= set(names)
    auto = found["routers"][0]
    assert 0.0 < auto["gap_closed"] <= 1.0
    assert auto["ci"][0] <= auto["gap_closed"] <= auto["ci"][1]
    assert set(auto["per_language"]) == {"de", "ja", "pt", "sw"}
    assert sum(auto["shares"].values()) == pytest.approx(1.0)
    assert found["frontier"]["points"]


def test_a_teacher_joins_from_the_command_line(tmp_path, matrix_file):
    call("train", "--matrix", matrix_file, "--models", "anna,carl,dora", "--out", tmp_path / "one")
    call("probe-prompts", "--matrix", matrix_file, "--size", 64, "--out", tmp_path / "prompts.jsonl")
    prompts = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    table = pd.read_parquet(matrix_file)
    new_model = table[(table.model == "bert") & table.prompt_id.isin({p["prompt_id"] for p in prompts})]
    existing = table[table.model != "bert"]
    pd.concat([existing, new_model]).to_parquet(tmp_path / "more.parquet")
    joined = call(
        "add-teacher",
        "bert",
        "--router",
        tmp_path / "one",
        "--matrix",
        tmp_path / "more.parquet",
        "--out",
        tmp_path / "two",
    )
    assert "joined 3 existing models from 64 prompts" in joined
    assert "anna, bert, carl, dora" in call("show", tmp_path / "two")


def test_judges_wants_two_rewards(matrix_file):
    result = CliRunner().invoke(app, ["router", "judges", "--matrix", str(matrix_file)])
    assert result.exit_code != 0


@pytest.mark.parametrize(
    "option", ["--reward-column", "--group-column", "--judge-column", "--task-column", "--language-column"]
)
def test_columns_of_a_run_cannot_be_named(arbitrage, option):
    told = arbitrage("router", "eval", "--run", "quickstart", option, "any")
    assert told.code == 2
    assert option in told.err


def test_studies_say_what_they_leave_out(arbitrage, tmp_path, matrix_file):
    table = pd.read_parquet(matrix_file)
    gaps = tmp_path / "gaps.parquet"
    table.assign(reward=table["reward"].mask(np.arange(len(table)) == 5)).to_parquet(gaps)
    told = arbitrage("router", "probe-prompts", "--matrix", gaps, "--out", "c.jsonl", "--reward-column", "reward")
    assert told.code == 0
    assert "left out: 1 prompts (a model's reward is missing: " in told.err


def one_group(table):
    return table.assign(group="g")


def strange_languages(table):
    return table.assign(language="??")


def nothing_to_read(table):
    return table.assign(prompt="")


def three_prompts(table):
    return table[table.prompt_id.isin(sorted(set(table.prompt_id))[::24][:3])]


def all_alike(table):
    return table.assign(reward=0.5)


@pytest.fixture
def small_file(tmp_path):
    return write_matrix(tmp_path / "small.parquet", toy_outcomes(24))


@pytest.mark.parametrize("spoil", [strange_languages, nothing_to_read, three_prompts, all_alike])
def test_odd_matrices_are_evaluated_learned_from_and_joined(spoil, tmp_path, small_file):
    path = tmp_path / "odd.parquet"
    spoil(pd.read_parquet(small_file)).to_parquet(path)
    assert "auto chose" in call("eval", "--matrix", path, "--models", "anna,bert,carl", "--jobs", 1)
    call("train", "--matrix", path, "--models", "anna,bert,carl", "--out", tmp_path / "one")
    call("add-teacher", "dora", "--router", tmp_path / "one", "--matrix", path, "--out", tmp_path / "two")
    assert "anna, bert, carl, dora" in call("show", tmp_path / "two")


def test_one_group_can_be_learned_from_but_not_judged_on(tmp_path, matrix_file):
    path = tmp_path / "odd.parquet"
    one_group(pd.read_parquet(matrix_file)).to_parquet(path)
    for command in ("eval", "samples", "new-models"):
        result = CliRunner().invoke(app, ["router", command, "--matrix", str(path)])
        assert "all of one group" in str(result.exception)
    call("train", "--matrix", path, "--learner", "auto", "--out", tmp_path / "one")
    assert "best_single" in call("show", tmp_path / "one")


@pytest.mark.parametrize(
    ("num_prompts", "learner", "is_few"), [(40, "learned", True), (40, "auto", False), (320, "learned", False)]
)
def test_a_router_of_few_prompts_is_said_to_be_one(num_prompts, learner, is_few, tmp_path):
    path = write_matrix(tmp_path / "matrix.parquet", toy_outcomes(num_prompts // 4))
    told = call("train", "--matrix", path, "--learner", learner, "--out", tmp_path / "one")
    assert ("a router often does worse than the best single teacher" in told) == is_few


def test_what_cannot_be_written_is_said_before_the_work(matrix_file):
    result = CliRunner().invoke(
        app, ["router", "eval", "--matrix", str(matrix_file), "--json", "/nowhere/found.json"]
    )
    assert "/nowhere is no directory" in str(result.exception)
