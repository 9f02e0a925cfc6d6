"""Levels of reviewers: which of a candidate's reviews could be read moves its score neither up nor down."""

import asyncio
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.workers import Inputs
from arbitrage.judging.committee import CommitteeConfig, CommitteeStep
from arbitrage.judging.levels import SHRINKAGE, LevelsStep, LevelTable
from arbitrage.judging.review import review_id
from arbitrage.judging.reviewed import reviewed, settled_id
from arbitrage.records import Candidate, ReviewerLevel, Score
from arbitrage.report.reviews import reviews_of
from arbitrage.runs.run import open_run
from arbitrage.tables import from_table, to_table
from tests.support.committee import ANSWER, a_committee, a_reply, pipeline_with_two_words, question
from tests.support.judging import marked
from tests.support.mock_endpoint import answer, serve_beside
from tests.support.pipelines import run_file
from tests.support.scoring import a_pair, a_shard

Said = dict[str, float | None]
"""Reviewer → its score; None for a reply that holds none."""


def shard_of(
    said: list[Said], language: str = "en", settled: dict[int, float] | None = None, base: str = ""
) -> Inputs:
    """Return candidates with their reviews, and what the adjudicator says of some of them."""
    items = [a_pair(f"{base} answer {i}", language) for i in range(len(said))]
    replies = [reply for item, given in zip(items, said, strict=True) for reply in _reviews(item, given)]
    shard = a_shard([items[0].prompt], [item.candidate for item in items])
    inputs = Inputs(shard.tables | {"reviews": (to_table(replies, Candidate),)})
    joined = reviewed(inputs)
    finals = [
        a_reply(
            settled_id(joined[i].item.candidate),
            "judge",
            marked(f"[[{score:g}]]", question(joined[i].item, *joined[i].readable)),
        )
        for i, score in (settled or {}).items()
    ]
    return Inputs(inputs.tables | {"settled": (to_table(finals, Candidate),)})


def _reviews(item: Scorable, given: Said) -> list[Candidate]:
    texts = {name: "garbage" if score is None else f"[[{score:g}]]" for name, score in given.items()}
    return [a_reply(review_id(item.candidate), name, marked(text, question(item))) for name, text in texts.items()]


def levels_in(*shards: Inputs, max_spread: float | None = None) -> list[ReviewerLevel]:
    return from_table(LevelsStep(max_spread=max_spread).build().run(shards).table, ReviewerLevel)


def scores_in(shard: Inputs, *others: Inputs, config: CommitteeConfig | None = None) -> list[float]:
    """Return the committee's scores of a shard's candidates, levels being those of all shards."""
    config = config or a_committee(max_spread=None)
    levels = to_table(levels_in(shard, *others, max_spread=config.max_spread), ReviewerLevel)
    inputs = Inputs(shard.tables | {"levels": (levels,)})
    output = asyncio.run(CommitteeStep(reward=config).build().run(inputs))
    return [score.value for score in from_table(output.table, Score) if score.value is not None]


def test_a_mild_reviewer_alone_makes_no_candidate_better() -> None:
    """Reviewer r1 gives 3 points more than r2, which garbles every fourth reply: those candidates gained 1.5."""
    rng = random.Random(4)
    quality = [rng.choice((2.0, 3.0, 4.0, 5.0, 6.0)) for _ in range(240)]
    said: list[Said] = [{"r1": q + 3, "r2": None if i % 4 == 0 else q} for i, q in enumerate(quality)]
    shard = shard_of(said)
    truth = [q + 1.5 for q in quality]
    errors = [found - true for found, true in zip(scores_in(shard), truth, strict=True)]
    alone, both = errors[::4], [e for i, e in enumerate(errors) if i % 4]
    assert max(map(abs, both)) < 1e-9
    assert max(map(abs, alone)) < 0.2
    plain = [fmean(s for s in given.values() if s is not None) for given in said]
    assert fmean(p - t for p, t in zip(plain[::4], truth[::4], strict=True)) == 1.5  # what was left before


def test_who_reviews_the_better_candidates_is_not_taken_for_mild() -> None:
    """As where families are left out: r1 and r2 read the good teacher, r2 and r3 the bad one, all of one level."""
    good = [{"r1": 9.0, "r2": 9.0} for _ in range(100)]
    bad = [{"r2": 3.0, "r3": 3.0} for _ in range(100)]
    assert {row.level for row in levels_in(shard_of([*good, *bad]))} == {0.0}
    assert scores_in(shard_of([*good, *bad])) == [9.0] * 100 + [3.0] * 100


def test_teachers_reviewed_by_different_reviewers_are_compared_on_one_level() -> None:
    """Both teachers' candidates are worth 5 by r2; r1 is mild and may not review its own family's teacher."""
    ours = [{"r2": 5.0, "r3": 5.0} for _ in range(300)]
    theirs = [{"r1": 9.0, "r2": 5.0} for _ in range(300)]
    found = scores_in(shard_of([*ours, *theirs]))
    assert abs(found[0] - found[-1]) < 0.4
    assert fmean([9.0, 5.0]) - fmean([5.0, 5.0]) == 2.0  # of plain means


