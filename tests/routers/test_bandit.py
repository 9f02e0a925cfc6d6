"""The bandit explores, says how likely each choice was, and so lets others be judged on what it logged."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.candidates.matrix import teacher_means
from arbitrage.contracts.routers import PoolMember
from arbitrage.errors import ConfigError, DataError, UserError
from arbitrage.records import Message, Prompt, Route, prompt_id_of
from routers.bandit import BanditConfig
from routers.bandit_log.off_policy import greedy, judge_policy, judge_predictor
from routers.bandit_log.outcome_log import OutcomeLog, complete, log_routes, read_log, require_draws, write_log
from routers.bandit_log.posterior import LoggedOutcome, Posterior, update
from routers.evaluation.logged import judge_logged
from routers.learning.learner import Fixed
from routers.learning.table import SingleLearner, TableLearner
from tests.support.reward_matrices import LANGUAGES, TEACHERS, toy_outcomes

POOL = tuple(PoolMember(name=name, languages=LANGUAGES) for name in TEACHERS)
RULES = pytest.mark.parametrize("rule", ["thompson", "ema"])


def prompts(num, language="de", task=None):
    found = []
    for i in range(num):
        messages = (Message(role="user", content=f"Question {i}?"),)
        prompt_id = prompt_id_of(language, messages)
        found.append(
            Prompt(prompt_id=prompt_id, language=language, messages=messages, source="t", source_id=str(i), task=task)
        )
    return found


def outcomes_file(path, *rows):
    """Write (language, task, teacher, reward, times)."""
    full = [row[:4] for row in rows for _ in range(row[4])]
    columns = dict(zip(("language", "task", "teacher", "reward"), zip(*full, strict=True), strict=True))
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), path)
    return str(path)


# --- shares ------------------------------------------------------------------------------------------------


@RULES
@settings(deadline=None, max_examples=40)
@given(
    floor=st.floats(0.0, 1.0),
    prior=st.dictionaries(st.sampled_from(TEACHERS), st.floats(-2.0, 2.0)),
    seed=st.integers(0, 5),
    language=st.sampled_from(LANGUAGES),
)
def test_shares_sum_to_one_and_respect_the_floor(rule, floor, prior, seed, language):
    config = BanditConfig(rule=rule, floor=floor, prior=prior, seed=seed, num_draws=200)
    router = config.build(POOL)
    shares = router.shares(language)
    assert set(shares) == set(TEACHERS)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) >= min(floor, 1 / len(TEACHERS)) - 1e-12
    for route in router.route(prompts(20, language)):
        assert route.propensity == shares[route.teachers[0]] > 0.0


@RULES
def test_teachers_are_drawn_as_often_as_logged(rule):
    router = BanditConfig(rule=rule, prior={"anna": 0.3, "bert": 0.2}, floor=0.1).build(POOL)
    counts = Counter(route.teachers[0] for route in router.route(prompts(4000)))
    for name, share in router.shares("de").items():
        assert abs(counts[name] - 4000 * share) < 5 * (4000 * share * (1 - share)) ** 0.5


def test_thompson_samples_as_often_as_normal_theory_says():
    """Two teachers, beliefs apart by d with variances v each: the better is asked with Φ(d / √(2v))."""
    config = BanditConfig(prior={"anna": 0.5}, noise=1.0, prior_weight=4.0, floor=0.0, num_draws=40_000)
    # variance of a cell without data: ¼ for each of three nested priors
    shares = config.build(POOL[:2]).shares("de")
    assert shares["anna"] == pytest.approx(0.6585, abs=0.012)  # Φ(0.5 / √1.5) = Φ(0.408)


@RULES
def test_a_teacher_with_higher_rewards_is_sampled_more(rule, tmp_path):
    path = outcomes_file(
        tmp_path / "log.parquet",
        ("de", "quiz", "anna", 1.0, 40),
        ("de", "quiz", "bert", 0.0, 40),
        ("ja", "quiz", "anna", 0.0, 40),
        ("ja", "quiz", "bert", 1.0, 40),
    )
    router = BanditConfig(rule=rule, outcomes=path, noise=0.5, prior_mean=0.2).build(POOL)
    assert max(router.shares("de", "quiz"), key=router.shares("de", "quiz").get) == "anna"
    assert max(router.shares("ja", "quiz"), key=router.shares("ja", "quiz").get) == "bert"
    # a task without data is shrunk towards its language
    assert router.shares("de", "essay")["anna"] > router.shares("ja", "essay")["anna"]
    best = router.route(prompts(1, "de", "quiz"))[0]
    assert (best.teachers, best.router) == (("anna",), f"bandit:{rule}")
    assert 0.5 < best.expected[0] < 1.0


def test_doubt_shrinks_with_outcomes(tmp_path):
    shares = []
    for times in (2, 20, 200):
        rows = [("de", None, name, reward, times) for name, reward in (("anna", 0.6), ("bert", 0.4))]
        path = outcomes_file(tmp_path / f"{times}.parquet", *rows)
        shares.append(BanditConfig(outcomes=path, prior_mean=0.5, floor=0.0).build(POOL[:2]).shares("de")["anna"])
    assert shares[0] < shares[1] < shares[2] < 1.0


def test_the_moving_average_follows_a_teacher_that_changes(tmp_path):
    rows = [("de", "quiz", "anna", 1.0, 60), ("de", "quiz", "bert", 0.6, 120), ("de", "quiz", "anna", 0.0, 40)]
    path = outcomes_file(tmp_path / "log.parquet", *rows)
    shares = BanditConfig(rule="ema", outcomes=path).build(POOL[:2]).shares("de", "quiz")
    assert shares["bert"] == pytest.approx(0.98)
    plain = Posterior(1.0, 5.0, None, {}, 0.0)
    believed = update(plain, [LoggedOutcome(*row[:4]) for row in rows for _ in range(row[4])])
    assert believed.mean_of("anna", "de", "quiz").mean > 0.5  # plain means still remember


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from(LANGUAGES), st.sampled_from(["quiz", "essay"]), st.floats(0, 1)), max_size=30)
)
def test_outcomes_only_make_surer_and_keep_the_mean_in_range(rows):
    blank = Posterior(1.0, 5.0, None, {"anna": 0.5}, 0.0)
    after = update(blank, [LoggedOutcome(language, task, "anna", reward) for language, task, reward in rows])
    for language in LANGUAGES:
        before, found = blank.mean_of("anna", language, "quiz"), after.mean_of("anna", language, "quiz")
        assert found.variance <= before.variance + 1e-12
        assert min([0.5, *(r for *_, r in rows)]) - 1e-9 <= found.mean <= max([0.5, *(r for *_, r in rows)]) + 1e-9


def exact_belief(rows, cell, weight=5.0, noise=1.0):
    """Condition the joint normal of one cell's mean and all rewards (prior mean 0)."""

    def covariance(one, other):
        return noise**2 / weight * (1 + (one[0] == other[0]) * (1 + (one[1] == other[1])))

    among = np.array([[covariance(a, b) for b in rows] for a in rows]) + noise**2 * np.eye(len(rows))
    across = np.array([covariance(cell, b) for b in rows])
    gain = np.linalg.solve(among, across)
    return gain @ np.array([row[2] for row in rows]), covariance(cell, cell) - gain @ across


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from(LANGUAGES), st.sampled_from(["quiz", "essay"]), st.floats(0, 1)),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from(LANGUAGES),
)
def test_beliefs_are_the_exact_posterior(rows, language):
    blank = Posterior(1.0, 5.0, None, {}, 0.0)
    found = update(blank, [LoggedOutcome(*row[:2], "anna", row[2]) for row in rows]).mean_of("anna", language, "quiz")
    assert (found.mean, found.variance) == pytest.approx(exact_belief(rows, (language, "quiz")), abs=1e-9)


