"""Alarms about reviewers and adjudicators, and whole runs in which one of them cannot be read."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from arbitrage.judging.review import Review
from arbitrage.records import Candidate, Score, SftExample
from arbitrage.report.page import build_report
from arbitrage.report.reply_alarms import committee_alarms, rank_correlation
from arbitrage.report.reviews import CommitteeReviews, reviews_of
from arbitrage.report.run_alarms import _without_template, run_alarms
from arbitrage.runs.run import Run, open_run
from arbitrage.tables import from_table
from tests.support.committee import ANSWER, by_length, pipeline_with_two_words
from tests.support.judging import marked
from tests.support.mock_endpoint import answer, serve_beside
from tests.support.pipelines import run_file


def test_rank_correlation_is_that_of_scipy() -> None:
    random = np.random.default_rng(2)
    one = random.integers(1, 11, 200).astype(float)
    other = np.clip(one + random.integers(-3, 4, 200), 1, 10).astype(float)
    together = Counter(zip(one.tolist(), other.tolist(), strict=True))
    assert rank_correlation(together) == pytest.approx(spearmanr(one, other).statistic)
    assert rank_correlation(Counter({(7.0, float(n)): 2 for n in range(5)})) is None
    assert rank_correlation(Counter({(7.0, 7.0): 1})) is None


def committee_of(scores: dict[str, list[float | None]], language: str = "en") -> CommitteeReviews:
    """Return reviews of the same answers by several reviewers; None stands for an echo."""
    found = CommitteeReviews()
    for name, given in scores.items():
        for score in given:
            error = "echoed_instruction" if score is None else None
            found.by_reviewer[name].add(language, Review(name, score, error, ""))
    names = sorted(scores)
    if len(names) == 2:
        pairs = zip(*(scores[name] for name in names), strict=True)
        found.together[names[0], names[1]].update((x, y) for x, y in pairs if x is not None and y is not None)
    return found


def kinds(found: CommitteeReviews) -> list[str]:
    return [alarm.kind for alarm in committee_alarms(found)]


def test_scores_that_never_vary_raise_an_alarm() -> None:
    found = committee_of({"r": [7.0] * 24 + [8.0]})
    [alarm] = committee_alarms(found)
    assert alarm.sentence == "reviewer r: 24 of 25 scores are 7; they do not distinguish candidates"
    assert kinds(committee_of({"r": [7.0] * 15 + [8.0] * 10})) == []
    assert kinds(committee_of({"r": [7.0] * 9})) == []  # too few to tell


def test_replies_without_a_score_raise_an_alarm() -> None:
    [alarm] = committee_alarms(committee_of({"r": [None] * 14 + [float(n % 9 + 1) for n in range(36)]}))
    assert alarm.sentence.startswith("reviewer r: 14 of 50 replies hold no verdict (echoed_instruction 14); ")
    assert kinds(committee_of({"r": [None] * 5 + [float(n % 9 + 1) for n in range(45)]})) == []


def test_reviewers_that_agree_by_chance_raise_an_alarm() -> None:
    random = np.random.default_rng(5)
    one, other = (random.integers(1, 11, 300).astype(float).tolist() for _ in range(2))
    assert kinds(committee_of({"r": one, "s": other})) == ["no_agreement"]
    assert kinds(committee_of({"r": one, "s": one})) == []
    assert kinds(committee_of({"r": one, "s": [11 - score for score in one]})) == ["no_agreement"]


async def one_unreadable(body: dict[str, Any], _: int) -> Any:
    """r2 repeats its instruction about ant's answers, which have two words; r1 is right."""
    text = body["messages"][-1]["content"]
    [(_, reviewed)] = ANSWER.findall(text)
    if body["model"] == "r2" and len(reviewed.split()) == 2:
        return answer(text.rpartition("\n\n")[2])
    return answer(marked(f"Hm. [[{by_length(reviewed)}]]", text))


def rows_of(found: Run, step: str, record: Any) -> list[Any]:
    return [row for table in found.tables(step) for row in from_table(table, record)]


def test_an_unreadable_reviewer_is_said_and_no_answer_of_its_teacher_vanishes(tmp_path: Path) -> None:
    with serve_beside(one_unreadable) as endpoint:
        run_file(pipeline_with_two_words(tmp_path, endpoint.base_url, max_spread=None), tmp_path / "run")
    found = open_run(tmp_path / "run")
    ants = {c.candidate_id for c in rows_of(found, "generate-ant", Candidate)}
    scores = {s.candidate_id: s for s in rows_of(found, "score-committee-ant", Score)}
    assert scores.keys() == ants
    assert all(score.value is not None for score in scores.values())
    assert {row.teacher for row in rows_of(found, "select-sft", SftExample)} >= {"ant"}
    assert set(reviews_of(found).num_readable["ant"]) == {1}
    alarms = {alarm.kind: alarm.sentence for alarm in run_alarms(found)}
    assert alarms["unreadable"].startswith("reviewer r2: ")
    assert f"of {len(ants)} candidates {len(ants)} have one readable review" in alarms["few_reviews"]
    assert alarms["few_reviews"].startswith("ant: ")


def test_reviews_that_are_gone_are_said_and_end_nothing(tmp_path: Path) -> None:
    with serve_beside(one_unreadable) as endpoint:
        run_file(pipeline_with_two_words(tmp_path, endpoint.base_url, max_spread=None), tmp_path / "run")
    found = open_run(tmp_path / "run")
    num_shards = len(found.shards("review-r2-ant"))
    for path in found.directory("review-r2-ant").glob("shard-*.parquet"):
        path.unlink()
    alarms = {alarm.kind: alarm.sentence for alarm in run_alarms(found)}
    assert alarms["unread_reviews"].startswith(f"committee: {num_shards} shards of reviews are missing")
    assert "few_reviews" not in alarms
    build_report(tmp_path / "run")


def test_an_adjudicator_reads_what_one_reviewer_left_open(tmp_path: Path) -> None:
    with serve_beside(one_unreadable) as endpoint:
        run_file(pipeline_with_two_words(tmp_path, endpoint.base_url, adjudicators=["judge"]), tmp_path / "run")
        settled = [body for body in endpoint.bodies if body["model"] == "judge"]
    found = open_run(tmp_path / "run")
    ants = rows_of(found, "generate-ant", Candidate)
    assert len(settled) == len(ants)
    assert set(reviews_of(found).num_readable["ant"]) == {2}
    assert not {alarm.kind for alarm in run_alarms(found)} & {"few_reviews", "unsettled"}


def test_a_model_without_a_template_raises_an_alarm_unless_the_pool_gives_one(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    base = {"name": "base", "model": str(tmp_path), "engine": {"kind": "vllm"}}
    for more, count in (
        ({}, 1),
        ({"chat_template": "{{ messages }}"}, 0),
        ({"template_options": {"chat_template": "x"}}, 0),
    ):
        step = SimpleNamespace(config={"teacher": base | more})
        run: Any = SimpleNamespace(plan=SimpleNamespace(steps=(step, step)))
        assert len(list(_without_template(run))) == count
