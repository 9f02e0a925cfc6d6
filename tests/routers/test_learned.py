"""The router `learned`: asks whom it has learned to be best, within the language filter, and only for the pool it knows."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arbitrage.config import parse
from arbitrage.contracts.routers import PoolMember
from arbitrage.errors import ConfigError, UserError
from arbitrage.records import Message, Prompt, prompt_id_of
from routers.choice import ChoiceConfig, rank
from routers.learned import LearnedConfig
from routers.learning import AutoLearner, KnnLearner, LearnedLearner, TableLearner
from routers.learning.artifact import load_artifact, save_artifact
from routers.learning.packing import pack, unpack
from routers.learning.train import fit_router
from tests.support.trained import matrix_where, trained_router

BEST = {"en": "ant", "de": "bee", "sw": "cow"}
POOL = tuple(PoolMember(name=name, languages=("en", "de", "sw")) for name in ("ant", "bee", "cow"))


def prompt(language, number=0):
    messages = (Message(role="user", content=f"Question {number}?"),)
    return Prompt(
        prompt_id=prompt_id_of(language, messages), language=language, messages=messages, source="t", source_id="1"
    )


def config_of(directory, **options):
    return parse({"kind": "learned", "artifact": str(directory), **options}, LearnedConfig, "test.yaml")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return trained_router(tmp_path_factory.mktemp("router"), BEST, ["cow", "ant", "bee"])


def asked(trained, *languages, pool=POOL, **options):
    return config_of(trained, **options).build(pool).route([prompt(language) for language in languages])


def test_the_best_of_each_language_is_chosen(trained):
    assert [route.teachers for route in asked(trained, "en", "de", "sw")] == [("ant",), ("bee",), ("cow",)]


def test_top_k_are_chosen_best_first_with_their_predicted_rewards(trained):
    [route] = asked(trained, "de", top_k=2)
    assert route.teachers[0] == "bee"
    assert len(route.teachers) == len(route.expected) == 2
    assert route.expected[0] > route.expected[1] + 0.8
    assert (route.router, route.propensity) == ("learned", 1.0)


def test_the_gate_comes_before_the_prediction(trained):
    pool = (PoolMember(name="bee", languages=("sw",)), *(m for m in POOL if m.name != "bee"))
    assert asked(trained, "de", pool=pool)[0].teachers != ("bee",)
    assert asked(trained, "de", pool=pool, unfiltered=["bee"])[0].teachers == ("bee",)
    assert asked(trained, "ja", "de")[0] is None


def test_more_are_chosen_where_the_next_is_close(trained):
    assert len(asked(trained, "de", sample_more_below=0.5)[0].teachers) == 1
    assert len(asked(trained, "de", sample_more_below=1.5)[0].teachers) == 3
    assert len(asked(trained, "de", sample_more_below=1.5, max_teachers=2)[0].teachers) == 2


def test_an_expensive_teacher_must_be_better_by_its_cost(trained):
    assert asked(trained, "de", cost_weight=0.5, costs={"bee": 1.0})[0].teachers == ("bee",)
    assert asked(trained, "de", cost_weight=2.0, costs={"bee": 1.0})[0].teachers != ("bee",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost_weight": 1.0}, "cost_weight needs `costs`, and none are given"),
        ({"top_k": 4, "sample_more_below": 0.1}, "max_teachers is less than top_k, which is 4"),
        ({"top_k": 0}, "router.top_k|top_k"),
    ],
)
def test_options_that_contradict_each_other_are_one_sentence(trained, options, message):
    with pytest.raises(ConfigError, match=message):
        config_of(trained, **options)


def test_costs_are_of_teachers_in_the_pool(trained):
    with pytest.raises(ConfigError, match=r"router.costs: 'be' is not one of ant, bee, cow \(did you mean 'bee'\?\)"):
        config_of(trained, cost_weight=1.0, costs={"be": 1.0}).build(POOL)


def test_a_pool_it_was_not_trained_for_is_refused_by_name(trained):
    other = (*POOL[1:], PoolMember(name="dog", languages=("en",)))
    with pytest.raises(UserError, match=r"does not know dog; the pool lacks ant, which the router was trained for"):
        config_of(trained).build(other)


def test_a_router_that_is_not_there_says_where_it_must_be(tmp_path):
    for attempt in (lambda c: c.build(POOL), lambda c: c.identity()):
        with pytest.raises(
            UserError, match=r"nowhere: holds no learned router .* every node must be able to read it"
        ):
            attempt(config_of(tmp_path / "nowhere"))


def test_the_fingerprint_has_the_routers_content_and_not_its_path(trained, tmp_path):
    moved = trained_router(tmp_path / "moved", BEST, ["ant", "bee", "cow"])
    other = trained_router(tmp_path / "other", BEST | {"en": "cow"}, ["ant", "bee", "cow"])
    identities = [config_of(directory).identity() for directory in (trained, moved, other)]
    assert identities[0] == identities[1] != identities[2]
    assert config_of(trained, top_k=2).identity() != identities[0]


@given(
    hnp.arrays(float, (5, 4), elements=st.floats(-3, 3)),
    hnp.arrays(bool, (5, 4)),
    st.integers(1, 5),
    st.floats(0, 2),
    st.integers(1, 5),
)
def test_chosen_teachers_are_eligible_and_no_better_one_is_left_out(expected, admitted, top_k, margin, extra):
    config = ChoiceConfig(top_k=top_k, sample_more_below=margin, max_teachers=top_k + extra)
    found = rank(config, expected, admitted, np.zeros(4))
    for row in range(5):
        chosen = found.order_PT[row, : found.num_chosen_P[row]]
        left = [t for t in range(4) if admitted[row, t] and t not in chosen]
        assert admitted[row, chosen].all()
        assert len(chosen) >= min(top_k, admitted[row].sum())
        assert len(chosen) <= top_k + extra
        assert all(expected[row, t] <= expected[row, chosen].min() for t in left)
        if margin and left and len(chosen) < top_k + extra:
            assert max(expected[row, left]) <= expected[row, chosen].max() - margin


def test_a_teacher_without_a_prediction_is_not_chosen_nor_replaced():
    nan = np.nan
    expected = np.array([[nan, 1.0, 2.0], [0.3, 0.1, nan], [nan, 0.1, 0.2]])
    admitted = np.array([[True, False, True], [True, True, True], [True, False, False]])
    for config, nums in ((ChoiceConfig(top_k=3), [1, 2, 0]), (ChoiceConfig(sample_more_below=0.5), [1, 2, 0])):
        found = rank(config, expected, admitted, np.zeros(3))
        assert found.num_chosen_P.tolist() == nums
        assert found.order_PT[:2, 0].tolist() == [2, 0]


@pytest.mark.parametrize("learner", [TableLearner(), LearnedLearner(), KnnLearner(k=5), AutoLearner()], ids=str)
def test_a_packed_router_is_the_same_router(learner, tmp_path):
    matrix = matrix_where(BEST, ["ant", "bee", "cow"])
    artifact = fit_router(learner, matrix)
    restored = unpack(pack(artifact), "here")
    save_artifact(tmp_path / "a", artifact)
    save_artifact(tmp_path / "b", restored)
    assert load_artifact(tmp_path / "a").digest == load_artifact(tmp_path / "b").digest
    assert (restored.predictor.predict(matrix.queries) == artifact.predictor.predict(matrix.queries)).all()
    assert pack(artifact).equals(pack(fit_router(learner, matrix)))


def test_auto_writes_down_what_it_chose():
    artifact = fit_router(AutoLearner(), matrix_where(BEST, ["ant", "bee", "cow"]))
    assert artifact.kind != "auto"
    assert artifact.about["chosen"]
    assert artifact.about["languages"] == {"de": 20, "en": 20, "sw": 20}


def test_routing_is_fast(trained):
    """Far below what a core does (20,000 and more a second), for a machine that others use."""
    router = config_of(trained).build(POOL)
    prompts = [prompt("de", number) for number in range(5000)]
    router.route(prompts[:10])
    started = time.process_time()
    router.route(prompts)
    assert 5000 / (time.process_time() - started) > 5000
