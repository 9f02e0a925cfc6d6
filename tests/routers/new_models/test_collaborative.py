"""A stranger is known by the other models: shares, tags and errors, against what made the rewards."""

import numpy as np
import pytest

from routers.new_models.collaborative import GRID, UNTUNED, Penalties, estimate, evidence_of, tune

NUM = 400
FREE = Penalties(1e-6, 1e6, 1e-6)


def world(noise=0.05, seed=0):
    """Three existing models with different tastes, two tags, and how hard each prompt is."""
    random = np.random.default_rng(seed)
    expected_PT = random.normal(0.0, 0.2, (NUM, 3))
    hard_P = random.normal(0.0, 0.3, NUM)
    tags_PG = np.eye(2)[np.arange(NUM) % 2]
    rewards_PT = expected_PT - hard_P[:, None] + random.normal(0.0, noise, (NUM, 3))
    return expected_PT, hard_P, tags_PG, rewards_PT


def test_a_mixture_of_existing_models_is_found_again():
    expected_PT, hard_P, tags_PG, rewards_PT = world(noise=0.0)
    rewards_P = expected_PT @ [0.7, 0.3, 0.0] - hard_P + 0.1 * tags_PG[:, 1]
    rows = np.arange(0, NUM, 4) + np.arange(NUM // 4) % 2
    found = estimate(evidence_of(expected_PT, rewards_PT, tags_PG), rows, rewards_P[rows], FREE)
    assert found.share_T == pytest.approx([0.7, 0.3, 0.0], abs=1e-3)
    assert found.share_T.sum() == pytest.approx(1.0)
    assert found.tags_G[1] - found.tags_G[0] == pytest.approx(0.1, abs=1e-3)
    assert found.constant + found.tags_G[0] == pytest.approx(0.0, abs=1e-3)


def test_nothing_known_means_the_mean_of_existing_models():
    expected_PT, _, tags_PG, rewards_PT = world()
    shrunken = Penalties(1e9, 1e9, 1e9)
    rewards_P = rewards_PT.mean(axis=1) + 0.25
    found = estimate(evidence_of(expected_PT, rewards_PT, tags_PG), np.arange(50), rewards_P[:50], shrunken)
    assert found.share_T == pytest.approx(np.full(3, 1 / 3), abs=1e-6)
    assert found.tags_G == pytest.approx([0.0, 0.0], abs=1e-6)
    assert found.constant == pytest.approx(0.25, abs=0.05)


def test_the_error_falls_as_prompts_are_added():
    expected_PT, hard_P, tags_PG, rewards_PT = world()
    noisy_P = expected_PT[:, 0] - hard_P + np.random.default_rng(1).normal(0.0, 0.2, NUM)
    evidence = evidence_of(expected_PT, rewards_PT, tags_PG)
    few, many = (estimate(evidence, np.arange(n), noisy_P[:n], UNTUNED).error_P.mean() for n in (40, NUM))
    assert many < 0.5 * few


def test_prompts_that_are_hard_for_all_do_not_lower_the_new_models_estimate():
    """Its prompts are the hard ones; a plain mean would take it for a bad teacher."""
    expected_PT, hard_P, tags_PG, rewards_PT = world()
    rows = np.argsort(-hard_P)[:60]
    rewards_P = expected_PT[:, 0] - hard_P
    found = estimate(evidence_of(expected_PT, rewards_PT, tags_PG), rows, rewards_P[rows], UNTUNED)
    assert abs(found.constant) < 0.05
    assert rewards_P[rows].mean() < -0.2


def test_who_shines_where_it_is_hard_is_expected_to_do_so_under_other_hard_tags():
    """Ten languages, each as hard as it is; a stranger that was asked in eight of them is foretold in all."""
    random = np.random.default_rng(3)
    tag_P = np.arange(NUM) % 10
    tags_PG, hardness_G = np.eye(10)[tag_P], np.linspace(0.0, 0.9, 10)
    expected_PT = random.normal(0.0, 0.02, (NUM, 4))
    rewards_PT = expected_PT - hardness_G[tag_P, None] + random.normal(0.0, 0.05, (NUM, 4))
    rewards_P = rewards_PT.mean(axis=1) + 0.3 * (hardness_G[tag_P] - 0.45) + random.normal(0.0, 0.05, NUM)
    rows = np.flatnonzero((tag_P != 0) & (tag_P != 9))[:80]
    found = estimate(evidence_of(expected_PT, rewards_PT, tags_PG), rows, rewards_P[rows], UNTUNED)
    assert 0.1 < found.tags_G[9] - found.tags_G[0] < 0.27


def test_an_existing_model_that_was_not_sampled_has_no_effect():
    expected_PT, hard_P, tags_PG, rewards_PT = world(noise=0.0)
    rewards_PT[::2, 2] = np.nan
    evidence = evidence_of(expected_PT, rewards_PT, tags_PG)
    assert evidence.easy_P == pytest.approx(-hard_P)
    assert np.isfinite(evidence.known_PX).all()


def test_strengths_are_learned_from_existing_models():
    """Tags are shrunken away where existing models take no notice of them, and hardly where they differ by nothing else."""
    tags_PG = np.eye(6)[np.arange(NUM) % 6]
    random = np.random.default_rng(2)
    rows = np.arange(60)
    blind_PT = random.normal(0.0, 0.2, (NUM, 6))
    tagged_PT = 0.3 * tags_PG @ random.normal(size=(6, 6))
    blind, tagged = (tune(e, e + random.normal(0.0, 0.3, e.shape), tags_PG, rows) for e in (blind_PT, tagged_PT))
    assert {blind, tagged} <= set(GRID)
    assert tagged.tags <= 10.0 < blind.tags


def test_a_single_existing_model_cannot_play():
    expected_PT, _, tags_PG, rewards_PT = world()
    assert tune(expected_PT[:, :1], rewards_PT[:, :1], tags_PG, np.arange(40)) == UNTUNED
