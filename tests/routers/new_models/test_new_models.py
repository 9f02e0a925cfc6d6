"""New teachers: what a few answers are worth, and on which prompts they are asked for."""

from dataclasses import replace

import numpy as np
import pytest

from arbitrage.candidates.matrix import best_admitted, chosen
from arbitrage.errors import UserError
from routers.evaluation.new_models import study_new_models
from routers.learning.learned import LearnedLearner
from routers.new_models.new_model import EXPLORE_ONLY_BELOW, add_new_model
from routers.new_models.probe_prompts import pick_probe_prompts
from tests.support.reward_matrices import TEACHERS, split, toy_outcomes


def full_gains(study):
    return {name: found.value for name, found in study.full_by_teacher.items()}


def test_a_new_model_is_chosen_where_it_is_good_from_a_few_prompts():
    train, test = split(toy_outcomes(300))
    others = [name for name in TEACHERS if name != "bert"]
    existing, column = train.among(others), TEACHERS.index("bert")
    learned = LearnedLearner().fit(existing)
    rows = pick_probe_prompts(train.queries, train.cluster_P, train.prompt_ids, 128)
    extended = add_new_model(learned, existing, "bert", rows, train.rewards_PT[rows, column])
    assert extended.teachers == TEACHERS
    choice_P = best_admitted(extended.predictor.predict(test.queries), test)
    before_P = best_admitted(np.insert(learned.predict(test.queries), column, -np.inf, axis=1), test)
    full_P = best_admitted(LearnedLearner().fit(train).predict(test.queries), test)
    gained, possible = (
        chosen(test.rewards_PT, c).mean() - chosen(test.rewards_PT, before_P).mean() for c in (choice_P, full_P)
    )
    assert gained > 0.6 * possible > 0
    is_german = test.queries.languages == "de"
    assert (choice_P[~is_german] == column).mean() > (choice_P[is_german] == column).mean()


def test_a_new_model_seen_on_too_few_prompts_is_only_explored():
    train, test = split(toy_outcomes(60))
    existing = train.among(TEACHERS[1:])
    rows = pick_probe_prompts(train.queries, train.cluster_P, train.prompt_ids, EXPLORE_ONLY_BELOW - 1)
    extended = add_new_model(LearnedLearner().fit(existing), existing, "anna", rows, np.full(len(rows), 9.0))
    assert extended.is_explore_only
    assert not (extended.predictor.predict(test.queries).argmax(axis=1) == 0).any()


def test_a_new_model_that_is_only_explored_does_not_displace_others():
    train, test = split(toy_outcomes(120))
    rows = pick_probe_prompts(train.queries, train.cluster_P, train.prompt_ids, 128)
    few = pick_probe_prompts(train.queries, train.cluster_P, train.prompt_ids, EXPLORE_ONLY_BELOW - 1)

    def joined(router, existing, name, rows):
        return add_new_model(router, existing, name, rows, train.rewards_PT[rows, TEACHERS.index(name)]).predictor

    existing = train.among(["anna", "dora"])
    alone = joined(LearnedLearner().fit(existing), existing, "bert", rows).predict(test.queries)
    explored = joined(LearnedLearner().fit(existing), existing, "carl", few)
    after = joined(explored, train.among(["anna", "carl", "dora"]), "bert", rows).predict(test.queries)
    np.testing.assert_allclose(np.delete(after, 2, axis=1), alone)
    assert (alone.argmax(axis=1) == 1).mean() > 0.2
    assert not (after.argmax(axis=1) == 2).any()


def test_prompts_that_a_new_model_may_not_answer_do_not_count():
    train, test = split(toy_outcomes(120))
    existing = train.among(TEACHERS[1:])
    learned = LearnedLearner().fit(existing)
    rows = pick_probe_prompts(train.queries, train.cluster_P, train.prompt_ids, 64)
    rewards_N = train.rewards_PT[rows, 0].copy()
    rewards_N[::2] = np.nan
    holed = add_new_model(learned, existing, "anna", rows, rewards_N)
    plain = add_new_model(learned, existing, "anna", rows[1::2], rewards_N[1::2])
    assert holed.num_prompts == 32
    np.testing.assert_array_equal(holed.predictor.predict(test.queries), plain.predictor.predict(test.queries))
    with pytest.raises(UserError, match="no prompt has a reward for 'anna'; 128 are usual"):
        add_new_model(learned, existing, "anna", rows, np.full(len(rows), np.nan))


