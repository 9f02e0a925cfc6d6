"""Calibration: hand-computed rows, shrinkage, invariance to a language's bias, order within a language."""

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.candidates.calibration import CalibrationTable, calibrated, log_length
from arbitrage.config import parse
from arbitrage.contracts.workers import Inputs
from arbitrage.errors import ConfigError
from arbitrage.records import Calibration, Candidate, Prompt, Score
from arbitrage.rewards.calibrate import CalibrateConfig, CalibrateStep, calibrate
from arbitrage.rewards.fake import FakeRewardConfig
from arbitrage.rewards.score import check, score
from arbitrage.rewards.text_checks import TruncationConfig
from arbitrage.tables import from_table
from tests.support.scoring import a_candidate, a_prompt, a_score, a_shard, a_step

Raw = Mapping[str, Sequence[float]]


def shard_of(raw: Raw, start: int = 0, texts: Sequence[str] | None = None) -> Inputs:
    """One prompt for each score."""
    prompts, candidates, scores = [], [], []
    for language in raw:
        for number, value in enumerate(raw[language], start):
            prompt = a_prompt(f"question {number}", language)
            candidate = a_candidate(prompt, texts[number] if texts else f"answer {number}")
            prompts.append(prompt)
            candidates.append(candidate)
            scores.append(a_score(candidate, "rm@1", value))
    return a_shard(prompts, candidates, scores)


def rows_of(raw: Raw, **options: object) -> dict[str, Calibration]:
    config = parse(options, CalibrateConfig, "test")
    rows = from_table(CalibrateStep(calibrate=config).run([shard_of(raw)]).table, Calibration)
    assert [row.language for row in rows] == sorted(row.language for row in rows)
    return {row.language: row for row in rows}


def test_a_language_alone_is_standardised_by_its_own_moments() -> None:
    row = rows_of({"sw": [1.0, 2.0, 3.0, 6.0]}, shrinkage=0.0)["sw"]
    assert (row.raw_mean, row.mean, row.num_scores) == (3.0, 3.0, 4)
    assert row.sd == row.raw_sd == pytest.approx(math.sqrt(3.5))
    assert calibrated(row, 6.0, 0.0) == pytest.approx(3.0 / math.sqrt(3.5))


def test_a_small_language_leans_on_family_and_a_family_on_all() -> None:
    raw = {"es": [2.0] * 6, "pt": [4.0] * 2, "ja": [10.0] * 8}
    rows = rows_of(raw, shrinkage=2.0)
    everything = (6 * 2 + 2 * 4 + 8 * 10) / 16
    romance = 8 / 10 * (6 * 2 + 2 * 4) / 8 + 2 / 10 * everything
    assert rows["es"].family == rows["pt"].family != rows["ja"].family
    assert rows["pt"].mean == pytest.approx(2 / 4 * 4.0 + 2 / 4 * romance)
    assert rows["es"].mean == pytest.approx(6 / 8 * 2.0 + 2 / 8 * romance)
    assert rows["ja"].mean == pytest.approx(8 / 10 * 10.0 + 2 / 10 * everything)  # alone in its family
    assert rows["und"].mean == pytest.approx(everything)
    assert rows["und"].num_scores == 16


def test_the_pooled_spread_is_within_languages() -> None:
    rows = rows_of({"sw": [0.0, 2.0], "ja": [100.0, 102.0]}, shrinkage=1e9)
    assert rows["sw"].sd == pytest.approx(1.0)  # not 50, the spread between them


def test_equal_scores_do_not_divide_by_zero() -> None:
    row = rows_of({"sw": [5.0, 5.0]})["sw"]
    assert calibrated(row, 5.0, 0.0) == 0.0


def test_unscored_candidates_count_nowhere() -> None:
    prompt = a_prompt("q", "sw")
    one, two = a_candidate(prompt, "a"), a_candidate(prompt, "b")
    shard = a_shard([prompt], [one, two], [a_score(one, "rm@1", 3.0), a_score(two, "rm@1", None, "too_long")])
    rows = from_table(CalibrateStep(calibrate=CalibrateConfig()).run([shard]).table, Calibration)
    assert {row.num_scores for row in rows} == {1}


def test_an_unseen_language_gets_the_global_row_and_an_unknown_reward_none() -> None:
    table = CalibrationTable(rows_of({"sw": [1.0, 2.0]}).values())
    assert table.row("rm@1", "sw").language == "sw"  # type: ignore[union-attr]
    assert table.row("rm@1", "quc").language == "und"  # type: ignore[union-attr]
    assert table.row("rm@2", "sw") is None


def test_shards_may_come_in_any_number() -> None:
    values = [0.5, 1.5, -2.0, 4.0, 0.25, 3.0]
    whole = CalibrateStep(calibrate=CalibrateConfig()).run([shard_of({"sw": values})])
    parts = [shard_of({"sw": values[:1]}), shard_of({"sw": values[1:4]}, 1), shard_of({"sw": values[4:]}, 4)]
    for one, other in zip(
        from_table(whole.table, Calibration),
        from_table(CalibrateStep(calibrate=CalibrateConfig()).run(parts).table, Calibration),
        strict=True,
    ):
        assert one.num_scores == other.num_scores
        assert one.mean == pytest.approx(other.mean)
        assert one.sd == pytest.approx(other.sd)


