"""A committee as a reward: what reviewers see, how they come to one score, who may judge whom, and whole runs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbitrage.config import parse
from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.workers import Inputs
from arbitrage.errors import ConfigError
from arbitrage.judging.committee import CommitteeConfig, CommitteeStep, committee
from arbitrage.judging.review import Review, read_review, review_id
from arbitrage.judging.reviewed import reviewed, settled_id
from arbitrage.records import Candidate, Prompt, Score, SftExample
from arbitrage.report.page import build_report
from arbitrage.runs.run import open_run
from arbitrage.tables import from_table, to_table
from arbitrage.teachers.pool import TeacherPool
from pipelines.loading import load_pipeline
from pipelines.routing.outcomes import reading_of_run
from tests.support.committee import ANSWER, a_committee, a_reply, by_length, committee_pipeline, question
from tests.support.judging import CODE, marked
from tests.support.mock_endpoint import answer, serve_beside
from tests.support.pipelines import run_file
from tests.support.scoring import a_pair, a_shard, a_step


def a_pool(**families: str) -> TeacherPool:
    engine = {"kind": "fake"}
    teachers = [{"name": n, "family": f, "engine": engine, "languages": ["en"]} for n, f in families.items()]
    return parse({"teachers": teachers}, TeacherPool, "test")


def shard_of(item: Scorable, said: dict[str, str], settled: str | None = None) -> Inputs:
    """Return an answer with its reviews, and what the adjudicator says; `[[8]]` stands for the line of a score."""
    replies = [a_reply(review_id(item.candidate), name, marked(text, question(item))) for name, text in said.items()]
    shard = a_shard([item.prompt], [item.candidate])
    tables = {"reviews": (to_table(replies, Candidate),), "settled": (to_table([], Candidate),)}
    if settled is not None:
        [each] = reviewed(Inputs(shard.tables | tables))
        final = a_reply(settled_id(item.candidate), "judge", marked(settled, question(item, *each.readable)))
        tables["settled"] = (to_table([final], Candidate),)
    return Inputs(shard.tables | tables)


def judged(config: CommitteeConfig, item: Scorable, said: dict[str, str], settled: str | None = None) -> Score:
    """Return the committee's score of one answer, given what each reviewer says of it."""
    output = asyncio.run(CommitteeStep(reward=config).build().run(shard_of(item, said, settled)))
    [score] = from_table(output.table, Score)
    return score


def read(text: str, cut: bool = False) -> Review:
    item = a_pair("An answer.")
    return read_review(a_reply("q", "r", marked(text, question(item)), cut), item)


@pytest.mark.parametrize(
    ("text", "score"),
    [("Fine. [[8]]", 8.0), ("[[7.5]]", 7.5), ("[[9/10]]", 9.0), ("[[10]]", 10.0), ("[[**7,5**]]", 7.5),
     ("[[ 6 out of 10 ]]", 6.0), ("[[１０]]", 10.0), ("[[٧]]", 7.0), ("[[८]]", 8.0), ("[[七]]", 7.0),
     ("[[8分]]", 8.0), ("[[七分。]]", 7.0), ("[[8 баллов]]", 8.0), ("[[٧٫٥]]", 7.5), ("[[8 von 10 Punkten]]", 8.0),
     ("[[7,25 Punkte]]", 7.25), ("[[\n9]]", 9.0)],
)  # fmt: skip
def test_scores_are_read_from_the_end_in_all_digits(text: str, score: float) -> None:
    assert (read(text).score, read(text).error) == (score, None)


@pytest.mark.parametrize(
    ("text", "cut", "why"),
    [("[[11]]", False, "out_of_range"), ("[[0]]", False, "out_of_range"), ("8", False, "no_score"),
     ("[[-7]]", False, "no_score"), ("[[7-8]]", False, "no_score"), ("[[3/7]]", False, "no_score"),
     ("[[80%]]", False, "no_score"), ("[[1,000]]", False, "no_score"), ("[[8 or 9]]", False, "no_score"), ("[[...]]", False, "no_score"),
     ("", False, "empty_review"), ("The", True, "truncated_review"), ("[[1]]", True, "truncated_review")],
)  # fmt: skip
def test_what_holds_no_score_says_why(text: str, cut: bool, why: str) -> None:
    assert (read(text, cut).score, read(text, cut).error) == (None, why)


