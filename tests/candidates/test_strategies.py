"""Strategies as queries over one table: against enumeration, and against tables whose answer is plain."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arbitrage.candidates.arrays import CandidateArrays, MetricColumn
from arbitrage.candidates.queries import cluster_key
from arbitrage.report.comparing import estimate_all, estimate_languages
from arbitrage.report.ranking import best_of, chances, rank
from arbitrage.report.strategies import budget_curves, compare_strategies

EXACT = MetricColumn("exact@1", "accuracy", is_held_out=True)
ENSEMBLE = MetricColumn("ensemble@1", "score", is_held_out=False)
NAN = float("nan")


def _cube(metric_PTS, reward_PTS=None, *, asked_PT=None, language_P=None, cluster_P=None, metric=EXACT, routes=None):
    metric_PTS = np.asarray(metric_PTS, dtype=float)
    num_prompts, num_teachers, _ = metric_PTS.shape
    answered_PTS = np.isfinite(metric_PTS)
    languages = np.zeros(num_prompts, dtype=int) if language_P is None else np.asarray(language_P)
    return CandidateArrays(
        languages=tuple(f"l{i}" for i in range(int(languages.max(initial=0)) + 1)),
        teachers=tuple("abcdefgh"[:num_teachers]),
        language_P=languages,
        cluster_P=np.arange(num_prompts) if cluster_P is None else np.asarray(cluster_P),
        asked_PT=np.ones((num_prompts, num_teachers), bool) if asked_PT is None else np.asarray(asked_PT, bool),
        answered_PTS=answered_PTS,
        reward_PTS=metric_PTS if reward_PTS is None else np.asarray(reward_PTS, dtype=float),
        metric_PTS=metric_PTS,
        metric=metric,
        routes=routes or {},
    )


def _values(cube):
    comparison = compare_strategies(cube)
    rows = estimate_all(cube, comparison, "test").rows
    return comparison, {(r.name, r.budget): r for r in rows}


def _enumerated(key, metric, m):
    """The mean over all m-subsets of the metric of the best answer; equals at the top count alike."""
    total = 0.0
    subsets = list(combinations(range(len(key)), min(m, len(key))))
    for subset in subsets:
        may = [i for i in subset if np.isfinite(key[i])]
        if may:
            top = max(key[i] for i in may)
            total += np.mean([metric[i] for i in may if key[i] == top])
    return total / len(subsets)


@settings(max_examples=120, deadline=None)
@given(
    key=st.lists(st.one_of(st.just(NAN), st.floats(-3, 3)), min_size=1, max_size=6, unique_by=repr),
    m=st.integers(1, 6),
    data=st.data(),
)
def test_best_of_m_equals_enumeration_of_all_subsets(key, m, data):
    metric = data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(key), max_size=len(key)))
    ranked = rank(np.array([key]), np.array([metric]), np.ones((1, len(key)), bool))
    assert best_of(ranked, m).metric_P[0] == pytest.approx(_enumerated(key, metric, m), abs=1e-12)


def test_equal_keys_share_their_mean():
    ranked = rank(np.array([[1.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 0.0]]), np.ones((1, 3), bool))
    assert best_of(ranked, 3).metric_P[0] == pytest.approx(0.5)


@given(num_places=st.integers(1, 12), m=st.integers(1, 12))
def test_chances_sum_to_one_for_every_number_of_answers(num_places, m):
    np.testing.assert_allclose(chances(m, num_places)[1:].sum(axis=1), 1.0)
    assert not chances(m, num_places)[0].any()


@settings(max_examples=60, deadline=None)
@example(metric=np.array([[[0.0], [1.0]], [[0.0], [NAN]], [[0.0], [NAN]]]), seed=0)  # right where it answered at all
@given(
    metric=hnp.arrays(
        float,
        st.tuples(st.integers(1, 8), st.integers(1, 4), st.integers(1, 3)),
        elements=st.sampled_from([0.0, 1.0, NAN]),
    ),
    seed=st.integers(0, 1000),
)
def test_order_that_holds_for_every_table(metric, seed):
    reward = np.where(np.isfinite(metric), np.random.default_rng(seed).normal(size=metric.shape), NAN)
    cube = _cube(metric, reward)
    comparison, rows = _values(cube)
    value = {key: row.value.value for key, row in rows.items() if row.value}
    singles = [v for (name, _), v in value.items() if name.startswith("single:")]
    assert value[("best single", "one")] == pytest.approx(max(singles))
    assert value[("uniform", "one")] == pytest.approx(np.mean(singles))
    assert value[("best per language", "one")] == pytest.approx(max(singles))  # one language
    assert value[("oracle router", "one")] >= max(singles) - 1e-12
    for name, budget in value:
        if budget == "teachers" and name == "reward":
            assert value[(name, budget)] <= value[("oracle router", "one")] + 1e-12
        if budget == "all" and name != "oracle":
            assert value[(name, budget)] <= value[("oracle", "all")] + 1e-12
    assert comparison.best_single in cube.teachers


def test_reward_that_equals_the_metric_reaches_the_oracle():
    metric = np.random.default_rng(0).integers(0, 2, (50, 3, 2)).astype(float)
    _, rows = _values(_cube(metric))
    assert rows[("reward", "all")].value.value == rows[("oracle", "all")].value.value
    assert rows[("reward", "teachers")].gap_closed == pytest.approx(1.0)


def test_better_reward_wins_and_inverted_reward_loses():
    metric = np.random.default_rng(1).integers(0, 2, (200, 4, 1)).astype(float)
    _, good = _values(_cube(metric, metric))
    _, bad = _values(_cube(metric, -metric))
    assert good[("reward", "teachers")].difference.interval.low > 0
    assert bad[("reward", "teachers")].difference.interval.high < 0


def test_difference_to_best_single_is_paired_around_its_value():
    random = np.random.default_rng(4)
    hard = random.integers(0, 2, (400, 1, 1))  # both teachers know the same things, b a few less
    metric = np.concatenate([hard, hard * (random.random((400, 1, 1)) < 0.95)], axis=1).astype(float)
    _, rows = _values(_cube(metric))
    found, alone = rows[("single:b", "one")].difference, rows[("single:b", "one")].value
    assert found.interval.low < found.value < found.interval.high < 0
    assert found.interval.high - found.interval.low < (alone.interval.high - alone.interval.low) / 2


def test_absent_answer_counts_zero_and_lowers_coverage():
    metric = [[[1.0], [1.0]], [[1.0], [NAN]], [[0.0], [NAN]], [[0.0], [1.0]]]
    _, rows = _values(_cube(metric))
    gappy = rows[("single:b", "one")]
    assert (gappy.value.value, gappy.coverage, gappy.where_answered) == (0.5, 0.5, 1.0)


def test_gated_answer_is_not_chosen_by_reward_but_counts_for_its_teacher():
    metric = [[[1.0], [0.0]]] * 4
    reward = [[[NAN], [0.3]]] * 4  # the right answer fails a filter
    _, rows = _values(_cube(metric, reward))
    assert rows[("single:a", "one")].value.value == 1.0
    assert rows[("reward", "teachers")].value.value == 0.0
    assert rows[("reward", "teachers")].coverage == 1.0


def test_a_teacher_that_is_not_sampled_costs_nothing():
    metric = [[[1.0], [NAN]], [[1.0], [1.0]]]
    _, rows = _values(_cube(metric, asked_PT=[[True, False], [True, True]]))
    assert rows[("reward", "teachers")].generations_per_prompt == 1.5
    assert rows[("uniform", "one")].coverage == 1.0


def test_matched_budget_pays_the_same_on_both_sides():
    metric = np.random.default_rng(2).integers(0, 2, (60, 5, 3)).astype(float)
    comparison, rows = _values(_cube(metric, np.random.default_rng(3).normal(size=metric.shape)))
    assert comparison.matched_size == 3
    one, many = rows[("best single", "matched")], rows[("reward", "matched")]
    assert one.generations_per_prompt == many.generations_per_prompt == 3
    assert many.matched.value == pytest.approx(many.value.value - one.value.value)


def test_score_as_metric_leaves_absent_answers_out_and_has_no_ratio():
    metric = [[[-1.0], [2.0]], [[-3.0], [NAN]]]
    _, rows = _values(_cube(metric, metric=ENSEMBLE))
    assert rows[("single:b", "one")].value.value == 2.0
    assert rows[("single:a", "one")].value.value == -2.0
    assert all(row.relative is None and row.gap_closed is None for row in rows.values())
    assert ("oracle", "all") not in rows


def test_teacher_that_answers_little_is_no_best_single_by_score():
    metric = [[[0.1], [9.0]]] + [[[0.1], [NAN]]] * 9
    comparison, _ = _values(_cube(metric, metric=ENSEMBLE))
    assert comparison.best_single == "a"


def test_routes_are_followed_and_uniform_routes_are_not_counted_twice():
    metric = [[[1.0], [0.0]], [[0.0], [1.0]]]
    right = np.array([[True, False], [False, True]])
    _, rows = _values(_cube(metric, routes={"language": right, "uniform": ~right, "reward": right | True}))
    assert rows[("language", "one")].value.value == 1.0
    assert rows[("uniform", "one")].value.value == 0.5


def test_route_of_several_teachers_is_decided_by_reward():
    metric = [[[0.0], [1.0], [1.0]]] * 3
    route = np.array([[True, True, False]] * 3)
    _, rows = _values(_cube(metric, routes={"learned": route}))
    assert rows[("learned", "teachers")].value.value == 1.0
    assert rows[("learned", "teachers")].generations_per_prompt == 2


def test_one_language_at_a_time_keeps_the_overall_best_single():
    metric = np.zeros((40, 2, 1))
    metric[:30, 0] = 1  # a is right in the first language
    metric[30:, 1] = 1  # b in the second
    cube = _cube(metric, language_P=[0] * 30 + [1] * 10)
    comparison = compare_strategies(cube)
    first, second = estimate_languages(cube, comparison, "test")
    by_name = {(r.name, r.budget): r for r in second.rows}
    assert comparison.best_single == "a"
    assert (first.num_prompts, second.num_prompts) == (30, 10)
    assert by_name[("best single", "one")].value.value == 0.0
    assert by_name[("best per language", "one")].value.value == 1.0


def test_without_rewards_only_what_needs_none_is_compared():
    metric = np.ones((4, 2, 2))
    _, rows = _values(_cube(metric, np.full(metric.shape, NAN)))
    assert not {name for name, _ in rows} & {"reward"}
    assert ("mix_all", "all") in rows
    assert budget_curves(_cube(metric, np.full(metric.shape, NAN)), "a") == {}


def test_curves_rise_with_a_perfect_reward_and_start_at_the_mean():
    metric = np.random.default_rng(5).integers(0, 2, (80, 3, 3)).astype(float)
    curves = budget_curves(_cube(metric), "a")
    (samples, teachers) = curves.values()
    assert samples[0].value == pytest.approx(metric[:, 0].mean())
    assert teachers[0].value == pytest.approx(metric[:, :, 0].mean())
    for curve in (samples, teachers):
        assert [p.value for p in curve] == sorted(p.value for p in curve)


@pytest.mark.parametrize(
    ("source_id", "language", "key"),
    [
        ("arithmetic/3+4", "de", "arithmetic/3+4"),
        ("17/de", "de", "17"),
        ("17/de", "fr", "17/de"),
        ("/de", "de", "/de"),
        ("", "de", "prompt p"),
    ],
)
def test_cluster_is_what_the_source_calls_the_question(source_id, language, key):
    assert cluster_key("p", source_id, language) == key


def test_scores_are_compared_on_the_prompts_that_both_answer():
    """Teacher b answers the one easy prompt alone: its mean is highest, and it is no better than a there."""
    metric = [[[0.9], [0.9]], [[0.1], [NAN]], [[0.2], [NAN]], [[0.3], [NAN]]]
    comparison, rows = _values(_cube(metric, metric=ENSEMBLE))
    assert comparison.best_single == "a"
    few = rows["single:b", "one"]
    assert few.value.value == pytest.approx(0.9)
    assert (few.coverage, few.compared) == (0.25, 0.25)
    assert few.difference.value == pytest.approx(0.0)


def test_paired_difference_of_scores_is_the_mean_over_common_prompts():
    random = np.random.default_rng(3)
    metric = random.normal(size=(40, 2, 1))
    metric[::3, 1] = np.nan
    metric[1::5, 0] = np.nan
    comparison, rows = _values(_cube(metric, metric=ENSEMBLE))
    other = "b" if comparison.best_single == "a" else "a"
    first, second = (0, 1) if other == "a" else (1, 0)
    both = np.isfinite(metric).all(axis=(1, 2))
    wanted = (metric[both, first, 0] - metric[both, second, 0]).mean()
    assert rows[f"single:{other}", "one"].difference.value == pytest.approx(wanted)


@settings(max_examples=60, deadline=None)
@given(
    right=hnp.arrays(bool, st.tuples(st.integers(2, 9), st.just(3), st.just(2))),
    num_clusters=st.integers(2, 9),
)
def test_no_interval_of_an_accuracy_leaves_its_range(right, num_clusters):
    cluster_P = np.arange(len(right)) % num_clusters
    _, rows = _values(
        _cube(right.astype(float), np.random.default_rng(0).normal(size=right.shape), cluster_P=cluster_P)
    )
    for row in rows.values():
        for found, low, high in ((row.value, 0.0, 1.0), (row.difference, -1.0, 1.0), (row.matched, -1.0, 1.0)):
            if found is not None and found.interval is not None:
                assert low <= found.interval.low <= found.interval.high <= high
