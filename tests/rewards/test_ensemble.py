"""Ensembles: hand-computed weights, filters, missing scores; and the direction of the result."""

import pytest

from arbitrage.config import parse
from arbitrage.contracts.steps import Step
from arbitrage.errors import ConfigError
from arbitrage.records import Calibration, Candidate, FinishReason, Prompt, Score
from arbitrage.rewards.calibrate import CalibrateConfig, calibrate
from arbitrage.rewards.combine import EnsembleConfig, EnsembleStep, combine
from arbitrage.rewards.fake import FakeRewardConfig
from arbitrage.rewards.score import check, score
from arbitrage.rewards.text_checks import EmptinessConfig, ExactConfig, TruncationConfig
from tests.support.scoring import a_candidate, a_prompt, a_score, a_shard, a_step, run_shard

PROMPTS, CANDIDATES = a_step("prompts", Prompt), a_step("generate-aya", Candidate)
SCORES = [
    score(FakeRewardConfig(name="rm"), "aya", PROMPTS, CANDIDATES),
    score(FakeRewardConfig(name="other"), "aya", PROMPTS, CANDIDATES),
    check([TruncationConfig(), EmptinessConfig(), ExactConfig()], "aya", PROMPTS, CANDIDATES),
]

PROMPT = a_prompt("Rangi ya damu?", "sw")
GOOD, BAD = a_candidate(PROMPT, "nyekundu"), a_candidate(PROMPT, "kijani")


def row(reward: str, mean: float, sd: float, language: str = "sw") -> Calibration:
    return Calibration(
        reward=reward, language=language, family="bnt", num_scores=9, raw_mean=mean, raw_sd=sd, mean=mean, sd=sd
    )


ROWS = [row("rm@1", 10.0, 2.0), row("other@1", 0.0, 0.5)]


def a_step_of(calibrated: bool = True, scores: list[Step] = SCORES, **options: object) -> Step:
    calibration = calibrate(CalibrateConfig(), PROMPTS, [CANDIDATES], scores) if calibrated else None
    return combine(parse(options, EnsembleConfig, "test"), PROMPTS, [CANDIDATES], scores, calibration)


def run_combine(step: Step, scores: list[Score], candidates: tuple[Candidate, ...] = (GOOD,)) -> list[Score]:
    passed = [
        a_score(c, f"{name}@1", 1.0)
        for c in candidates
        for name in ("truncation", "emptiness")
        if not any(s.reward == f"{name}@1" and s.candidate_id == c.candidate_id for s in scores)
    ]
    return run_shard(step.config.build(), a_shard([PROMPT], candidates, [*scores, *passed], ROWS))


def test_the_value_is_the_weighted_mean_of_calibrated_rewards() -> None:
    step = a_step_of(weights={"rm": 2.0, "other": 1.0})
    (found,) = run_combine(step, [a_score(GOOD, "rm@1", 13.0), a_score(GOOD, "other@1", -0.25)])
    assert found.reward == "ensemble@1"
    assert found.value == pytest.approx((2.0 * 1.5 + 1.0 * -0.5) / 3.0)


def test_the_better_answer_gets_the_better_score_and_a_negative_weight_turns_it_round() -> None:
    scores = [a_score(GOOD, "rm@1", 12.0), a_score(BAD, "rm@1", 9.0)]
    good, bad = run_combine(a_step_of(weights={"rm": 1.0}), scores, (GOOD, BAD))
    assert (good.candidate_id, bad.candidate_id) == (GOOD.candidate_id, BAD.candidate_id)
    assert good.value is not None
    assert bad.value is not None
    assert good.value > bad.value
    good, bad = run_combine(a_step_of(weights={"rm": -1.0}), scores, (GOOD, BAD))
    assert good.value == pytest.approx(-1.0)
    assert bad.value == pytest.approx(0.5)


def test_without_calibration_raw_scores_are_weighed() -> None:
    (found,) = run_combine(a_step_of(calibrated=False, weights={"rm": 1.0}), [a_score(GOOD, "rm@1", 13.0)])
    assert found.value == 13.0


