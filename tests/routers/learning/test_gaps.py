"""Learners on matrices as they come: gaps, near ties, tags of many spellings, clusters of all sizes."""

from dataclasses import replace

import numpy as np
import pytest

from arbitrage.candidates.matrix import RewardMatrix, teacher_means
from arbitrage.candidates.queries import Queries
from routers.learning.caution import price_uncertainty
from routers.learning.clusters import ClustersLearner
from routers.learning.folds import deal_folds
from routers.learning.knn import KnnLearner
from routers.learning.learned import LearnedLearner
from routers.learning.ridge import RidgeLearner
from tests.support.reward_matrices import TEACHERS, WORDS, toy_outcomes


@pytest.mark.parametrize(
    "learner", [RidgeLearner(), ClustersLearner(), KnnLearner(), LearnedLearner()], ids=lambda one: one.label
)
def test_a_prompt_without_a_teachers_reward_does_not_affect_that_teacher(learner):
    """Two teachers; one may be asked in one of four languages, and is better there on one topic."""
    full = toy_outcomes(400, language_gain=0.0, topic_gain=0.4, noise=0.02)
    anna, bert = (full.teachers.index(name) for name in ("anna", "bert"))
    rewards_PT = full.rewards_PT.copy()
    rewards_PT[full.queries.languages != "de", anna] = np.nan
    matrix = replace(full, rewards_PT=rewards_PT).among(["anna", "bert", "carl"])
    expected_PT = learner.fit(matrix).predict(matrix.queries)
    is_farm = np.array([any(word in text for word in WORDS["farm"]) for text in _texts(matrix)])
    rows = np.flatnonzero(is_farm & (matrix.queries.languages == "de"))
    anna, bert = (matrix.teachers.index(name) for name in ("anna", "bert"))
    assert (expected_PT[rows, anna] - expected_PT[rows, bert]).mean() > 0.25


def _texts(matrix):
    return [matrix.queries.texts[code] for code in matrix.queries.text_P]


def test_neighbours_do_not_depend_on_the_other_prompts_of_the_batch():
    """Texts that differ in a rare word are nearly equally near: rounding must not choose among them."""
    texts = [f"translate this name for the form please {word}" for word in map("word{}".format, range(400))]
    random = np.random.default_rng(0)
    queries = Queries(texts, ["de"] * 400)
    matrix = RewardMatrix(tuple(texts), queries, np.arange(400), ("a", "b"), random.random((400, 2)))
    predictor = KnnLearner(k=10).fit(matrix)
    whole_PT = predictor.predict(queries)
    for start in range(0, 400, 16):
        rows = np.arange(start, start + 16)
        np.testing.assert_allclose(predictor.predict(queries.take(rows)), whole_PT[rows], atol=1e-9)


def test_a_language_is_the_same_however_its_tag_is_written():
    matrix = toy_outcomes(100)
    long = {"de": "deu", "ja": "JPN", "pt": "pt_Latn", "sw": "swh"}
    spelt = replace(matrix, queries=Queries(_texts(matrix), [long[tag] for tag in matrix.queries.languages]))
    predictor = LearnedLearner().fit(spelt)
    others = Queries(_texts(matrix), ["de" if tag == "de" else tag for tag in matrix.queries.languages])
    german = np.flatnonzero(matrix.queries.languages == "de")
    np.testing.assert_allclose(predictor.predict(others)[german], predictor.predict(spelt.queries)[german])


def test_other_seeds_deal_clusters_of_different_sizes_otherwise():
    cluster_P = np.repeat(np.arange(40), np.arange(1, 41))
    deals = [deal_folds(cluster_P, 5, seed) for seed in range(3)]
    assert (deals[0] == deal_folds(cluster_P, 5, 0)).all()
    for fold_P in deals:
        sizes = np.bincount(fold_P)
        assert sizes.max() - sizes.min() <= 8
    pairs = np.random.default_rng(0).integers(0, len(cluster_P), (2, 5000))
    apart = cluster_P[pairs[0]] != cluster_P[pairs[1]]
    together = [(fold_P[pairs[0]] == fold_P[pairs[1]])[apart] for fold_P in deals]
    assert together[1][together[0]].mean() < 0.35


def test_uncertainty_is_subtracted_where_the_best_single_teacher_is_ineligible():
    full = toy_outcomes(100, noise=0.3)
    rewards_PT = full.rewards_PT.copy()
    best = int(np.argmax(teacher_means(rewards_PT)))
    rewards_PT[full.queries.languages == "ja", best] = np.nan
    price = price_uncertainty(replace(full, rewards_PT=rewards_PT), 0.5)
    japanese = price.predict(full.queries)[full.queries.languages == "ja"][0]
    german = price.predict(full.queries)[full.queries.languages == "de"][0]
    others = [column for column in range(len(TEACHERS)) if column != best]
    assert (-japanese[others]).max() > 0.5 * (-german[others]).max()