def test_new_models_are_studied_where_they_are_admitted():
    study = study_new_models(toy_outcomes(90, with_gaps=True), sizes=(16, 96), num_folds=2)
    assert study.full_gain > 0.0
    assert study.kept[16] == 0.0  # only explored
    assert 0.5 < study.kept[96] < 1.1
    assert -1.0 < study.kept_by_means[96] < study.kept[96]
    assert set(study.joined_by_teacher[16].values()) == {0.0}
    joined, full = study.joined_by_teacher[96], full_gains(study)
    assert sum(joined.values()) == pytest.approx(study.kept[96] * sum(full.values()))
    best = next(iter(full))
    assert full[best] == max(full.values())
    assert 0.5 * full[best] < joined[best] < 1.1 * full[best]


def test_the_share_of_those_that_bring_something_is_told_apart_from_what_the_others_cost():
    matrix = toy_outcomes(120)
    worse = matrix.rewards_PT[:, [TEACHERS.index("anna")]] - 0.5
    rewards_PT = np.hstack([matrix.rewards_PT, worse])
    study = study_new_models(
        replace(matrix, teachers=(*TEACHERS, "zoe"), rewards_PT=rewards_PT), sizes=(128,), num_folds=3
    )
    full, joined = full_gains(study), study.joined_by_teacher[128]
    others = [name for name in full if name not in study.helpful]
    assert "zoe" in others
    assert list(full)[: len(study.helpful)] == list(study.helpful) != []
    for name, estimate in study.full_by_teacher.items():
        assert (estimate.interval.low > 0) == (name in study.helpful)
    kept = study.kept_of_helpful[128]
    assert kept.value == pytest.approx(sum(joined[n] for n in study.helpful) / sum(full[n] for n in study.helpful))
    assert kept.interval.low < kept.value < kept.interval.high
    assert study.gain_of_others[128] == pytest.approx(sum(joined[n] for n in others) / len(others))


def test_of_new_models_that_bring_nothing_no_share_is_told():
    matrix = toy_outcomes(60)
    rewards_PT = np.repeat(matrix.rewards_PT[:, :1], 2, axis=1)
    study = study_new_models(replace(matrix, teachers=("anna", "twin"), rewards_PT=rewards_PT), (64,), num_folds=2)
    assert study.helpful == []
    assert study.kept_of_helpful == {64: None}
    assert study.gain_of_others[64] == 0.0


def test_a_prompt_that_one_teacher_alone_may_answer_says_nothing_of_new_models():
    matrix = toy_outcomes(60)
    rewards_PT = matrix.rewards_PT.copy()
    rewards_PT[:8, [0, 2, 3]] = np.nan
    study = study_new_models(replace(matrix, rewards_PT=rewards_PT), sizes=(48,), num_folds=2)
    assert np.isfinite([study.full_gain, study.kept[48], study.kept_by_means[48], *full_gains(study).values()]).all()


def test_a_new_model_may_answer_in_languages_its_router_was_not_trained_on():
    matrix = toy_outcomes(100)
    existing = [name for name in TEACHERS if name != "carl"]
    known = np.flatnonzero(matrix.queries.languages != "sw")
    router = LearnedLearner().fit(matrix.take(known).among(existing))
    rows = np.arange(128)
    rewards_N = matrix.rewards_PT[rows, TEACHERS.index("carl")]
    extended = add_new_model(router, matrix.among(existing), "carl", rows, rewards_N)
    assert np.isfinite(extended.predictor.predict(matrix.queries)).all()


def test_new_models_are_not_studied_on_more_prompts_than_there_are():
    study = study_new_models(toy_outcomes(40), sizes=(32, 128, 256))
    assert list(study.kept) == [32, 128]


def test_probe_prompts_are_fixed_and_hold_every_language_and_task():
    matrix = toy_outcomes(100)
    rows = pick_probe_prompts(matrix.queries, matrix.cluster_P, matrix.prompt_ids, 32)
    assert len(rows) == len(set(rows.tolist())) == 32
    strata = set(zip(matrix.queries.languages[rows], matrix.queries.tasks[rows], strict=True))
    assert len(strata) == 8
    assert len(set(matrix.cluster_P[rows].tolist())) == 32
    np.testing.assert_array_equal(rows, pick_probe_prompts(matrix.queries, matrix.cluster_P, matrix.prompt_ids, 32))
    others = pick_probe_prompts(matrix.queries, matrix.cluster_P, matrix.prompt_ids, 32, seed=1)
    assert len(others) == 32
    assert set(others) != set(rows)