def test_a_reviewer_that_is_mild_in_one_language_is_so_there_alone() -> None:
    german = shard_of([{"r1": 8.0, "r2": 4.0}] * 200, "de")
    english = shard_of([{"r1": 5.0, "r2": 5.0}] * 200)
    french = shard_of([{"r1": 6.0, "r2": 6.0}], "fr")
    found = {(row.reviewer, row.language): row.level for row in levels_in(german, english, french)}
    assert found["r1", "de"] == pytest.approx(2.0, abs=0.2)
    assert found["r1", "en"] == pytest.approx(0.0, abs=0.2)
    assert found["r1", "und"] == pytest.approx(1.0, abs=0.1)
    assert found["r1", "fr"] == pytest.approx(found["r1", "und"], abs=0.1)  # one candidate says little
    table = LevelTable(levels_in(german, english))
    assert table.mean([("reviewer", "r1")], "sw") == pytest.approx(1.0, abs=0.1)
    assert table.mean([("reviewer", "stranger")], "en") == 0.0


def test_few_scores_beside_another_reviewers_move_little() -> None:
    [one, _] = [row for row in levels_in(shard_of([{"r1": 9.0, "r2": 5.0}])) if row.language == "und"]
    assert one.level == pytest.approx(2.0 / (1 + SHRINKAGE), abs=1e-4)
    assert one.num_scores == 1
    assert levels_in(shard_of([{"r1": 9.0, "r2": None}])) == []


given_scores = st.dictionaries(
    st.sampled_from(["r1", "r2", "r3"]), st.integers(1, 10).map(float) | st.none(), min_size=3, max_size=3
)


@settings(max_examples=25, deadline=None)
@given(st.lists(given_scores, min_size=1, max_size=12))
def test_a_candidate_with_all_reviews_keeps_their_mean_and_none_leaves_the_scale(said: list[Said]) -> None:
    said = [*said, {"r1": 9.0, "r2": 5.0, "r3": 1.0}]
    found = iter(scores_in(shard_of(said)))
    for given_ in said:
        scores = [score for _, score in sorted(given_.items()) if score is not None]
        value = next(found) if scores else None
        assert value is None or 1.0 <= value <= 10.0
        if len(scores) == 3:
            assert value == fmean(scores)


def test_an_adjudicator_called_for_want_of_reviews_is_put_on_the_committees_level() -> None:
    """It gives 4 points more than the reviewers; of contested candidates its word counts as it is."""
    said: list[Said] = [{"r1": 4.0, "r2": None}] * 300 + [{"r1": 9.0, "r2": 1.0}] + [{"r1": 4.0, "r2": 4.0}] * 10
    settled = dict.fromkeys(range(300), 8.0) | {300: 10.0}
    shard = shard_of(said, settled=settled)
    found = scores_in(shard, config=a_committee(reviewers=["r1", "r2"]))
    assert found[0] == pytest.approx(4.0, abs=0.4)
    assert found[300] == 10.0
    assert found[-1] == 4.0


def of_two_levels(body: dict[str, Any]) -> str:
    """Score a response by its length: r1 three points above r2, which garbles what the teacher ant writes."""
    text = body["messages"][-1]["content"]
    [(_, response)] = ANSWER.findall(text)
    if body["model"] == "r2" and len(response.split()) == 2:
        return "garbage"
    score = 2 + len(response) % 5 + 3 * (body["model"] == "r1")
    return marked(f"[[{score}]]", text)


def test_a_whole_run_takes_levels_from_all_shards(tmp_path: Path) -> None:
    async def reply(body: dict[str, Any], _: int) -> Any:
        return answer(of_two_levels(body))

    with serve_beside(reply) as endpoint:
        run_file(pipeline_with_two_words(tmp_path, endpoint.base_url, max_spread=None), tmp_path / "run")
    found = open_run(tmp_path / "run")
    levels = [row for t in found.tables("calibrate-committee") for row in from_table(t, ReviewerLevel)]
    [mild] = [row for row in levels if (row.reviewer, row.language) == ("r1", "und")]
    assert mild.level == pytest.approx(1.5 * mild.num_scores / (mild.num_scores + SHRINKAGE), abs=1e-3)
    texts = {c.candidate_id: c.text for t in found.tables("generate-ant") for c in from_table(t, Candidate)}
    scores = [s for t in found.tables("score-committee-ant") for s in from_table(t, Score)]
    assert scores
    table = LevelTable(levels)
    languages = {p["prompt_id"]: p["language"] for t in found.tables("prompts") for p in t.to_pylist()}
    for score in scores:
        own = 5 + len(texts[score.candidate_id]) % 5
        level = table.mean([("reviewer", "r1")], languages[score.prompt_id])
        assert score.value == pytest.approx(own - level)
        assert level > 0.5
    assert reviews_of(found).num_gone == 0
