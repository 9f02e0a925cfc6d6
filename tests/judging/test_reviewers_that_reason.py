"""Reviewers that reason: their score stands in the response; one that never answers is counted, with the reason."""

from pathlib import Path

from arbitrage.judging.review import read_review, score_code
from arbitrage.records import Candidate, Reject, Score
from arbitrage.report.reviews import reviews_of
from arbitrage.report.summary import summarise
from arbitrage.runs.run import open_run
from arbitrage.tables import from_table
from tests.support.pipelines import QUESTIONS, run_file, write_pipeline, write_pool
from tests.support.scoring import a_candidate, a_pair


def test_the_score_is_read_from_the_response_alone() -> None:
    item = a_pair("The capital of France is Paris.")
    code = score_code(item)
    reply = a_candidate(item.prompt, f"Reason: It is right.\nScore {code}: 9", teacher="r")
    thought = f"Perhaps it deserves\nScore {code}: 2"
    assert read_review(reply.model_copy(update={"reasoning": thought}), item).score == 9.0
    unsplit = reply.model_copy(update={"text": f"<think>{thought}</think>\n{reply.text}"})
    assert read_review(unsplit, item).score == 9.0
    open_ended = reply.model_copy(update={"text": f"<think>{thought}"})
    assert read_review(open_ended, item).error == "truncated_review"


def test_a_reviewer_that_only_reasons_is_counted_with_the_reason(tmp_path: Path) -> None:
    committee = {"reviewers": ["lost", "muddled"], "max_spread": None, "min_reviews": 1}
    path = write_pipeline(tmp_path, pool=["ant"], committee=committee, sampling={"n": 1}, max_rejected=1.0)
    write_pool(
        tmp_path / "teachers.yaml",
        ant={},
        lost={"failures": {"reasoning_unfinished": 1.0}},
        muddled={"failures": {"reasoning_unfinished": 0.5}, "reasoning": "en"},
    )
    manifest = run_file(path, tmp_path / "run")
    run = open_run(tmp_path / "run")
    num_answers = 8 * len(QUESTIONS)
    reports = {report.name: report for report in manifest.steps}
    for name in ("lost", "muddled"):
        report = reports[f"review-{name}-ant"]
        assert (report.num_in, report.num_rows + report.num_rejected) == (num_answers, num_answers)
        rejects = [r for t in run.rejects(report.name) for r in from_table(t, Reject)]
        assert len(rejects) == report.rejected["reasoning_unfinished"]
    replies = [r for t in run.tables("review-muddled-ant") for r in from_table(t, Candidate)]
    assert 0 < len(replies) < num_answers
    scores = [s for t in run.tables("score-committee-ant") for s in from_table(t, Score)]
    assert [s.error for s in scores] == ["too_few_reviews"] * num_answers

    found = reviews_of(run)
    lost, muddled = (
        sum((found.by_reviewer[name].errors[tag] for tag in QUESTIONS), start=type(found.num_unsettled)())
        for name in ("lost", "muddled")
    )
    assert lost == {"reasoning_unfinished": num_answers}
    assert muddled.total() == num_answers
    assert muddled["reasoning_unfinished"] == num_answers - len(replies)
    assert "no_reply" not in muddled
    alarms = {alarm.what: alarm.detail for alarm in summarise(run).alarms if alarm.kind == "unreadable"}
    assert f"{num_answers} of {num_answers} replies hold no verdict (reasoning_unfinished" in alarms["reviewer lost"]
    assert "raise its max_tokens, or set sampling.reasoning_budget" in alarms["reviewer lost"]
