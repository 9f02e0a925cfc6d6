"""Reward matrices: what is read, what is dropped and said so, and what bad files are told."""

import numpy as np
import pandas as pd
import pytest

from arbitrage.candidates.matrix import centred, teacher_means
from arbitrage.candidates.matrix_file import MatrixColumns, blend_rewards, read_matrix, read_rewards
from arbitrage.errors import DataError, UserError

ROWS = [
    {"prompt_id": p, "prompt": f"text {p}", "language": lang, "model": m, "reward": r}
    for p, lang, rewards in [("p1", "de", (1.0, 0.0)), ("p2", "sw", (0.2, 0.4)), ("p3", "sw", (0.0, 1.0))]
    for m, r in zip(("a", "b"), rewards, strict=True)
]


def write(tmp_path, rows, name="m.parquet"):
    path = tmp_path / name
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_rewards_are_in_the_cells_of_prompt_and_model(tmp_path):
    matrix = read_matrix([write(tmp_path, ROWS)]).matrix
    assert matrix.teachers == ("a", "b")
    assert matrix.prompt_ids == ("p1", "p2", "p3")
    np.testing.assert_allclose(matrix.rewards_PT, [[1.0, 0.0], [0.2, 0.4], [0.0, 1.0]])
    assert matrix.queries.languages.tolist() == ["de", "sw", "sw"]
    assert len(set(matrix.cluster_P.tolist())) == 3


def test_several_answers_of_a_model_are_averaged(tmp_path):
    matrix = read_matrix([write(tmp_path, [*ROWS, {**ROWS[0], "reward": 0.0}])]).matrix
    assert matrix.rewards_PT[0, 0] == 0.5


def test_prompts_that_a_chosen_model_did_not_answer_are_dropped_and_counted(tmp_path):
    rows = [*ROWS[:3], {**ROWS[3], "reward": None}, *ROWS[4:]]
    reading = read_matrix([write(tmp_path, rows)])
    assert reading.matrix.prompt_ids == ("p1", "p3")
    assert sum(reading.dropped.values()) == 1
    assert reading.missing == {"b": 1}


def test_files_add_up_and_only_the_chosen_models_count(tmp_path):
    paths = [write(tmp_path, ROWS), write(tmp_path, [{**row, "model": "c"} for row in ROWS[::2]], "c.parquet")]
    assert read_matrix(paths).matrix.teachers == ("a", "b", "c")
    assert read_matrix(paths, models=["c", "a"]).matrix.teachers == ("a", "c")
    assert read_rewards(paths, MatrixColumns(), "c") == {"p1": 1.0, "p2": 0.2, "p3": 0.0}


def test_groups_are_found_under_their_usual_names(tmp_path):
    rows = [{**row, "doc_group": "d" if row["prompt_id"] != "p1" else None} for row in ROWS]
    cluster_P = read_matrix([write(tmp_path, rows)]).matrix.cluster_P
    assert cluster_P[1] == cluster_P[2] != cluster_P[0]


def test_several_rewards_weigh_the_same_whatever_their_scale(tmp_path):
    rows = [{**row, "other": -1000.0 * row["reward"]} for row in ROWS]
    matrix = read_matrix([write(tmp_path, rows)], MatrixColumns(rewards=("reward", "other"))).matrix
    np.testing.assert_allclose(matrix.rewards_PT, 0.0, atol=1e-12)
    assert set(matrix.rewards_by_name) == {"reward", "other"}