def test_agreeing_reviewers_give_their_mean_without_adjudication() -> None:
    said = {"r1": "[[8]]", "r2": "[[9]]", "r3": "[[7]]"}
    assert judged(a_committee(), a_pair("fine"), said, settled="[[1]]").value == 8.0


def test_a_high_spread_is_settled_by_the_adjudicator_alone() -> None:
    said = {"r1": "[[10]]", "r2": "[[9]]", "r3": "[[1]]"}
    item = a_pair("contested")
    assert judged(a_committee(), item, said, settled="I looked it up. [[2]]").value == 2.0
    assert judged(a_committee(max_spread=None), item, said).value == pytest.approx(20 / 3)


@pytest.mark.parametrize("settled", [None, "who knows"])
def test_an_adjudicator_without_a_score_leaves_the_mean_of_the_reviews(settled: str | None) -> None:
    said = {"r1": "[[10]]", "r2": "[[9]]", "r3": "[[1]]"}
    assert judged(a_committee(), a_pair("contested"), said, settled=settled).value == pytest.approx(20 / 3)


def test_an_answer_with_one_readable_review_goes_to_the_adjudicator_and_never_vanishes() -> None:
    said = {"r1": "[[9]]", "r2": "garbage", "r3": ""}
    assert judged(a_committee(), a_pair("x"), said, settled="[[4]]").value == 4.0
    assert judged(a_committee(), a_pair("x"), said).value == 9.0
    assert judged(a_committee(max_spread=None), a_pair("x"), said).value == 9.0
    assert judged(a_committee(min_reviews=2), a_pair("x"), said).error == "too_few_reviews"
    assert judged(a_committee(min_reviews=2), a_pair("x"), said, settled="[[4]]").value == 4.0
    assert judged(a_committee(), a_pair("x"), {"r1": "?", "r2": "garbage"}).error == "too_few_reviews"
    assert judged(a_committee(), a_pair("x"), {"r1": "[[9]]", "r2": "garbage", "r3": "[[8]]"}).value == 8.5


def test_the_adjudicator_reads_reviews_without_their_codes_and_none_that_is_garbled() -> None:
    item = a_pair("contested")
    said = {"r1": "It is right. [[10]]", "r2": "<think>Hm, [[3]] perhaps</think>Wrong. [[1]]", "r3": "garbage"}
    [each] = reviewed(shard_of(item, said))
    asked = question(item, *each.readable)
    assert "It is right.\n\nScore: 10\n[end of review 1 " in asked
    assert "]\nWrong.\n\nScore: 1\n[end of review 2 " in asked
    assert not {"garbage", "perhaps"} & set(asked.split())
    [(_, code)] = CODE.findall(question(item))
    assert code not in asked