def test_one_language_says_little_of_another():
    """Means drawn as the model says are within the posterior interval of an unseen language as often as they should."""
    random, z = np.random.default_rng(0), []
    blank = Posterior(1.0, 5.0, None, {}, 0.0)
    for _ in range(600):
        overall, seen, unseen = random.normal(0.0, np.sqrt([1 / 5, 2 / 5, 2 / 5]))
        rewards = random.normal(overall + seen, 1.0, 50)
        belief = update(blank, [LoggedOutcome("de", "quiz", "anna", float(r)) for r in rewards]).mean_of(
            "anna", "ja", "quiz"
        )
        z.append((overall + unseen - belief.mean) / belief.variance**0.5)
    assert np.std(z) == pytest.approx(1.0, abs=0.1)  # 1.33 where outcomes counted at every level


def test_the_fingerprint_knows_the_outcomes_not_where_they_lie(tmp_path):
    paths = [
        outcomes_file(tmp_path / name, ("de", "quiz", "anna", reward, 3))
        for name, reward in (("a.parquet", 1.0), ("b.parquet", 1.0), ("c.parquet", 0.0))
    ]
    identities = [BanditConfig(outcomes=path).identity() for path in paths]
    assert identities[0] == identities[1] != identities[2]


def test_bad_outcomes_and_priors_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"router.prior: 'ana' is not one of .*'anna'"):
        BanditConfig(prior={"ana": 1.0}).build(POOL)
    with pytest.raises(DataError, match=r"nowhere.parquet: is no log of outcomes"):
        BanditConfig(outcomes=str(tmp_path / "nowhere.parquet")).build(POOL)
    pq.write_table(pa.table({"language": ["de"]}), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="has no column 'task' \\(columns present: language"):
        BanditConfig(outcomes=str(tmp_path / "bad.parquet")).build(POOL)


