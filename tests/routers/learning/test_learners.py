"""What every learner promises, and what each is for."""

from dataclasses import replace
from functools import cache
from typing import get_args

import numpy as np
import pytest

from arbitrage.candidates.matrix import RewardMatrix
from arbitrage.candidates.queries import Queries
from arbitrage.errors import DataError, UserError
from benchmarks.router_baselines import ROUTER_BASELINES
from benchmarks.router_baselines.error_vectors import ErrorVectorsLearner
from benchmarks.router_baselines.factorisation import FactorisationLearner
from benchmarks.router_baselines.mlp import MlpLearner
from routers.features.tags import TagVocabulary
from routers.learning import AnyLearner
from routers.learning.artifact import ARRAYS, RESTORE, VALUES, Artifact, load_artifact, save_artifact
from routers.learning.bilinear import fit_bilinear
from routers.learning.descriptor import DescriptorLearner, fit_model_descriptors
from routers.learning.encoder import EncoderLearner
from routers.learning.knn import KnnLearner
from routers.learning.learned import Learned
from routers.learning.prior import Prior, design_of
from routers.learning.soft_label import SoftLabelLearner, reward_scale, smooth_labels
from routers.learning.table import SingleLearner, Table
from tests.support.reward_matrices import LANGUAGES, TEACHERS, regret, split, toy_outcomes
from tests.support.tiny_encoder import save_encoder

LEARNERS = get_args(get_args(AnyLearner)[0])
CLASSES = (*LEARNERS, *map(type, ROUTER_BASELINES))
KINDS = {cls.model_fields["kind"].default: cls for cls in CLASSES}
BLIND = (SoftLabelLearner, MlpLearner, FactorisationLearner, ErrorVectorsLearner)
ENCODER = pytest.param("encoder", marks=pytest.mark.model)


def each(kinds):
    """Return parameters for kinds of learners."""
    return [ENCODER if kind == "encoder" else kind for kind in sorted(kinds)]


EVERY = pytest.mark.parametrize("kind", each(KINDS))
WRITTEN = pytest.mark.parametrize("kind", each(RESTORE))


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    """Return the learner of a kind, with options a test can afford."""
    encoder_path = cache(lambda: str(save_encoder(tmp_path_factory.mktemp("encoder"))))

    def make(kind, **options):
        if kind == "encoder":
            cheap = {
                "model": encoder_path(),
                "num_epochs": 6,
                "learning_rate": 3e-3,
                "max_tokens": 32,
                "device": "cpu",
            }
            return EncoderLearner(**{**cheap, **options})
        return KINDS[kind](**options)

    return make


@pytest.fixture(scope="module")
def fitted(learner):
    """Return the predictor of a kind, fitted once to training prompts with gaps; and the test prompts."""
    train, test = split(toy_outcomes(with_gaps=True))
    found = {}

    def fit(kind):
        if kind not in found:
            found[kind] = learner(kind).fit(train)
        return found[kind], test

    return fit


def learned_of(prior):
    """Return a router that is its prior and nothing else."""
    nothing_T = np.zeros(len(TEACHERS))
    return Learned(
        nothing_T, prior, Table(TagVocabulary("language", ()), nothing_T, np.zeros((0, len(TEACHERS)))), None, None
    )


# --- every learner -----------------------------------------------------------------------------------------


def test_every_learner_can_be_read_back():
    kinds = {cls.model_fields["kind"].default for cls in LEARNERS}
    assert set(RESTORE) == kinds - {"auto"}  # `auto` is written as what it chose; baselines are not written


@EVERY
def test_predictions_are_finite_for_any_eligible_teachers(kind, fitted):
    predictor, test = fitted(kind)
    assert predictor.predict(test.queries).shape == (len(test), len(TEACHERS))
    assert np.isfinite(predictor.predict(test.queries)).all()
    assert predictor.predict(test.queries.take(np.zeros(0, np.int64))).shape == (0, len(TEACHERS))