def test_length_control_takes_out_what_length_explains() -> None:
    texts = ["x" * (2 + 5 * i) for i in range(40)]
    quality = [math.sin(7.0 * i) for i in range(40)]
    raw = [q + 3.0 * log_length(t) for q, t in zip(quality, texts, strict=True)]
    worker = CalibrateStep(calibrate=CalibrateConfig(shrinkage=0.0, length_control=True))
    rows = from_table(worker.run([shard_of({"sw": raw}, texts=texts)]).table, Calibration)
    row = next(row for row in rows if row.language == "sw")
    z = [calibrated(row, value, log_length(text)) for value, text in zip(raw, texts, strict=True)]
    lengths = [log_length(text) for text in texts]
    mean = sum(lengths) / len(lengths)
    assert row.length_slope > 0.0
    assert sum(z) == pytest.approx(0.0, abs=1e-9)
    assert sum(a * (b - mean) for a, b in zip(z, lengths, strict=True)) == pytest.approx(0.0, abs=1e-9)
    without = rows_of({"sw": raw})["sw"]
    assert without.length_slope == 0.0


def test_ranks_have_no_length_slope() -> None:
    with pytest.raises(ConfigError, match="length_control"):
        parse({"method": "rank", "length_control": True}, CalibrateConfig, "test")


def test_checks_are_not_calibrated_and_alone_they_are_refused() -> None:
    prompts, candidates = a_step("prompts", Prompt), a_step("generate-aya", Candidate)
    scored = score(FakeRewardConfig(), "aya", prompts, candidates)
    checked = check([TruncationConfig()], "aya", prompts, candidates)
    step = calibrate(CalibrateConfig(), prompts, [candidates], [scored, checked])
    assert step.inputs["scores"] == (scored,)
    assert step.scope == "corpus"
    with pytest.raises(ConfigError, match="no reward"):
        calibrate(CalibrateConfig(), prompts, [candidates], [checked])


numbers = st.floats(-100.0, 100.0).map(lambda x: round(x, 3))
lists = st.lists(numbers, min_size=2, max_size=30)
methods = st.sampled_from(["standard", "rank"])


def z_of(rows: Mapping[str, Calibration], language: str, values: Sequence[float]) -> list[float]:
    return [calibrated(rows[language], value, 0.0) for value in values]


@settings(max_examples=40, deadline=None)
@given(values=lists, other=lists, shift=numbers, scale=st.floats(0.1, 10.0), method=methods)
def test_a_biased_language_gets_the_same_calibrated_scores(
    values: list[float], other: list[float], shift: float, scale: float, method: str
) -> None:
    if max(values) - min(values) < 0.01:
        return
    biased = [shift + scale * value for value in values]
    plain = rows_of({"sw": values, "ja": other}, shrinkage=0.0, method=method)
    shifted = rows_of({"sw": biased, "ja": other}, shrinkage=0.0, method=method)
    assert z_of(shifted, "sw", biased) == pytest.approx(z_of(plain, "sw", values), abs=1e-4)
    assert z_of(shifted, "ja", other) == pytest.approx(z_of(plain, "ja", other))


@settings(max_examples=40, deadline=None)
@given(
    values=lists,
    other=lists,
    probes=st.lists(numbers, min_size=2, max_size=2, unique=True),
    k=st.floats(0.0, 100.0),
    method=methods,
)
def test_order_within_a_language_is_kept(
    values: list[float], other: list[float], probes: list[float], k: float, method: str
) -> None:
    rows = rows_of({"sw": values, "es": other, "pt": values}, shrinkage=k, method=method)
    low, high = sorted(probes)
    for language in ("sw", "es", "pt", "und"):
        assert calibrated(rows[language], low, 0.0) < calibrated(rows[language], high, 0.0)


@settings(max_examples=40, deadline=None)
@given(values=lists, k=st.floats(0.0, 50.0))
def test_shrinkage_is_between_a_language_and_all(values: list[float], k: float) -> None:
    rows = rows_of({"sw": values, "ja": [0.0] * 10}, shrinkage=k)
    low, high = sorted([rows["sw"].raw_mean, rows["und"].raw_mean])
    assert low - 1e-9 <= rows["sw"].mean <= high + 1e-9


def test_ranks_do_not_care_for_tails() -> None:
    calm = [float(i) for i in range(100)]
    wild = [math.exp(i / 5.0) for i in range(100)]
    rows = rows_of({"sw": calm, "ja": wild}, shrinkage=0.0, method="rank")
    assert z_of(rows, "sw", calm)[5:95] == pytest.approx(z_of(rows, "ja", wild)[5:95], abs=0.05)


def test_the_sample_of_the_rank_method_is_bounded_and_fair() -> None:
    values = [float(i % 1000) for i in range(6000)]
    rows = rows_of({"sw": values}, shrinkage=0.0, method="rank")
    assert rows["sw"].num_scores == 6000
    assert len(rows["sw"].knots_raw) <= 65
    assert calibrated(rows["sw"], 499.5, 0.0) == pytest.approx(0.0, abs=0.1)
    assert calibrated(rows["sw"], 841.3, 0.0) == pytest.approx(1.0, abs=0.15)


def test_scores_of_unknown_candidates_are_a_bug() -> None:
    from arbitrage.errors import ConservationError

    prompt = a_prompt("q")
    stranger = Score(candidate_id="nobody", prompt_id=prompt.prompt_id, reward="rm@1", value=1.0)
    with pytest.raises(ConservationError, match="nobody"):
        CalibrateStep(calibrate=CalibrateConfig()).run([a_shard([prompt], [], [stranger])])