@pytest.mark.parametrize(
    ("columns", "models", "told"),
    [
        (MatrixColumns(rewards=("rewrd",)), None, "no column 'rewrd' (columns present: "),
        (MatrixColumns(), ["a", "bb"], "'bb' is not in the matrix (did you mean 'b'?)"),
        (MatrixColumns(), ["a"], "at least two models"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, columns, models, told):
    with pytest.raises(UserError, match=told.replace("(", r"\(").replace(")", r"\)").replace("?", r"\?")):
        read_matrix([write(tmp_path, ROWS)], columns, models)


def test_garbage_is_refused(tmp_path):
    (tmp_path / "bad.parquet").write_text("nothing of the kind")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_matrix([tmp_path / "bad.parquet"])
    with pytest.raises(UserError, match="is not there"):
        read_matrix([tmp_path / "none.parquet"])
    with pytest.raises(DataError, match="expected numbers"):
        read_matrix([write(tmp_path, [{**row, "reward": "good"} for row in ROWS])])
    with pytest.raises(DataError, match="no prompt was answered by all"):
        read_matrix([write(tmp_path, [ROWS[0], ROWS[3]])])


def test_easy_prompts_do_not_pass_for_good_teachers():
    rewards_PT = np.array([[1.0, np.nan], [1.0, np.nan], [0.1, 0.3], [0.0, 0.2]])
    means_T = teacher_means(rewards_PT)
    assert means_T[1] - means_T[0] == pytest.approx(0.2, abs=0.01)
    residual_PT, _ = centred(rewards_PT)
    assert np.isfinite(residual_PT).all()


def test_means_are_those_of_least_squares_however_thin_the_links():
    """Eight teachers of whom each prompt asks two neighbours: difficulty, not merit, differs between them."""
    truth_T = np.linspace(-0.5, 0.5, 8)
    rewards_PT = np.full((700, 8), np.nan)
    for first in range(7):
        rows = slice(100 * first, 100 * (first + 1))
        rewards_PT[rows, first : first + 2] = truth_T[first : first + 2] + np.linspace(0, first, 100)[:, None]
    residual_PT, means_T = centred(rewards_PT)
    np.testing.assert_allclose(means_T, truth_T, atol=1e-9)
    np.testing.assert_allclose(residual_PT, 0.0, atol=1e-9)


def test_an_id_that_one_model_has_in_several_languages_is_a_prompt_in_each(tmp_path):
    rows = [{**row, "prompt_id": "1", "language": language} for row in ROWS[:2] for language in ("de", "fra")]
    matrix = read_matrix([write(tmp_path, rows)]).matrix
    assert matrix.prompt_ids == ("1/de", "1/fr")
    assert matrix.queries.languages.tolist() == ["de", "fr"]
    assert matrix.cluster_P[0] == matrix.cluster_P[1]


@pytest.mark.parametrize("tag", ["deu", "DE", None, "German"])
def test_a_language_that_only_another_model_writes_otherwise_parts_nothing(tmp_path, tag):
    matrix = read_matrix([write(tmp_path, [ROWS[0], {**ROWS[1], "language": tag}])]).matrix
    assert matrix.prompt_ids == ("p1",)
    assert matrix.queries.languages.tolist() == ["de"]


def test_an_id_of_different_prompts_is_refused(tmp_path):
    with pytest.raises(DataError, match="prompt_id 'p1' stands for 2 different texts that 'a' answered"):
        read_matrix([write(tmp_path, [*ROWS, {**ROWS[0], "prompt": "another"}])])


def test_each_file_may_call_its_groups_otherwise_and_the_order_of_files_changes_nothing(tmp_path):
    paths = [
        write(tmp_path, [{**row, "doc_group": "d"} for row in ROWS[:4]], "named.parquet"),
        write(tmp_path, [{**row, "group": "d"} for row in ROWS[4:]], "named_otherwise.parquet"),
        write(tmp_path, ROWS[:2], "none.parquet"),
    ]
    for order in (paths, paths[::-1]):
        assert len(set(read_matrix(order).matrix.cluster_P.tolist())) == 1


def test_what_is_incomplete_is_said(tmp_path):
    rows = [{**row, "judge": 1.0, "cost": 1.0} for row in ROWS]
    rows[0] |= {"judge": None, "cost": None}
    rows[2] |= {"language": "Klingonish-zz9"}
    rows[3] |= {"language": "Klingonish-zz9"}
    rows += [{**rows[4], "model": None}, rows[5], {**rows[1], "reward": float("inf")}]
    reading = read_matrix([write(tmp_path, rows)], MatrixColumns(judge="judge", cost="cost"))
    assert reading.matrix.cost_PT is None
    assert np.isnan(reading.matrix.judge_PT).sum() == 1
    said = "; ".join(reading.notes)
    for part in (
        "1 rows name no model",
        "1 rewards are infinite",
        "2 rows repeat a prompt and model",
        "'judge' lacks a score for 1 prompts",
        "the cost of 1 answers is missing",
        "'Klingonish-zz9' (1 prompts",
    ):
        assert part in said


def test_numbers_too_large_to_compute_with_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"'reward' holds 1e\+300: too large"):
        read_matrix([write(tmp_path, [{**row, "reward": 1e300} for row in ROWS])])


def test_a_teacher_that_was_not_sampled_does_not_remove_the_others_rewards():
    rewards_PT = np.array([[1.0, 0.0, np.nan], [0.5, 0.0, np.nan], [0.0, 1.0, 0.5]])
    languages = ["ja", "ja", "de"]
    blended_PT = blend_rewards({"a": rewards_PT, "b": 10 * rewards_PT}, languages)
    assert (np.isfinite(blended_PT) == np.isfinite(rewards_PT)).all()
    np.testing.assert_allclose(
        blended_PT[:2, :2], blend_rewards({"a": rewards_PT, "b": rewards_PT}, languages)[:2, :2]
    )
