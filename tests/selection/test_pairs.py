"""Preference pairs: direction, guards, policies, and that an id only ever joins to its own prompt."""

import unicodedata
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.config import parse
from arbitrage.errors import ConfigError
from arbitrage.records import PreferencePair, Reject
from arbitrage.selection.pairs import PairSelection
from arbitrage.selection.policies import BestVsRandom, BestVsWorst, MaxGap, NativeVsTranslated, OnPolicy, StrongVsWeak
from arbitrage.tables import from_table
from tests.support.contest_rows import Rows, a_candidate, a_prompt, a_score, many_rows, one_prompt, select

POLICIES = [
    BestVsWorst(),
    BestVsRandom(),
    MaxGap(),
    StrongVsWeak(teachers=("t2", "t0", "t1")),
    NativeVsTranslated(translated=("t1",)),
    OnPolicy(student="t1"),
]
policies = pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.kind)


def pairs_of(config: PairSelection, rows: Rows) -> list[PreferencePair]:
    return from_table(select(config, rows).table, PreferencePair)


def reasons_of(config: PairSelection, rows: Rows) -> list[str]:
    return [r.reason for r in from_table(select(config, rows).rejects, Reject)]


@policies
@pytest.mark.parametrize("better_first", [True, False])
def test_the_known_better_answer_is_chosen(policy: BestVsWorst, better_first: bool) -> None:
    right, wrong = ("moja na moja ni mbili", 1.5), ("I don't speak Swahili.", -1.5)
    rows = one_prompt(*([right, wrong] if better_first else [wrong, right]))
    if policy.kind == "strong_vs_weak":
        policy = StrongVsWeak(teachers=("t0", "t1") if better_first else ("t1", "t0"))
    if policy.kind == "native_vs_translated":
        policy = NativeVsTranslated(translated=("t1",) if better_first else ("t0",))
    [pair] = pairs_of(PairSelection(policy=policy), rows)
    assert pair.chosen[0].content == right[0]
    assert pair.rejected[0].content == wrong[0]
    assert (pair.chosen_score, pair.rejected_score, pair.score_gap) == (1.5, -1.5, 3.0)
    assert (pair.policy, pair.reward, pair.language) == (policy.kind, "ensemble@1", "sw")
    assert [m.role for m in (*pair.prompt, *pair.chosen, *pair.rejected)] == ["user", "assistant", "assistant"]


def test_strong_vs_weak_never_overrules_the_score() -> None:
    rows = one_prompt(("good", 2.0), ("bad", 0.0))
    policy = StrongVsWeak(teachers=("t1", "t0"))
    assert reasons_of(PairSelection(policy=policy, min_gap=0.0), rows) == ["below_gap"]


def test_strong_vs_weak_prefers_teachers_far_apart_and_their_best_answers() -> None:
    values = {"big1": 2.0, "big2": 3.0, "mid1": -4.0, "wee1": 0.0, "wee2": 1.0}
    candidates = [a_candidate(name, f"by {name}", teacher=name[:3]) for name in values]
    rows = Rows([a_prompt()], candidates, [a_score(name, value) for name, value in values.items()])
    [pair] = pairs_of(PairSelection(policy=StrongVsWeak(teachers=("big", "mid", "wee"))), rows)
    assert (pair.chosen_id, pair.rejected_id) == ("big2", "wee2")


def test_on_policy_pairs_always_show_the_student_once() -> None:
    rows = one_prompt(("a", 3.0), ("student", 1.0), ("c", -3.0))
    pairs = pairs_of(PairSelection(policy=OnPolicy(student="t1"), max_pairs=9), rows)
    assert [(p.chosen_id, p.rejected_id) for p in pairs] == [("c1", "c2"), ("c0", "c1")]
    assert reasons_of(PairSelection(policy=OnPolicy(student="nobody")), rows) == ["no_opponent"]


def test_a_translation_is_never_chosen_and_never_meets_another() -> None:
    rows = one_prompt(("translated well", 5.0), ("native", 3.0), ("native too", 2.0), ("translated badly", 0.0))
    policy = NativeVsTranslated(translated=("t0", "t3"))
    pairs = pairs_of(PairSelection(policy=policy, max_pairs=9), rows)
    assert [(p.chosen_id, p.rejected_id) for p in pairs] == [("c1", "c3")]  # the score overrules the other
    alone = NativeVsTranslated(translated=("t0", "t1", "t2", "t3"))
    assert reasons_of(PairSelection(policy=alone), rows) == ["no_opponent"]


def test_the_hardest_translation_goes_first() -> None:
    rows = one_prompt(("native", 4.0), ("translated", 1.0), ("translated too", 2.0))
    pairs = pairs_of(PairSelection(policy=NativeVsTranslated(translated=("t1", "t2"))), rows)
    assert [(p.chosen_id, p.rejected_id) for p in pairs] == [("c0", "c2")]


def test_best_vs_worst_works_inwards_and_max_gap_reuses() -> None:
    rows = one_prompt(("a", 4.0), ("b", 3.0), ("c", 1.0), ("d", 0.0))
    inwards = pairs_of(PairSelection(max_pairs=3), rows)
    assert [(p.chosen_id, p.rejected_id) for p in inwards] == [("c0", "c3"), ("c1", "c2")]
    widest = pairs_of(PairSelection(policy=MaxGap(), max_pairs=3), rows)
    assert [(p.chosen_id, p.rejected_id) for p in widest] == [("c0", "c3"), ("c0", "c2"), ("c1", "c3")]


def test_max_gap_falls_back_to_the_widest_pair_that_passes() -> None:
    rows = one_prompt(("abcd", 4.0), ("abce", 3.0), ("x" * 99, 0.0))
    [pair] = pairs_of(PairSelection(policy=MaxGap(), max_length_ratio=2.0), rows)
    assert (pair.chosen_id, pair.rejected_id) == ("c0", "c1")