def test_rows_without_a_reward_teach_nothing(tmp_path):
    rows = [("de", "quiz", "anna", 1.0, 5), ("de", "quiz", "bert", 0.4, 5)]
    clean = outcomes_file(tmp_path / "clean.parquet", *rows)
    holes = outcomes_file(tmp_path / "holes.parquet", *rows, ("de", "quiz", "bert", None, 50))
    shares = [BanditConfig(outcomes=path).build(POOL).shares("de", "quiz") for path in (clean, holes)]
    assert shares[0] == shares[1]


# --- logs --------------------------------------------------------------------------------------------------

MATRIX = toy_outcomes(300, noise=0.1)
MODEL = TableLearner().fit(toy_outcomes(60, noise=0.1, seed=9))


def logged(seed, matrix=MATRIX):
    """Ask one teacher each by a policy that prefers some, differently in each language."""
    random = np.random.default_rng(seed)
    preference = {language: random.dirichlet(np.full(len(TEACHERS), 3.0)) for language in LANGUAGES}
    policy_PT = 0.2 / len(TEACHERS) + 0.8 * np.array([preference[language] for language in matrix.queries.languages])
    chosen_P = (
        (policy_PT.cumsum(axis=1) < random.random(len(matrix))[:, None]).sum(axis=1).clip(max=len(TEACHERS) - 1)
    )
    rows = np.arange(len(matrix))
    chance_P = policy_PT[rows, chosen_P]
    return OutcomeLog(
        matrix.queries, matrix.cluster_P, TEACHERS, chosen_P, matrix.rewards_PT[rows, chosen_P], chance_P
    )