def test_checks_are_weighed_as_they_are_but_only_when_named() -> None:
    scores = [a_score(GOOD, "rm@1", 12.0), a_score(GOOD, "exact@1", 0.0)]
    assert run_combine(a_step_of(weights={"rm": 1.0}), scores)[0].value == pytest.approx(1.0)
    assert run_combine(a_step_of(weights={"rm": 1.0, "exact": 3.0}), scores)[0].value == pytest.approx(0.25)


def test_a_failed_check_closes_its_name_and_an_abstaining_one_does_not() -> None:
    step = a_step_of(weights={"rm": 1.0})
    assert isinstance(step.config, EnsembleStep)
    assert [rule.check for rule in step.config.filters] == ["emptiness", "truncation"]  # exact is no filter
    rm = a_score(GOOD, "rm@1", 12.0)
    assert run_combine(step, [rm, a_score(GOOD, "truncation@1", 0.0)])[0].error == "filter:truncation"
    assert run_combine(step, [rm, a_score(GOOD, "truncation@1", None, "abstains")])[0].value == pytest.approx(1.0)
    open_step = a_step_of(weights={"rm": 1.0}, filters=["emptiness"])
    assert run_combine(open_step, [rm, a_score(GOOD, "truncation@1", 0.0)])[0].value == pytest.approx(1.0)


def test_a_missing_score_is_an_error_or_skipped() -> None:
    half = [a_score(GOOD, "rm@1", 12.0), a_score(GOOD, "other@1", None, "too_long")]
    weights = {"rm": 1.0, "other": 1.0}
    assert run_combine(a_step_of(weights=weights), half)[0].error == "unscored:other"
    assert run_combine(a_step_of(weights=weights, missing="skip"), half)[0].value == pytest.approx(1.0)
    assert run_combine(a_step_of(weights=weights, missing="skip"), [half[1]])[0].error == "unscored:other"
    assert run_combine(a_step_of(weights={"rm": 1.0, "other": 0.0}), half)[0].value == pytest.approx(1.0)


def test_a_name_that_was_never_checked_stays_closed() -> None:
    worker = a_step_of(weights={"rm": 1.0}).config.build()
    shard = a_shard([PROMPT], [GOOD], [a_score(GOOD, "rm@1", 12.0)], ROWS)
    assert run_shard(worker, shard)[0].error == "unscored:emptiness"


def test_a_failed_candidate_has_no_ensemble_score() -> None:
    failed = a_candidate(PROMPT, "", FinishReason.ERROR, error="timeout")
    assert run_combine(a_step_of(weights={"rm": 1.0}), [], (failed,))[0].error == "candidate:timeout"


def test_length_control_reaches_the_ensemble() -> None:
    long_row = row("rm@1", 10.0, 2.0).model_copy(update={"length_slope": 1.0, "mean_log_length": 0.0})
    worker = a_step_of(weights={"rm": 1.0}, filters=[]).config.build()
    short, long = a_candidate(PROMPT, "x"), a_candidate(PROMPT, "x" * 99)
    shard = a_shard([PROMPT], [short, long], [a_score(c, "rm@1", 12.0) for c in (short, long)], [long_row])
    first, second = run_shard(worker, shard)
    assert first.value is not None
    assert second.value is not None
    assert first.value > second.value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"mr": 1.0}}, "'mr' is none of"),
        ({"weights": {"rm": 1.0}, "filters": ["rm"]}, "ensemble.filters: 'rm'"),
        ({"weights": {}}, "at least one weight"),
        ({"weights": {"rm": 0.0}}, "at least one weight"),
    ],
)
def test_nonsense_is_a_sentence(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        a_step_of(**options)


def test_two_rewards_of_one_name_are_refused() -> None:
    twice = [*SCORES, score(FakeRewardConfig(name="rm", seed=1), "aya", PROMPTS, CANDIDATES)]
    with pytest.raises(ConfigError, match="'rm'"):
        a_step_of(scores=twice, weights={"rm": 1.0})