@EVERY
def test_prompts_like_none_seen_get_a_prediction(kind, fitted):
    strange = Queries(["", "Ωμέγα 12 ?!", "wheat " * 900], ["el", "und", "de"], ["", "riddle", "quiz"])
    assert np.isfinite(fitted(kind)[0].predict(strange)).all()


@EVERY
def test_the_same_outcomes_give_the_same_predictor(kind, fitted, learner):
    predictor, test = fitted(kind)
    again = learner(kind).fit(split(toy_outcomes(with_gaps=True))[0])
    assert np.array_equal(again.predict(test.queries), predictor.predict(test.queries))


@WRITTEN
def test_an_artifact_predicts_bit_for_bit_the_same(kind, fitted, tmp_path):
    predictor, test = fitted(kind)
    save_artifact(tmp_path / "a", Artifact(kind, TEACHERS, predictor, {"prompts": 1}))
    loaded = load_artifact(tmp_path / "a")
    assert np.array_equal(loaded.predictor.predict(test.queries), predictor.predict(test.queries))
    assert (loaded.kind, loaded.teachers, loaded.about) == (kind, TEACHERS, {"prompts": 1})
    save_artifact(tmp_path / "b", Artifact(kind, TEACHERS, loaded.predictor, {"prompts": 1}))
    assert load_artifact(tmp_path / "b").digest == loaded.digest


def test_a_prior_keeps_its_columns_apart_when_it_is_read_back(tmp_path):
    matrix = toy_outcomes()
    design = design_of(matrix.queries)
    width = sum(block.shape[1] for block in design.blocks(matrix.queries).values())
    weights_XT = np.random.default_rng(0).normal(size=(width, len(TEACHERS)))  # every block counts
    save_artifact(tmp_path, Artifact("learned", TEACHERS, learned_of(Prior(design, {}, weights_XT)), {}))
    loaded = load_artifact(tmp_path).predictor
    expected_PT = np.hstack(list(design.blocks(matrix.queries).values())) @ weights_XT
    assert np.allclose(loaded.predict(matrix.queries), expected_PT)


def test_a_consensus_is_read_back_whatever_its_rewards_are_called(tmp_path):
    matrix = toy_outcomes(60)
    rewards = {
        "rewards": matrix.rewards_PT,
        "values": matrix.rewards_PT,
        "single": matrix.rewards_PT**2,
        "a.b": matrix.rewards_PT,
        "a": 0.5 * matrix.rewards_PT,
    }
    predictor = KINDS["consensus"]().fit(replace(matrix, rewards_by_name=rewards))
    save_artifact(tmp_path, Artifact("consensus", TEACHERS, predictor, {}))
    loaded = load_artifact(tmp_path).predictor
    assert np.array_equal(loaded.predict(matrix.queries), predictor.predict(matrix.queries))


