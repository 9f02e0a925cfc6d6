"""Steering moves what it is told to, within the bounds it was given, and chance draws from the same candidates."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from arbitrage.contracts.workers import Inputs
from arbitrage.errors import ConfigError
from arbitrage.execution.ray_backend import RayBackend
from arbitrage.export.export import export_run
from arbitrage.languages import UNKNOWN
from arbitrage.records import (
    LanguageQuota,
    Measurement,
    MetricScale,
    PreferencePair,
    Reject,
    SteeredExample,
    SteeringChoice,
    TargetQuantiles,
)
from arbitrage.report.build import build_report
from arbitrage.report.summary import summarise
from arbitrage.shards.run import Run, open_run
from arbitrage.steering.objectives import Objective, RewardTerm, SteerConfig
from arbitrage.steering.quantiles import quantiles_of, share_of, value_at
from arbitrage.steering.quota import QuotaConfig, QuotaWorker
from arbitrage.steering.scale import ScaleWorker
from arbitrage.tables import from_table, to_table
from pipelines.loading import load_pipeline
from tests.support.pipelines import run, write_pipeline
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
        ([Answer(None, 5.0)], toward("up"), "all_gated"),
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


# --- properties ----------------------------------------------------------------------------------------------

measured = st.builds(Answer, st.floats(-5, 5), st.floats(0, 100)) | st.builds(Answer, st.floats(-5, 5))
worlds = st.dictionaries(
    st.tuples(st.sampled_from(["en", "de", "th"]), st.text("abcdef", min_size=1, max_size=3)),
    st.lists(measured, max_size=5),
    min_size=1,
    max_size=8,
).map(a_world)


@settings(max_examples=60, deadline=None)
@given(worlds, st.floats(0, 100), st.floats(0, 100), st.sampled_from(["up", "down", 50.0]), st.integers(2, 4))
def test_bounds_and_floor_are_never_violated(
    world: World, one: float, other: float, direction: str | float, k: int
) -> None:
    low, high = sorted((one, other))
    config = toward(direction, floor=low, ceiling=high, k=k, reward=RewardTerm(weight=0.5, floor_z=-0.5))
    found = choices(config, world)
    for choice in found:
        value = world.value(choice.steered_id)
        assert value is not None
        assert low <= value <= high
        assert choice.steered_reward >= -0.5
        assert len(choice.considered) <= k
        assert {choice.steered_id, choice.control_id} <= set(choice.considered)
        assert choice.away_id is None or choice.away_id != choice.steered_id
    owed = {p.prompt_id for p in world.prompts}
    rejected = {r.item_id for r in from_table(steered(config, world).rejects, Reject)}
    assert {c.prompt_id for c in found} | rejected == owed
    assert not {c.prompt_id for c in found} & rejected


@settings(max_examples=40, deadline=None)
@given(worlds)
def test_the_order_of_rows_does_not_matter(world: World) -> None:
    turned = World(world.prompts[::-1], world.drafts[::-1], world.scores[::-1], world.measures[::-1])
    config = toward("up", k=3)
    scales = ScaleWorker(20.0).run([world.inputs()]).table
    import asyncio

    from arbitrage.steering.steer import SteerWorker

    one, two = (asyncio.run(SteerWorker(config).run(w.inputs(scales=(scales,)))) for w in (world, turned))
    assert one.table.equals(two.table)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["en", "de", "th"]), st.integers(0, 10**6)), max_size=40, unique=True),
    st.dictionaries(st.sampled_from(["en", "de", "sw"]), st.integers(0, 10), max_size=3),
    st.none() | st.integers(0, 10),
)
def test_quotas_are_met_where_there_is_enough_and_never_exceeded(
    rows: list[tuple[str, int]], languages: dict[str, int], default: int | None
) -> None:
    config = QuotaConfig(default=default, languages=languages)
    made = [
        SteeringChoice(
            prompt_id=f"{language}{number}",
            language=language,
            considered=("a",),
            steered_id="a",
            steered_pull=0.0,
            steered_reward=0.0,
            control_id="a",
            control_pull=0.0,
            control_reward=0.0,
        )
        for language, number in rows
    ]
    halves = [Inputs({"choices": (to_table(part, SteeringChoice),)}) for part in (made[::2], made[1::2])]
    limits = {row.language: row for row in from_table(QuotaWorker(config).run(halves).table, LanguageQuota)}
    available = Counter(language for language, _ in rows)
    for language in {*available, *languages}:
        wanted = languages.get(language, default)
        assert (language in limits) == (wanted is not None)
        if wanted is not None:
            last = limits[language].last_lot
            kept = [c for c in made if c.language == language and (last is None or config.lot(c.prompt_id) <= last)]
            assert len(kept) == min(wanted, available[language])
            assert (limits[language].wanted, limits[language].available) == (wanted, available[language])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_a_share_leads_to_a_value_and_back(values: list[float], share: float) -> None:
    quantiles = quantiles_of(sorted(values))
    value = value_at(quantiles, share)
    assert min(values) <= value <= max(values)
    assert 0.0 <= share_of(quantiles, value) <= 1.0


def test_shares_of_known_quantiles() -> None:
    quantiles = quantiles_of([0.0, 10.0])
    assert value_at(quantiles, 0.25) == pytest.approx(2.5)
    assert share_of(quantiles, 2.5) == pytest.approx(0.25)
    assert (share_of(quantiles, -1.0), share_of(quantiles, 11.0)) == (0.0, 1.0)
    assert share_of((5.0, 5.0, 5.0), 5.0) == 0.5


# --- scales --------------------------------------------------------------------------------------------------


def scales_of(world: World, shrinkage: float) -> dict[tuple[str, str], MetricScale]:
    rows = from_table(ScaleWorker(shrinkage).run([world.inputs()]).table, MetricScale)
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
        ({}, "neither where it is to go"),
        ({"floor": 2.0, "ceiling": 1.0}, "the floor 2 is above the ceiling 1"),
        ({"toward": "sideways"}, "up"),
    ],
)
def test_an_objective_that_makes_no_sense_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Objective.model_validate({"metric": CHARACTERS} | fields)


def test_something_must_move() -> None:
    with pytest.raises(ValidationError, match="no objective says where it is to go"):
        SteerConfig(objectives=(Objective(metric=CHARACTERS, floor=1.0),))


def test_what_is_watched_does_not_measure_an_objective_twice() -> None:
    names = [metric.metric_name for metric in toward("up").metrics]
    assert names[0] == "characters"
    assert len(names) == len(set(names)) > 10


# --- whole runs ----------------------------------------------------------------------------------------------


def steering(directory: Path, **changes: Any) -> Path:
    """Three fake teachers, six languages, three shards."""
    config: dict[str, Any] = {
        "kind": "steering",
        "compare": [],
        "steering": {
            "objectives": [
                {"metric": {"kind": "length", "unit": "characters"}, "toward": "up", "weight": 3.0},
                {"metric": {"kind": "length", "unit": "words"}, "floor": 2.0},
            ],
        },
        "quotas": {"default": 6, "languages": {"ru": 3, "en": 50}},
    }
    return write_pipeline(directory, **(config | changes))


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("steering")
    run(steering(directory), directory / "run")
    return open_run(directory / "run")


def rows(found: Run, step: str, record: Any) -> list[Any]:
    return [row for table in found.tables(step) for row in from_table(table, record)]


def test_both_backends_write_the_same_bytes(done: Run, tmp_path: Path) -> None:
    run(steering(tmp_path), tmp_path / "run", RayBackend())
    assert bytes_of(tmp_path / "run") == bytes_of(done.path)


def test_the_control_stands_on_the_same_prompts_and_candidates(done: Run) -> None:
    steered_rows, control = rows(done, "select-steered", SteeredExample), rows(done, "select-control", SteeredExample)
    assert [r.prompt_id for r in steered_rows] == [r.prompt_id for r in control]
    considered = {c.prompt_id: set(c.considered) for c in rows(done, "steer", SteeringChoice)}
    assert all(r.candidate_id in considered[r.prompt_id] for r in (*steered_rows, *control))
    assert {r.objective for r in steered_rows} == {"characters:up+words:within"}
    assert {r.objective for r in control} == {"random_of_k"}

    def mean(found: list[SteeredExample]) -> float:
        values = [m.value for r in found for m in r.metrics if m.name == "characters" and m.value is not None]
        return sum(values) / len(values)

    assert mean(steered_rows) > mean(control)


def test_quotas_hold_over_all_shards(done: Run) -> None:
    counts = Counter(r.language for r in rows(done, "select-steered", SteeredExample))
    assert counts["ru"] == 3
    assert all(count <= 6 for language, count in counts.items() if language != "en")


def test_pairs_set_toward_against_away(done: Run) -> None:
    pairs = rows(done, "select-steered-preference", PreferencePair)
    assert pairs
    assert all(p.score_gap >= 0.5 and p.policy == "toward_vs_away" for p in pairs)
    characters = {m.candidate_id: m.value for s in done.plan.candidates["measures"]
                  for m in rows(done, s, Measurement) if m.metric == "characters"}  # fmt: skip
    assert all(characters[p.chosen_id] > characters[p.rejected_id] for p in pairs)


def test_the_report_tells_before_control_and_steered(done: Run) -> None:
    found = summarise(done).steering
    assert found is not None
    first = found.aims[0].shifts[0]
    assert first.language == ""
    assert first.num == found.num_cases
    assert first.difference is not None
    assert first.difference.value > 0
    assert first.before
    assert {s.metric for s in found.others} >= {"check fidelity", "emoji"}
    short = {s.language: s for s in found.shortfalls}
    assert short["en"].wanted == 50
    assert short["en"].missing == 50 - short["en"].written
    assert found.examples
    page = build_report(done.path).path.read_text(encoding="utf-8")
    assert 'id="steering"' in page
    json.loads(summarise(done).to_json())


def test_trainers_get_the_steered_data(done: Run) -> None:
    exports = {(e.dataset): e for e in export_run(done.path, "trl")}
    assert set(exports) == {"steered", "control", "steered_preference"}
    assert (
        exports["steered"].num_rows
        == exports["control"].num_rows
        == len(rows(done, "select-steered", SteeredExample))
    )


def test_a_new_weight_measures_nothing_anew(tmp_path: Path) -> None:
    run(steering(tmp_path), tmp_path / "run")
    changed = {
        "objectives": [{"metric": {"kind": "length", "unit": "characters"}, "toward": "up", "weight": 1.0},
                       {"metric": {"kind": "length", "unit": "words"}, "floor": 2.0}]
    }  # fmt: skip
    manifest = run(steering(tmp_path, steering=changed), tmp_path / "run")
    redone = {s.name for s in manifest.steps if s.num_reused < s.num_shards}
    assert redone == {
        "steer",
        "quota-steered",
        "select-steered",
        "select-control",
        "select-steered-preference",
    }


def test_a_run_looks_like_a_data_set(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": "x" * (n % 40 + 1), "language": tag})
        for tag in ("en", "de", "ru", "ar", "hi")
        for n in range(40)
    ]
    (tmp_path / "like.jsonl").write_text("\n".join(lines), encoding="utf-8")
    aim = {"objectives": [{"metric": {"kind": "length", "unit": "characters"}, "toward": "like"}]}
    like = {"paths": str(tmp_path / "like.jsonl")}
    run(steering(tmp_path, steering=aim, like=like, quotas=None), tmp_path / "run")
    found = open_run(tmp_path / "run")
    assert {t.language for t in rows(found, "target-profile", TargetQuantiles)} == {"en", "de", "ru", "ar", "hi"}
    languages = {r.language for r in rows(found, "select-steered", SteeredExample)}
    assert "th" not in languages
    assert languages


def test_a_target_without_a_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no objective is"):
        load_pipeline(steering(tmp_path, like={"paths": "x.jsonl"}))