def test_no_member_reviews_its_own_family() -> None:
    pool = a_pool(writer="f", r1="f", r2="g", r3="h", judge="f", other="i")
    [writer] = pool.select(["writer"])
    steps = [(writer, a_step("generate-writer", Candidate))], a_step("prompts", Prompt)
    config = a_committee(adjudicators=["judge", "other"])
    [step] = committee(config, pool, *steps).scores
    assert [s.name for s in step.inputs["reviews"]] == ["review-r2-writer", "review-r3-writer"]
    assert step.inputs["settled"][0].config.teacher.name == "other"
    with pytest.raises(ConfigError, match="all are of writer's own family 'f'"):
        committee(a_committee(), pool, *steps)
    lonely = a_committee(reviewers=["r1", "r2"], adjudicators=["other"])
    with pytest.raises(ConfigError, match="2 reviewers of other families are needed, found r2"):
        committee(lonely, pool, *steps)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reviewers": ["r1"]}, "reviewers"),
        ({"reviewers": ["r1", "r1"]}, "listed twice"),
        ({"adjudicators": []}, "contested candidates need an adjudicator"),
        ({"min_reviews": 4}, "min_reviews is 4, and there are 3 reviewers"),
        ({"accept": 0.0}, "accept"),
    ],
)
def test_mistakes_are_sentences(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        a_committee(**values)


async def reviewers(body: dict[str, Any], _: int) -> Any:
    """Three reviewers of one mind but for one, who errs on answers of even length; the adjudicator is right."""
    text = body["messages"][-1]["content"]
    [(_, reviewed)] = ANSWER.findall(text)
    score = by_length(reviewed)
    errs = body["model"] == "r3" and len(reviewed) % 2 == 0
    return answer(marked(f"Hm. [[{11 - score if errs else score}]]", text))


def test_a_run_with_a_committee_selects_accepted_candidates_and_repeats_no_call(tmp_path: Path) -> None:
    with serve_beside(reviewers) as endpoint:
        path = committee_pipeline(tmp_path, endpoint.base_url)
        manifest = run_file(path, tmp_path / "run")
        num_asked = len(endpoint.bodies)
        settled = [b for b in endpoint.bodies if b["model"] == "judge"]
        assert settled
        assert all("[review 3 " in b["messages"][-1]["content"] for b in settled)
        run_file(path, tmp_path / "run")
        assert len(endpoint.bodies) == num_asked
    found = open_run(tmp_path / "run")
    scores = {s.candidate_id: s for step in found.plan.table["scores"] if step.startswith("score-")
              for table in found.tables(step) for s in from_table(table, Score)}  # fmt: skip
    texts = {c.candidate_id: c.text for step in found.plan.table["candidates"]
             for table in found.tables(step) for c in from_table(table, Candidate)}  # fmt: skip
    contested = {key for key, text in texts.items() if len(text) % 2 == 0}
    assert all(scores[key].value == by_length(texts[key]) for key in contested)  # the adjudicator's word
    rows = [r for table in found.tables("select-sft") for r in from_table(table, SftExample)]
    assert rows
    assert all(by_length(row.messages[-1].content) == 9 for row in rows)
    ensemble = {s.candidate_id: s for table in found.tables("ensemble") for s in from_table(table, Score)}
    rejected = [key for key in texts if scores[key].value == 2.0 and ensemble[key].error == "filter:committee"]
    assert rejected
    build_report(tmp_path / "run")
    assert reading_of_run(tmp_path / "run").matrix.rewards_PT.shape[1] == 3
    reports = {step.name: step for step in manifest.steps}
    assert reports["adjudicate-ant"].num_rows == sum(
        len(t) % 2 == 0 for k, t in texts.items() if is_by(found, k, "ant")
    )


def is_by(found: Any, candidate_id: str, teacher: str) -> bool:
    return any(candidate_id in table["candidate_id"].to_pylist() for table in found.tables(f"generate-{teacher}"))


def test_a_committee_works_beside_a_reward_and_while_exploring(tmp_path: Path) -> None:
    with serve_beside(reviewers) as endpoint:
        changes = {"kind": "explore_commit", "explore": 1, "rewards": [{"kind": "fake", "name": "taste"}]}
        path = committee_pipeline(tmp_path, endpoint.base_url, **changes)
        config = yaml.safe_load(path.read_text())
        for key in ("pairs", "compare"):
            config.pop(key, None)
        path.write_text(yaml.safe_dump(config, allow_unicode=True))
        run_file(path, tmp_path / "run")
    names = [step.name for step in open_run(tmp_path / "run").plan.steps]
    assert {"review-r1-ant", "review-r1-ant-commit", "score-committee-ant-commit"} <= set(names)
    committed = open_run(tmp_path / "run").step("score-committee-ant-commit")
    assert committed.inputs["levels"] == ("calibrate-committee",)  # of the explored part: nothing waits for the rest


def test_a_committee_needs_its_own_name(tmp_path: Path) -> None:
    path = committee_pipeline(tmp_path, "http://127.0.0.1:9/v1", rewards=[{"kind": "fake", "name": "committee"}])
    with pytest.raises(ConfigError, match="given to a reward and to the committee"):
        load_pipeline(path)