def test_best_vs_random_spreads_over_the_others() -> None:
    candidates, scores, prompts = [], [], []
    for p in range(60):
        prompts.append(a_prompt(f"p{p}"))
        for c, value in enumerate((9.0, 3.0, 2.0, 1.0)):
            candidates.append(a_candidate(f"p{p}c{c}", f"text {c}", f"p{p}"))
            scores.append(a_score(f"p{p}c{c}", value, f"p{p}"))
    rows = Rows(prompts, candidates, scores)
    drawn = [p.rejected_score for p in pairs_of(PairSelection(policy=BestVsRandom()), rows)]
    assert {p.chosen_score for p in pairs_of(PairSelection(policy=BestVsRandom()), rows)} == {9.0}
    assert all(8 <= drawn.count(v) <= 35 for v in (3.0, 2.0, 1.0))
    assert drawn != [p.rejected_score for p in pairs_of(PairSelection(policy=BestVsRandom(seed=1)), rows)]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (one_prompt(), "no_candidate"),
        (one_prompt(("a", None), ("b", None)), "all_filtered"),
        (Rows([a_prompt()], [a_candidate("c", "a"), a_candidate("d", "b")], []), "all_unscored"),
        (one_prompt(("", 1.0), ("\n", 0.0)), "all_empty"),
        (one_prompt(("a", 1.0)), "one_candidate"),
        (one_prompt(("a", 1.0), ("b", None)), "one_candidate"),
        (one_prompt(("a", 1.0), ("  ", -9.0)), "one_candidate"),
        (one_prompt(("a", 1.0), ("b", 1.0)), "tie"),
        (one_prompt(("a", 1.0), ("b", 0.51)), "below_gap"),
        (one_prompt(("\u00e9", 1.0), (" e\u0301\n", 0.0)), "identical_text"),
        (one_prompt(("abc", 1.0), ("abcdefg", 0.0)), "length_mismatch"),
    ],
)
def test_reject_reasons(rows: Rows, reason: str) -> None:
    config = PairSelection(max_length_ratio=2.0)
    assert reasons_of(config, rows) == [reason]
    assert pairs_of(config, rows) == []


def test_guards_are_inclusive_at_their_bounds() -> None:
    rows = one_prompt(("abc", 1.0), ("abcdef", 0.5))
    assert len(pairs_of(PairSelection(max_length_ratio=2.0, min_gap=0.5), rows)) == 1


def test_repeated_samples_do_not_repeat_a_pair() -> None:
    rows = one_prompt(("good", 2.0), ("bad", 0.0), ("bad", 0.0))
    assert len(pairs_of(PairSelection(policy=MaxGap(), max_pairs=5), rows)) == 1


@policies
@settings(max_examples=40, deadline=None)
@given(rows=many_rows(), min_gap=st.sampled_from([0.0, 0.5, 2.0]), max_pairs=st.integers(1, 4))
def test_pair_laws(policy: BestVsWorst, rows: Rows, min_gap: float, max_pairs: int) -> None:
    config = PairSelection(policy=policy, min_gap=min_gap, max_pairs=max_pairs)
    output = select(config, rows)
    pairs, rejects = from_table(output.table, PreferencePair), from_table(output.rejects, Reject)
    answers = {c.candidate_id: c for c in rows.candidates}
    values = {s.candidate_id: s.value for s in rows.scores}
    prompts = {p.prompt_id: p for p in rows.prompts}
    for pair in pairs:
        chosen, rejected = answers[pair.chosen_id], answers[pair.rejected_id]
        assert pair.score_gap > 0
        assert pair.score_gap >= min_gap
        assert pair.score_gap == values[pair.chosen_id] - values[pair.rejected_id]
        assert chosen.prompt_id == rejected.prompt_id == pair.prompt_id
        assert (pair.prompt, pair.language) == (prompts[pair.prompt_id].messages, prompts[pair.prompt_id].language)
        assert (pair.chosen[0].content, pair.rejected[0].content) == (chosen.text, rejected.text)
        assert (pair.chosen_teacher, pair.rejected_teacher) == (chosen.teacher, rejected.teacher)
        one, two = (unicodedata.normalize("NFC", a.text).strip() for a in (chosen, rejected))
        assert one
        assert two
        assert one != two
    done, lost = [p.prompt_id for p in pairs], [r.item_id for r in rejects]
    assert {*done, *lost} == prompts.keys()
    assert not set(done) & set(lost)
    assert len(lost) == len(set(lost))
    assert all(done.count(p) <= max_pairs for p in done)


@policies
@settings(max_examples=40, deadline=None)
@given(rows=many_rows(), random=st.randoms(use_true_random=False))
def test_row_order_does_not_matter(policy: BestVsWorst, rows: Rows, random: Random) -> None:
    def shuffled(items: list) -> list:
        return random.sample(items, len(items))

    other = Rows(shuffled(list(rows.prompts)), shuffled(list(rows.candidates)), shuffled(list(rows.scores)))
    config = PairSelection(policy=policy, max_pairs=3)
    one, two = select(config, rows), select(config, other)
    assert one.table.equals(two.table)
    assert one.rejects.equals(two.rejects)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"policy": {"kind": "worst"}}, "'worst' is not one of best_vs_worst"),
        ({"min_gap": -1.0}, "min_gap"),
        ({"max_length_ratio": 0.5}, "max_length_ratio"),
        ({"max_pairs": 0}, "max_pairs"),
        ({"policy": {"kind": "strong_vs_weak", "teachers": ["a", "a"]}}, "listed twice"),
    ],
)
def test_config_mistakes_are_sentences(raw: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(raw, PairSelection, "pipeline.yaml")