@WRITTEN
def test_a_damaged_artifact_is_refused(kind, fitted, tmp_path):
    from safetensors.numpy import load_file, save_file

    save_artifact(tmp_path, Artifact(kind, TEACHERS, fitted(kind)[0], {}))
    arrays, values = load_file(tmp_path / ARRAYS), (tmp_path / VALUES).read_text()
    for name in sorted(arrays)[:: max(1, len(arrays) // 4)]:
        save_file({key: array for key, array in arrays.items() if key != name}, tmp_path / ARRAYS)
        with pytest.raises(DataError, match="is damaged"):
            load_artifact(tmp_path)
    (tmp_path / ARRAYS).write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(DataError, match="is damaged"):
        load_artifact(tmp_path)
    save_file(arrays, tmp_path / ARRAYS)
    (tmp_path / VALUES).write_text(values[: len(values) // 2])
    with pytest.raises(DataError, match="is damaged"):
        load_artifact(tmp_path)


def test_a_flipped_bit_of_a_weight_or_a_figure_is_found(fitted, tmp_path):
    save_artifact(tmp_path, Artifact("language_table", TEACHERS, fitted("language_table")[0], {"num_prompts": 480}))
    arrays, values = (tmp_path / ARRAYS).read_bytes(), (tmp_path / VALUES).read_bytes()
    flipped = bytearray(arrays)
    flipped[-3] ^= 4  # in the last weight, which stays a finite number
    (tmp_path / ARRAYS).write_bytes(flipped)
    with pytest.raises(DataError, match="is damaged: its content does not fit its checksum; train it again"):
        load_artifact(tmp_path)
    (tmp_path / ARRAYS).write_bytes(arrays)
    (tmp_path / VALUES).write_bytes(values.replace(b'"num_prompts": 480', b'"num_prompts": 481'))
    with pytest.raises(DataError, match="does not fit its checksum"):
        load_artifact(tmp_path)


@pytest.mark.parametrize("kind", each(set(KINDS) - {"best_single"}))
@pytest.mark.parametrize("with_gaps", [False, True])
def test_where_language_decides_it_beats_the_best_single_teacher(kind, with_gaps, learner, fitted):
    if with_gaps:
        predictor, test = fitted(kind)
        train = split(toy_outcomes(with_gaps=True))[0]
    else:
        train, test = split(toy_outcomes(topic_gain=0.0, seed=1))
        predictor = learner(kind).fit(train)
    single = regret(test, SingleLearner().fit(train).predict(test.queries))
    assert regret(test, predictor.predict(test.queries)) < 0.6 * single


# --- learners of texts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "clusters",
        "descriptor",
        ENCODER,
        "error_vectors",
        "factorisation",
        "knn",
        "learned",
        "mlp",
        "ridge",
        "soft_label",
    ],
)
def test_where_the_topic_decides_it_beats_the_best_single_teacher(kind, learner):
    train, test = split(toy_outcomes(language_gain=0.0, topic_gain=0.3, seed=2))
    single = regret(test, SingleLearner().fit(train).predict(test.queries))
    options = {"k": 10} if kind == "knn" else {}  # a language has 84 prompts, a topic in a language 28
    assert regret(test, learner(kind, **options).fit(train).predict(test.queries)) < 0.6 * single


@pytest.mark.parametrize("cls", BLIND)
def test_without_tags_the_language_is_not_seen(cls):
    train, test = split(toy_outcomes(topic_gain=0.0, seed=1))
    seeing, blind = (cls(with_tags=with_tags) for with_tags in (True, False))
    assert (seeing.label, blind.label) == (seeing.kind, f"{seeing.kind}_blind")
    expected_PT = blind.fit(train).predict(test.queries)
    first = {text: row for row, text in reversed(list(enumerate(test.queries.text_P)))}
    assert np.array_equal(expected_PT, expected_PT[[first[text] for text in test.queries.text_P]])
    assert regret(test, seeing.fit(train).predict(test.queries)) < 0.5 * regret(test, expected_PT)


@pytest.mark.parametrize("cls", BLIND)
def test_predictions_are_on_the_scale_of_rewards(cls):
    """Ten times the rewards give ten times the differences, and the same choices."""
    train, test = split(toy_outcomes())
    small = cls().fit(train).predict(test.queries)
    large = cls().fit(train.rewarded_by(10.0 * train.rewards_PT)).predict(test.queries)
    differences = [found - found.mean(axis=1, keepdims=True) for found in (small, large)]
    assert np.allclose(10.0 * differences[0], differences[1], atol=0.05 * differences[1].std())


# --- soft labels -------------------------------------------------------------------------------------------


def test_labels_are_shares_of_those_admitted():
    matrix = toy_outcomes(with_gaps=True)
    labels = smooth_labels(matrix, 0.1, 0.3, 20.0, "language_task")
    assert np.allclose(labels.sum(axis=1), 1.0)
    assert ((labels > 0) == matrix.admitted_PT).all()


def test_unsmoothed_labels_are_the_softmax_and_fully_smoothed_ones_are_equal_within_a_group():
    matrix = toy_outcomes()
    own = np.exp(matrix.rewards_PT / 0.1)
    assert np.allclose(smooth_labels(matrix, 0.1, 1.0, 20.0, "language"), own / own.sum(axis=1, keepdims=True))
    labels = smooth_labels(matrix, 0.1, 0.0, 0.0, "language")
    for language in LANGUAGES:
        rows = matrix.queries.languages == language
        assert np.allclose(labels[rows], (own / own.sum(axis=1, keepdims=True))[rows].mean(axis=0))


def test_small_groups_lean_on_all_prompts():
    matrix = toy_outcomes()
    rows = np.concatenate([np.flatnonzero(matrix.queries.languages == "de"), [1]])
    few = matrix.take(rows)
    labels = [smooth_labels(few, 0.1, 0.0, shrinkage, "language")[-1] for shrinkage in (0.0, 5.0, 1e9)]
    overall = smooth_labels(few, 0.1, 0.0, 0.0, None)[0]
    distances = [float(np.abs(label - overall).sum()) for label in labels]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] == pytest.approx(0.0, abs=1e-6)


def test_smoothing_helps_where_rewards_are_noise_around_the_language():
    """METHODS §3: in the source's ablation, labels of groups beat labels of samples."""
    regrets = {0.3: 0.0, 1.0: 0.0}
    for seed in range(4):
        matrix = toy_outcomes(60, topic_gain=0.0, language_gain=0.1, noise=0.3, seed=seed)
        train = split(matrix)[0]
        truth = toy_outcomes(60, topic_gain=0.0, language_gain=0.1, noise=0.0, seed=seed)
        for share in regrets:
            learner = SoftLabelLearner(own_share=share, penalty=0.1)
            regrets[share] += regret(truth, learner.fit(train).predict(truth.queries))
    assert regrets[0.3] < regrets[1.0]


def test_the_gradient_leads_to_the_labels():
    """With one group and no text that matters, the fitted shares are the mean labels."""
    matrix = toy_outcomes(60)
    same = RewardMatrix(
        matrix.prompt_ids,
        Queries(["same"] * len(matrix), ["de"] * len(matrix)),
        matrix.cluster_P,
        TEACHERS,
        matrix.rewards_PT,
    )
    predictor = SoftLabelLearner().fit(same)
    tau = 2.0 * reward_scale(same.rewards_PT)
    shares = np.exp(predictor.predict(same.queries)[0] / tau)
    assert predictor.tau == pytest.approx(tau)
    assert np.allclose(shares, smooth_labels(same, tau, 0.3, 20.0, None).mean(axis=0), atol=1e-3)


def test_warm_labels_order_teachers_by_mean_reward_and_cold_ones_by_lone_wins():
    # two are right in 3 of 5 prompts, always together; the first in the other 2, alone
    rewards_PT = np.array([[0.0, 1.0, 1.0]] * 3 + [[1.0, 0.0, 0.0]] * 2)
    queries = Queries(["same"] * 5, ["de"] * 5)
    matrix = RewardMatrix(tuple("abcde"), queries, np.arange(5), ("lone", "steady", "twin"), rewards_PT)
    warm, cold = (smooth_labels(matrix, tau, 1.0, 0.0, None).mean(axis=0) for tau in (1.0, 0.05))
    assert warm.argmax() == 1
    assert cold.argmax() == 0


# --- descriptor --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("with_gaps", [False, True])
def test_a_new_teacher_joins_from_a_probe(name, with_gaps):
    """From 100 prompts it recovers most of what retraining on all of them gains over going without it."""
    train, test = split(toy_outcomes(240, with_gaps=with_gaps), 0.6)
    others = [teacher for teacher in TEACHERS if teacher != name]
    before = DescriptorLearner().fit(train.among(others))
    joined = fit_model_descriptors(before, train.take(np.arange(100)), name)
    full = DescriptorLearner().fit(train).predict(test.queries)
    place = TEACHERS.index(name)
    without = np.insert(before.predict(test.queries), place, -np.inf, axis=1)
    lost, kept, ideal = (regret(test, found) for found in (without, joined.predict(test.queries), full))
    assert kept <= ideal + 0.35 * max(lost - ideal, 0.0) + 0.01


def test_existing_models_are_read_as_before():
    train, test = split(toy_outcomes())
    before = DescriptorLearner().fit(train.among(TEACHERS[1:]))
    joined = fit_model_descriptors(before, train.take(np.arange(60)), "anna")
    assert np.allclose(joined.predict(test.queries)[:, 1:], before.predict(test.queries))


@pytest.mark.parametrize("k", [3, 40, 200])
def test_neighbours_are_those_of_a_search_through_the_whole_memory(k):
    """84 prompts a language: 3 are all found in their own, of 40 some are elsewhere, 200 do not fit."""
    train, test = split(toy_outcomes())
    knn = KnnLearner(k=k).fit(train)
    near_PM = knn.space.read(test.queries).astype(np.float32) @ knn.memory_MK.T
    expected_PT = knn.predict(test.queries)
    for row, near_M in enumerate(near_PM):
        order = np.argsort(-near_M, kind="stable")
        if near_M[order[k - 1]] - near_M[order[k]] > 1e-5:  # no tie for the last place
            assert np.allclose(expected_PT[row], knn.outcomes_MT[order[:k]].mean(axis=0), atol=1e-5)


def test_a_probe_must_hold_the_existing_models_and_the_new_model():
    train = split(toy_outcomes())[0]
    before = DescriptorLearner().fit(train.among(TEACHERS[1:]))
    with pytest.raises(UserError, match="wanted those of the router's 3 teachers, and of 'anna'"):
        fit_model_descriptors(before, train.among(TEACHERS[1:]), "anna")
    silent = train.rewarded_by(np.where(np.arange(4) == 0, np.nan, train.rewards_PT))
    with pytest.raises(UserError, match="holds no prompt with rewards of both 'anna' and another teacher"):
        fit_model_descriptors(before, silent, "anna")


def test_bilinear_ridge_solves_its_normal_equations():
    random = np.random.default_rng(0)
    x, e, r = random.normal(size=(40, 5)), random.normal(size=(7, 3)), random.normal(size=(40, 7))
    w = fit_bilinear(x, e, r, 2.0)
    assert np.allclose(x.T @ (r - x @ w @ e.T) @ e, 2.0 * w)
    low = fit_bilinear(x, e, r, 2.0, rank=1)
    assert np.linalg.matrix_rank(low, tol=1e-6) == 1


# --- encoder -----------------------------------------------------------------------------------------------


@pytest.mark.model
def test_training_an_encoder_leaves_the_random_stream_alone(learner):
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    learner("encoder", num_epochs=1).fit(split(toy_outcomes(20))[0])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", ["bert", "mt5"])
@pytest.mark.model
def test_an_artifact_of_an_encoder_needs_no_model_beside_it(kind, tmp_path):
    import shutil

    path = save_encoder(tmp_path / "model", kind=kind)
    train, test = split(toy_outcomes(20))
    predictor = EncoderLearner(model=str(path), num_epochs=1, device="cpu").fit(train)
    save_artifact(tmp_path / "router", Artifact("encoder", TEACHERS, predictor, {}))
    expected = predictor.predict(test.queries)
    shutil.rmtree(path)
    assert np.array_equal(load_artifact(tmp_path / "router").predictor.predict(test.queries), expected)
    assert str(tmp_path) not in (tmp_path / "router" / VALUES).read_text()
    assert not [name for name in predictor.state().arrays if "decoder" in name]


@pytest.mark.model
def test_an_encoder_is_named_by_its_weights(tmp_path):
    paths = [save_encoder(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    identities = [EncoderLearner(model=str(path)).identity() for path in paths]
    assert identities[0] == identities[1] != identities[2]


def test_a_missing_encoder_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"router.model: '.*nowhere' cannot be read"):
        EncoderLearner(model=str(tmp_path / "nowhere")).fit(toy_outcomes(20))