def test_a_log_is_read_as_it_was_written(tmp_path):
    log = logged(0)
    write_log(tmp_path / "log.parquet", [log])
    found = read_log(tmp_path / "log.parquet")
    assert found.teachers == log.teachers
    for name in ("chosen_P", "reward_P", "propensity_P"):
        assert np.array_equal(getattr(found, name), getattr(log, name))
    assert list(found.queries.languages) == list(log.queries.languages)
    assert len(np.unique(np.stack([found.cluster_P, log.cluster_P]), axis=1).T) == len(np.unique(log.cluster_P))
    shares = BanditConfig(outcomes=str(tmp_path / "log.parquet"), noise=0.3).build(POOL).shares("sw", "quiz")
    assert max(shares, key=shares.get) == "carl"


def test_routes_and_rewards_make_a_log():
    asked = prompts(50)
    routes = BanditConfig().build(POOL).route(asked)
    rewards = {prompt.prompt_id: 0.1 * i for i, prompt in enumerate(asked[:40])}
    log = log_routes(asked, routes, rewards, TEACHERS)
    assert len(log) == 40
    assert [log.teachers[code] for code in log.chosen_P] == [route.teachers[0] for route in routes[:40]]
    assert list(log.reward_P) == list(rewards.values())
    assert list(log.propensity_P) == [route.propensity for route in routes[:40]]
    with pytest.raises(DataError, match="the pool is anna, bert"):
        log_routes(asked, routes, rewards, ["anna", "bert"])


def test_logs_cluster_as_outcome_matrices_do():
    asked = [
        prompt.model_copy(update={"source_id": source_id, "language": language})
        for prompt, source_id, language in zip(prompts(4), ["17/de", "17/fr", "", ""], ["de", "fr"] * 2, strict=True)
    ]
    routes = [Route(prompt_id=p.prompt_id, router="uniform", teachers=("anna",), propensity=0.5) for p in asked]
    log = log_routes(asked, routes, {prompt.prompt_id: 0.5 for prompt in asked}, TEACHERS)
    assert list(log.clusters_P) == ["17", "17", *(f"prompt {prompt.prompt_id}" for prompt in asked[2:])]


def test_a_row_without_a_cluster_stands_alone(tmp_path):
    write_log(tmp_path / "log.parquet", [logged(0)])
    table = pq.read_table(tmp_path / "log.parquet").slice(0, 5)
    labels = pa.array([None, None, "a", "", "a"], pa.string())
    pq.write_table(table.set_column(table.column_names.index("cluster"), "cluster", labels), tmp_path / "log.parquet")
    assert len(set(read_log(tmp_path / "log.parquet").cluster_P.tolist())) == 4


