"""Best-of selection: what is kept, what is said of the rest, and that nothing depends on the order of rows."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.errors import DataError
from arbitrage.records import Candidate, Prompt, Reject, Score, SftExample
from arbitrage.selection.sft import SftSelection, select_sft
from arbitrage.tables import from_table
from tests.support.contest_rows import Rows, a_candidate, a_prompt, a_score, many_rows, one_prompt, select, source


def test_best_keeps_the_highest_score() -> None:
    rows = one_prompt(("bad", -1.0), ("good", 2.0), ("fair", 0.5))
    [example] = from_table(select(SftSelection(), rows).table, SftExample)
    assert (example.candidate_id, example.teacher, example.score) == ("c1", "t1", 2.0)
    assert [(m.role, m.content) for m in example.messages] == [("user", "Moja na moja?"), ("assistant", "good")]


def test_equal_scores_go_to_the_lower_candidate_id() -> None:
    rows = Rows(
        [a_prompt()],
        [a_candidate("c9", "a"), a_candidate("c1", "b"), a_candidate("c5", "c")],
        [a_score(c, 1.0) for c in ("c9", "c5", "c1")],
    )
    [example] = from_table(select(SftSelection(), rows).table, SftExample)
    assert example.candidate_id == "c1"


def test_all_keeps_every_usable_answer_and_its_label() -> None:
    rows = one_prompt(("good", 2.0), ("filtered", None), (" ", 3.0), ("fair", 0.5))
    examples = from_table(select(SftSelection(mode="all", strategy="mix_all"), rows).table, SftExample)
    assert [(e.candidate_id, e.strategy) for e in examples] == [("c0", "mix_all"), ("c3", "mix_all")]


def test_min_score_is_inclusive() -> None:
    rows = one_prompt(("good", 2.0), ("fair", 0.5), ("bad", 0.49))
    examples = from_table(select(SftSelection(mode="all", min_score=0.5), rows).table, SftExample)
    assert [e.candidate_id for e in examples] == ["c0", "c1"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (one_prompt(), "no_candidate"),
        (one_prompt(("a", None), ("b", None)), "all_filtered"),
        (Rows([a_prompt()], [a_candidate("c", "a")], []), "all_unscored"),
        (Rows([a_prompt()], [a_candidate("c", "a")], [a_score("c", None, error="timeout")]), "all_unscored"),
        (one_prompt(("\n\t", 1.0)), "all_empty"),
        (one_prompt(("a", 0.9), ("b", None)), "below_min_score"),
    ],
)
def test_reject_reasons(rows: Rows, reason: str) -> None:
    output = select(SftSelection(min_score=1.0), rows)
    [reject] = from_table(output.rejects, Reject)
    assert (reject.item_id, reject.reason) == ("p", reason)
    assert output.table.num_rows == 0


def test_a_failed_candidate_is_never_imitated() -> None:
    failed = a_candidate("c", "half an ans").model_copy(update={"error": "timeout"})
    output = select(SftSelection(), Rows([a_prompt()], [failed], [a_score("c", 5.0)]))
    assert [r.reason for r in from_table(output.rejects, Reject)] == ["all_unscored"]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([a_score("c", 1.0), a_score("c", 2.0)], "is scored by"),
        ([a_score("c", 1.0, prompt_id="q")], "names prompt q"),
    ],
)
def test_scores_that_contradict_the_candidates_stop_the_step(scores: list[Score], message: str) -> None:
    with pytest.raises(DataError, match=message):
        select(SftSelection(), Rows([a_prompt()], [a_candidate("c", "a")], scores))


@settings(max_examples=40, deadline=None)
@given(many_rows(), st.sampled_from(["best", "all"]), st.none() | st.floats(-5, 5))
def test_every_prompt_comes_out_once_with_its_own_best_answer(rows: Rows, mode: str, floor: float | None) -> None:
    config = SftSelection(mode=mode, min_score=floor)
    output = select(config, rows)
    examples, rejects = from_table(output.table, SftExample), from_table(output.rejects, Reject)
    item_ids = {item.item_id for item in config.build().items(rows.inputs())}
    done, lost = {e.prompt_id for e in examples}, [r.item_id for r in rejects]
    assert item_ids == {p.prompt_id for p in rows.prompts} == done | set(lost)
    assert not done & set(lost)
    assert len(set(lost)) == len(lost)
    answers = {c.candidate_id: c for c in rows.candidates}
    values = {s.candidate_id: s.value for s in rows.scores}
    for example in examples:
        answer = answers[example.candidate_id]
        assert (example.prompt_id, example.teacher) == (answer.prompt_id, answer.teacher)
        assert example.messages[-1].content == answer.text
        assert answer.text.strip()
        rivals = [
            values.get(c.candidate_id) for c in rows.candidates if c.prompt_id == example.prompt_id and c.text.strip()
        ]
        assert mode == "all" or example.score == max(v for v in rivals if v is not None)


@settings(max_examples=40, deadline=None)
@given(many_rows(), st.randoms(use_true_random=False))
def test_row_order_does_not_matter(rows: Rows, random: Random) -> None:
    def shuffled(items: list) -> list:
        return random.sample(items, len(items))

    other = Rows(shuffled(list(rows.prompts)), shuffled(list(rows.candidates)), shuffled(list(rows.scores)))
    for mode in ("best", "all"):
        one, two = select(SftSelection(mode=mode), rows), select(SftSelection(mode=mode), other)
        assert one.table.equals(two.table)
        assert one.rejects.equals(two.rejects)


def test_step_reads_the_three_roles() -> None:
    prompts, scores = source("prompts", Prompt), source("ensemble", Score)
    candidates = [source("generate-a", Candidate), source("generate-b", Candidate)]
    step = select_sft(SftSelection(), prompts, candidates, scores)
    assert (step.name, step.produces) == ("select-sft", SftExample)
    assert [s.name for s in step.inputs["candidates"]] == ["generate-a", "generate-b"]
