"""Steering moves what it is told to, within the bounds it was given, and chance draws from the same candidates."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from arbitrage.languages import UNKNOWN
from arbitrage.metrics.length import LengthConfig
from arbitrage.metrics.readability import ReadabilityConfig
from arbitrage.records import (
    FinishReason,
    Measurement,
    MetricScale,
    Reject,
    TargetQuantiles,
)
from arbitrage.steering.measure import MeasureStep
from arbitrage.steering.objectives import Objective, RewardTerm, SteerConfig
from arbitrage.steering.scale import ScaleStep, value_at
from arbitrage.tables import from_table
from tests.support.scoring import a_candidate, a_prompt, a_shard
from tests.support.steering import CHARACTERS, Answer, World, a_world, choices, steered, toward

# --- directions: a known better and a known worse candidate -------------------------------------------------

THREE = a_world({("en", "q"): [Answer(0.0, 10.0), Answer(0.0, 20.0), Answer(0.0, 40.0)]})


@pytest.mark.parametrize(("direction", "wanted"), [("up", 40.0), ("down", 10.0), (18.0, 20.0), (31.0, 40.0)])
def test_the_answer_nearest_to_the_objective_is_taken(direction: str | float, wanted: float) -> None:
    [choice] = choices(toward(direction), THREE)
    assert THREE.value(choice.steered_id) == wanted


@pytest.mark.parametrize(("direction", "farthest"), [("up", 10.0), ("down", 40.0), (18.0, 40.0)])
def test_the_answer_farthest_from_it_stands_on_the_other_side(direction: str | float, farthest: float) -> None:
    [choice] = choices(toward(direction), THREE)
    assert choice.away_id is not None
    assert THREE.value(choice.away_id) == farthest
    assert choice.away_pull is not None
    assert choice.steered_pull > choice.away_pull


def test_reward_and_metric_are_weighed_in_deviations() -> None:
    world = a_world({("en", "q"): [Answer(2.0, 10.0), Answer(0.0, 20.0)]})
    [mostly_reward] = choices(toward("up", weight=0.5, reward=RewardTerm(weight=1.0, floor_quantile=None)), world)
    [mostly_metric] = choices(toward("up", weight=2.0, reward=RewardTerm(weight=1.0, floor_quantile=None)), world)
    assert world.value(mostly_reward.steered_id) == 10.0
    assert world.value(mostly_metric.steered_id) == 20.0


def test_quality_is_not_given_away_below_the_floor() -> None:
    answers = {("en", f"q{n}"): [Answer(-3.0, 99.0), Answer(0.5, 10.0), Answer(1.0, 20.0)] for n in range(10)}
    world = a_world(answers)
    floored = toward("up", weight=50.0, reward=RewardTerm(weight=1.0, floor_quantile=0.4))
    assert {world.value(c.steered_id) for c in choices(floored, world)} == {20.0}
    by_z = toward("up", weight=50.0, reward=RewardTerm(weight=1.0, floor_quantile=None, floor_z=0.0))
    assert {world.value(c.steered_id) for c in choices(by_z, world)} == {20.0}
    free = toward("up", weight=50.0, reward=RewardTerm(weight=1.0, floor_quantile=None))
    assert {world.value(c.steered_id) for c in choices(free, world)} == {99.0}


def test_a_better_answer_never_stands_on_the_other_side_of_a_pair() -> None:
    answers = {("en", f"q{n}"): [Answer(9.0, 1.0), Answer(0.0, 10.0), Answer(0.0, 20.0)] for n in range(10)}
    world = a_world(answers)
    found = choices(toward("up", max_reward_loss=0.5), world)
    assert {world.value(c.away_id) for c in found if c.away_id} == {10.0}
    assert {world.value(c.away_id) for c in choices(toward("up", max_reward_loss=9.0), world) if c.away_id} == {1.0}


def test_an_unmeasured_answer_counts_as_average_or_is_dropped() -> None:
    world = a_world({("en", "q"): [Answer(1.0, None), Answer(0.0, 10.0), Answer(0.0, 20.0)]})
    reward = RewardTerm(weight=10.0, floor_quantile=None)
    [neutral] = choices(toward("up", reward=reward), world)
    [dropped] = choices(toward("up", reward=reward, missing="drop"), world)
    assert world.value(neutral.steered_id) is None
    assert world.value(dropped.steered_id) == 20.0


@pytest.mark.parametrize(
    ("answers", "config", "reason"),
    [
        ([], toward("up"), "no_candidate"),
        ([Answer(None, 5.0)], toward("up"), "all_filtered"),
        ([Answer(0.0, None)], toward("up"), "unmeasured"),
        ([Answer(0.0, None, "undefined_language")], toward("up", floor=1.0), "unmeasured"),
        ([Answer(0.0, 5.0)], toward("up", floor=6.0), "out_of_bounds"),
        ([Answer(0.0, 5.0)], toward("up", reward=RewardTerm(floor_z=1.0)), "below_reward_floor"),
    ],
)
def test_a_prompt_without_a_steered_answer_says_why(answers: list[Answer], config: SteerConfig, reason: str) -> None:
    output = steered(config, a_world({("en", "q"): answers}))
    assert output.table.num_rows == 0
    assert [reject.reason for reject in from_table(output.rejects, Reject)] == [reason]


# --- measuring -----------------------------------------------------------------------------------------------


def test_each_answer_and_metric_gets_a_value_or_a_reason() -> None:
    english, thai = a_prompt("q", "en"), a_prompt("q", "th")
    candidates = [
        a_candidate(english, "One two three."),
        a_candidate(thai, "สวัสดี"),
        a_candidate(english, "", FinishReason.ERROR, teacher="bee", error="timeout"),
    ]
    worker = MeasureStep(metrics=(LengthConfig(unit="characters"), ReadabilityConfig(formula="gunning_fog"))).build()
    shard = a_shard([english, thai], candidates)
    rows = from_table(asyncio.run(worker.run(shard)).table, Measurement)
    found = {(m.candidate_id, m.metric): (m.value, m.reason) for m in rows}
    one, two, three = (draft.candidate_id for draft in candidates)
    assert found[one, "characters"] == (14.0, None)
    assert found[two, "characters"] == (6.0, None)
    assert found[two, "gunning_fog"] == (None, "undefined_language")
    assert found[three, "characters"] == (None, "no_text")
    assert len(found) == 6
    assert [(i.item_id, i.language) for i in worker.items(shard)] == [(one, "en"), (two, "th"), (three, "en")]


@pytest.mark.parametrize(("value", "reason"), [(None, None), (1.0, "too_short")])
def test_a_measurement_is_a_value_or_a_reason(value: float | None, reason: str | None) -> None:
    with pytest.raises(ValidationError, match="exactly one"):
        Measurement(candidate_id="c", prompt_id="p", metric="m", value=value, reason=reason)


# --- scales --------------------------------------------------------------------------------------------------


def scales_of(world: World, shrinkage: float) -> dict[tuple[str, str], MetricScale]:
    rows = from_table(ScaleStep(shrinkage=shrinkage).run([world.inputs()]).table, MetricScale)
    return {(row.metric, row.language): row for row in rows}


def test_moments_are_those_of_the_language_and_lean_on_all() -> None:
    world = a_world(
        {("en", "q"): [Answer(0.0, 1.0), Answer(0.0, 3.0)], ("th", "q"): [Answer(0.0, 10.0), Answer(1.0, 14.0)]}
    )
    alone, leaning = scales_of(world, 0.0), scales_of(world, 2.0)
    assert (alone["characters", "en"].mean, alone["characters", "en"].sd) == (2.0, 1.0)
    assert (alone["characters", "th"].mean, alone["characters", "th"].sd) == (12.0, 2.0)
    assert leaning["characters", "en"].mean == pytest.approx((2.0 + 7.0) / 2)
    assert leaning["characters", UNKNOWN].mean == 7.0
    assert leaning["characters", UNKNOWN].sd == pytest.approx(((1 + 1 + 4 + 4) / 4) ** 0.5)
    assert alone["reward", "th"].raw_mean == 0.5


def test_a_language_leans_on_its_family_and_that_on_all() -> None:
    values = {"es": (1.0, 3.0), "pt": (5.0, 7.0), "th": (20.0, 24.0)}
    world = a_world({(tag, "q"): [Answer(0.0, value) for value in pair] for tag, pair in values.items()})
    found = scales_of(world, 2.0)
    family = 4.0 * 4 / 6 + 10.0 * 2 / 6  # Spanish and Portuguese: 4 values of mean 4; all: mean 10
    assert found["characters", "es"].mean == pytest.approx((2.0 + family) / 2)
    assert found["characters", "th"].mean == pytest.approx((22.0 + 10.0) / 2)


def test_answers_that_cannot_be_taken_do_not_count() -> None:
    world = a_world({("en", "q"): [Answer(0.0, 1.0), Answer(1.0, 3.0), Answer(None, 500.0)]})
    assert scales_of(world, 0.0)["characters", "en"].raw_mean == 2.0


def test_a_metric_without_spread_pulls_nowhere() -> None:
    world = a_world({("en", "q"): [Answer(0.0, 5.0), Answer(1.0, 5.0)]})
    [choice] = choices(toward("up", reward=RewardTerm(weight=1.0, floor_quantile=None)), world)
    assert choice.steered_pull == 0.0
    assert world.score(choice.steered_id) == 1.0


# --- chance --------------------------------------------------------------------------------------------------


def test_the_control_is_fair_and_does_not_know_the_objective() -> None:
    answers = {("en", f"q{n}"): [Answer(0.0, 10.0), Answer(0.0, 20.0), Answer(0.0, 30.0)] for n in range(300)}
    world = a_world(answers)
    up, down = choices(toward("up"), world), choices(toward("down"), world)
    assert [c.control_id for c in up] == [c.control_id for c in down]
    assert [c.control_id for c in up] != [c.control_id for c in choices(toward("up", seed=1), world)]
    drawn = Counter(world.value(c.control_id) for c in up)
    assert all(70 < count < 130 for count in drawn.values())


# --- a target profile ----------------------------------------------------------------------------------------


def test_data_takes_the_shape_of_the_target() -> None:
    answers = {("en", f"q{n}"): [Answer(0.0, float(v)) for v in range(0, 101, 5)] for n in range(1)}
    answers |= {("en", f"q{n}"): [Answer(0.0, v + n / 10) for v in (0.0, 20.0, 40.0, 60.0, 80.0)] for n in range(200)}
    world = a_world(answers)
    wide = TargetQuantiles(metric="characters", language="en", num_values=99, quantiles=(20.0, 60.0))
    values = sorted(v for c in choices(toward("like"), world, [wide]) if (v := world.value(c.steered_id)) is not None)
    assert 18.0 < value_at(values, 0.1) < 35.0
    assert 32.0 < value_at(values, 0.5) < 48.0
    assert 45.0 < value_at(values, 0.9) < 62.0


def test_a_language_without_a_target_is_not_steered() -> None:
    world = a_world({("th", "q"): [Answer(0.0, 5.0), Answer(0.0, 9.0)]})
    other = TargetQuantiles(metric="characters", language="en", num_values=99, quantiles=(20.0, 60.0))
    assert [r.reason for r in from_table(steered(toward("like"), world, [other]).rejects, Reject)] == ["unmeasured"]


# --- configs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "has no `toward`"),
        ({"floor": 2.0, "ceiling": 1.0}, "the floor 2 is above the ceiling 1"),
        ({"toward": "sideways"}, "up"),
    ],
)
def test_an_objective_that_makes_no_sense_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Objective.model_validate({"metric": CHARACTERS} | fields)


def test_an_objective_is_named_by_where_it_goes() -> None:
    objective = Objective.model_validate({"metric": CHARACTERS, "toward": 120})
    assert (objective.toward, objective.label) == (120.0, "characters:120")
    assert isinstance(objective.toward, float)
    assert toward("up", floor=3.0).label == "characters:up"
    assert Objective(metric=CHARACTERS, floor=3.0).label == "characters:within"


def test_something_must_move() -> None:
    with pytest.raises(ValidationError, match="no objective has a direction"):
        SteerConfig(objectives=(Objective(metric=CHARACTERS, floor=1.0),))


def test_what_is_watched_does_not_measure_an_objective_twice() -> None:
    names = [metric.metric_name for metric in toward("up").metrics]
    assert names[0] == "characters"
    assert len(names) == len(set(names)) > 10