def test_nulls_in_a_log_are_read_as_unknown(tmp_path):
    table = pa.table(
        {
            "prompt": ["a", None, "c", "d"],
            "language": ["de", "de", None, "de"],
            "task": [None] * 4,
            "teacher": ["anna", "bert", "anna", None],
            "reward": [1, 0, 1, 1],
            "propensity": [0.5] * 4,
            "cluster": [7, 8, None, None],
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    log = read_log(tmp_path / "log.parquet")
    assert [log.queries.texts[code] for code in log.queries.text_P] == ["a", "", "c"]
    assert list(log.queries.languages) == ["de", "de", "und"]
    assert list(log.queries.tasks) == [""] * 3
    assert list(log.clusters_P) == ["7", "8", "row 2"]
    assert judge_logged(log, {})[0].value.doubly_robust.value == pytest.approx(1.0, abs=0.5)
    assert BanditConfig(outcomes=str(tmp_path / "log.parquet")).build(POOL).shares("de")


def test_a_log_that_says_nothing_is_refused_by_name(tmp_path):
    path = tmp_path / "log.parquet"
    write_log(path, [logged(0)])
    table = pq.read_table(path)
    column = table.column_names.index("reward")
    for rewards in (pa.array([None] * len(table), pa.float64()), pa.array([np.inf] * len(table))):
        pq.write_table(table.set_column(column, "reward", rewards), path)
        with pytest.raises(DataError, match=r"log.parquet: no row has both a teacher and a finite reward"):
            read_log(path)
    pq.write_table(table.set_column(column, "reward", pa.array(["good"] * len(table))), path)
    with pytest.raises(DataError, match=r"log.parquet: is no log of outcomes: .*good"):
        read_log(path)
    with pytest.raises(DataError, match="the log holds no reward"):
        judge_logged(logged(0).take(np.zeros(0, np.int64)), {})


def test_a_log_with_impossible_propensities_is_refused():
    log = logged(0)
    with pytest.raises(DataError, match=r"row 0: propensity 0.0; wanted above 0, at most 1"):
        OutcomeLog(log.queries, log.cluster_P, log.teachers, log.chosen_P, log.reward_P, 0.0 * log.propensity_P)


# --- off-policy evaluation ---------------------------------------------------------------------------------


def estimates(num, policy_PT, model_PT=None, matrix=MATRIX):
    found = [judge_policy(logged(seed, matrix), policy_PT, model_PT) for seed in range(num)]
    return {
        name: [getattr(value, name) for value in found]
        for name in ("inverse_propensity", "self_normalised", "doubly_robust")
    }


@pytest.mark.parametrize("is_informed", [False, True])
def test_estimates_are_unbiased_and_their_intervals_cover(is_informed):
    policy_PT = greedy(MODEL.predict(MATRIX.queries))
    truth = float((policy_PT * MATRIX.rewards_PT).sum(axis=1).mean())
    model_PT = MODEL.predict(MATRIX.queries) if is_informed else None
    for found in estimates(40, policy_PT, model_PT).values():
        values = np.array([estimate.value for estimate in found])
        assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(len(values)) + 1e-3
        # intervals speak of other prompts too, so that over these they cover more than 95 %
        covers = [estimate.interval.low <= truth <= estimate.interval.high for estimate in found]
        assert np.mean(covers) >= 0.9


def test_a_wrong_reward_model_does_no_harm_and_a_right_one_helps():
    policy_PT = greedy(MODEL.predict(MATRIX.queries))
    truth = float((policy_PT * MATRIX.rewards_PT).sum(axis=1).mean())
    wrong_PT = -2.0 * MODEL.predict(MATRIX.queries)
    spread = {}
    for name, model_PT in (("none", None), ("right", MODEL.predict(MATRIX.queries)), ("wrong", wrong_PT)):
        values = np.array([e.value for e in estimates(40, policy_PT, model_PT)["doubly_robust"]])
        assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(len(values)) + 1e-3
        spread[name] = values.std()
    assert spread["right"] < 0.8 * spread["none"] < 0.8 * spread["wrong"]


def test_the_logging_policy_is_judged_by_its_own_rewards():
    matrix = toy_outcomes(50)
    log = OutcomeLog(
        matrix.queries, matrix.cluster_P, TEACHERS, np.zeros(200, np.int64), matrix.rewards_PT[:, 0], np.ones(200)
    )
    value = judge_predictor(log, Fixed(np.array([1.0, 0.0, 0.0, 0.0])))
    mean = pytest.approx(matrix.rewards_PT[:, 0].mean())
    assert value.inverse_propensity.value == value.self_normalised.value == value.doubly_robust.value == mean
    assert (value.effective_size, value.max_weight) == (pytest.approx(200.0), 1.0)
    never = judge_predictor(log, Fixed(np.array([0.0, 1.0, 0.0, 0.0])))
    assert never.self_normalised is None
    assert never.effective_size == 0.0


def test_the_better_router_is_found_the_better():
    log = logged(3)
    good, bad = (judge_predictor(log, predictor, MODEL) for predictor in (MODEL, Fixed(np.array([0, 0, 0, 1.0]))))
    assert good.doubly_robust.interval.low > bad.doubly_robust.interval.high
    assert good.self_normalised.value > bad.self_normalised.value


def test_an_ineligible_teacher_is_not_chosen():
    expected_PT = np.array([[0.1, 0.9], [0.1, 0.9]])
    admitted_PT = np.array([[True, True], [True, False]])
    assert greedy(expected_PT, admitted_PT).tolist() == [[0.0, 1.0], [1.0, 0.0]]


def by_a_rule(num_certain):
    """Two equal teachers; the first choices follow a rule, easy prompts to `bert`, the others are drawn."""
    random, matrix = np.random.default_rng(0), MATRIX
    is_certain_P = np.arange(len(matrix)) < num_certain
    is_easy_P = random.random(len(matrix)) < 0.5
    chosen_P = np.where(is_certain_P, is_easy_P, random.random(len(matrix)) < 0.5).astype(np.int64)
    chance_P = np.where(is_certain_P, 1.0, 0.5)
    return OutcomeLog(matrix.queries, matrix.cluster_P, ("anna", "bert"), chosen_P, 1.0 * is_easy_P, chance_P)


def test_a_log_without_draws_is_neither_judged_by_nor_learned_from():
    """The doubly robust estimate would be 1.0 for one of two equal teachers and 0.0 for the other, both sure."""
    for use in (lambda log: judge_logged(log, {}), complete):
        with pytest.raises(UserError, match=r"1,200 of 1,200 choices in the log were certain .* 2 teachers"):
            use(by_a_rule(1200))
        use(by_a_rule(400))


def test_a_rule_by_language_is_no_draw_and_a_single_eligible_teacher_no_rule():
    log = logged(0)
    by_language = {language: place for place, language in enumerate(LANGUAGES)}
    chosen_P = np.array([by_language[language] for language in log.queries.languages])
    rule = OutcomeLog(log.queries, log.cluster_P, TEACHERS, chosen_P, log.reward_P, np.ones(len(log)))
    with pytest.raises(UserError, match="were certain"):
        require_draws(rule)
    is_alone_P = log.queries.languages != "de"  # three languages of four have one teacher each
    chosen_P, chance_P = np.where(is_alone_P, 3, log.chosen_P), np.where(is_alone_P, 1.0, log.propensity_P)
    require_draws(OutcomeLog(log.queries, log.cluster_P, TEACHERS, chosen_P, log.reward_P, chance_P))


def test_support_is_the_share_of_choices_that_the_log_might_have_made():
    log = by_a_rule(400)
    policy_PT = np.tile([1.0, 0.0], (len(log), 1))
    expected = 1.0 - (log.chosen_P[:400] == 1).sum() / len(log)
    assert judge_policy(log, policy_PT).support == pytest.approx(expected)
    assert judge_policy(log, np.full((len(log), 2), 0.5)).support == pytest.approx(1.0 - 200 / len(log))
    assert judge_policy(by_a_rule(0), policy_PT).support == 1.0
    never_asked_PT = np.tile(np.eye(3)[2], (len(log), 1))
    wider = replace(by_a_rule(0), teachers=("anna", "bert", "carl"))
    assert judge_policy(wider, never_asked_PT).support == 0.0


def test_a_policy_of_other_teachers_is_refused():
    with pytest.raises(UserError, match=r"shape \(1200, 3\); wanted 1200 rows of 4 probabilities"):
        judge_policy(logged(0), np.full((len(MATRIX), 3), 1 / 3))


def test_learners_learn_from_partial_feedback():
    """Naive means would credit whoever was asked the easy prompts; completed outcomes are unbiased."""
    truth_T = teacher_means(MATRIX.rewards_PT)
    found_T = np.mean([teacher_means(complete(logged(seed)).rewards_PT) for seed in range(20)], axis=0)
    assert np.allclose(found_T, truth_T, atol=0.02)
    partial = complete(logged(1))
    table, single = TableLearner().fit(partial), SingleLearner().fit(partial)
    reached = [
        float((greedy(p.predict(MATRIX.queries)) * MATRIX.rewards_PT).sum(axis=1).mean()) for p in (table, single)
    ]
    assert reached[0] > reached[1] + 0.05
