"""The candidate table: a step's inputs and a run's files give the same joined rows; what does not fit is named."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from arbitrage.candidates.ranked import rank_candidates
from arbitrage.candidates.table import CandidateShard, CandidateTable, StoredTables, value_by
from arbitrage.contracts.workers import Inputs
from arbitrage.errors import ConservationError, DataError
from arbitrage.records import Candidate, Prompt, Route, Score
from arbitrage.rewards.combine import EnsembleStep
from arbitrage.runs.run import Run
from arbitrage.tables import from_table, to_table
from tests.support.report_runs import ReportCase, TeacherCase, make_run
from tests.support.scoring import a_candidate, a_prompt, a_score

ONE, TWO = a_prompt("one", "sw"), a_prompt("two", "th")
FIRST, SECOND = a_candidate(TWO, "b", teacher="bee"), a_candidate(ONE, "a", teacher="ant")


def a_shard(**rows: list) -> Inputs:
    records = {"prompts": Prompt, "candidates": Candidate, "routes": Route}
    return Inputs({role: (to_table(given, records.get(role, Score)),) for role, given in rows.items()})


SHARD = CandidateShard(
    a_shard(
        prompts=[ONE, TWO],
        candidates=[FIRST, SECOND],
        scores=[a_score(SECOND, "rm@1-ab", 2.0), a_score(FIRST, "rm@1-ab", 1.0), a_score(FIRST, "exact@1", 0.0)],
        final=[a_score(FIRST, "ensemble@1", 0.5)],
    )
)


def test_candidates_are_joined_in_their_own_order() -> None:
    first, second = SHARD.joined()
    assert (first.candidate, first.prompt, first.final and first.final.value) == (FIRST, TWO, 0.5)
    assert [(score.reward, score.value) for score in first.scores] == [("rm@1-ab", 1.0), ("exact@1", 0.0)]
    assert (second.candidate, second.prompt, second.final) == (SECOND, ONE, None)
    assert SHARD.by_id[SECOND.candidate_id] == second
    assert {prompt.prompt_id: [row.candidate for row in rows] for prompt, rows in SHARD.by_prompt()} == {
        ONE.prompt_id: [SECOND],
        TWO.prompt_id: [FIRST],
    }


def test_scores_are_found_by_plain_name_whatever_the_version() -> None:
    assert SHARD.scores("rm")["value"].to_pylist() == [2.0, 1.0]
    assert SHARD.scores("r").num_rows == 0
    assert SHARD.scores().num_rows == 3
    assert (value_by("rm", SHARD.joined()[0].scores), value_by("judge", SHARD.joined()[0].scores)) == (1.0, None)


def test_columns_are_joined_as_rows_are() -> None:
    assert SHARD.candidate_rows(SHARD.scores("rm")).tolist() == [1, 0]
    assert SHARD.prompt_rows(SHARD.candidates).tolist() == [1, 0]
    assert SHARD.languages_of(SHARD.scores()).to_pylist() == ["sw", "th", "th"]
    np.testing.assert_array_equal(SHARD.values_of(SHARD.scores("exact")), [0.0, np.nan])
    assert SHARD.has_final_value(SHARD.scores()).to_pylist() == [False, True, True]


def test_the_rows_of_some_prompts_are_a_shard_too() -> None:
    part = SHARD.of_prompts([ONE.prompt_id])
    assert [row.candidate for row in part.joined()] == [SECOND]
    assert part.scores()["value"].to_pylist() == [2.0]
    assert SHARD.of_prompts([]).by_prompt() == []


def test_a_shard_without_the_other_roles_is_joined() -> None:
    shard = CandidateShard(a_shard(prompts=[ONE], candidates=[SECOND]))
    assert [(row.scores, row.final) for row in shard.joined()] == [((), None)]
    assert [ranked.why_nothing() for ranked in rank_candidates(shard)] == ["all_unscored"]
    assert CandidateShard(Inputs({})).joined() == []


def test_two_groups_of_candidates_are_read_apart() -> None:
    inputs = a_shard(prompts=[ONE, TWO], candidates=[FIRST])
    inputs = Inputs({**inputs.tables, "fused": a_shard(candidates=[SECOND]).tables["candidates"]})
    assert [row.candidate for row in CandidateShard(inputs, candidates_role="fused").joined()] == [SECOND]


STRANGER = a_score(a_candidate(ONE, "of nobody here"), "rm@1", 1.0)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ({"prompts": []}, ConservationError, f"candidate {FIRST.candidate_id} of bee .* not among the 0 prompts"),
        ({"scores": [STRANGER]}, ConservationError, f"rm@1 scored candidate {STRANGER.candidate_id}, which is not"),
        ({"final": [STRANGER]}, ConservationError, STRANGER.candidate_id),
        (
            {"final": [a_score(FIRST, "ensemble@1", 1.0), a_score(FIRST, "other@1", 1.0)]},
            DataError,
            "is scored by ensemble@1 and other@1",
        ),
        (
            {"scores": [a_score(FIRST, "rm@1", 1.0).model_copy(update={"prompt_id": ONE.prompt_id})]},
            DataError,
            f"its score by rm@1 names prompt {ONE.prompt_id}",
        ),
    ],
)
def test_rows_that_do_not_fit_are_named(rows: dict, error: type[Exception], message: str) -> None:
    shard = CandidateShard(a_shard(**({"prompts": [ONE, TWO], "candidates": [FIRST]} | rows)))
    with pytest.raises(error, match=message):
        shard.joined()


def test_a_column_without_its_row_is_named() -> None:
    shard = CandidateShard(a_shard(prompts=[ONE], candidates=[FIRST], scores=[STRANGER]))
    with pytest.raises(ConservationError, match=f"names candidate {STRANGER.candidate_id}, which is not among the 1"):
        shard.values_of(shard.scores())
    with pytest.raises(ConservationError, match=f"names prompt {TWO.prompt_id}"):
        shard.prompt_rows(shard.candidates)


def test_prompts_sent_by_two_routers_go_to_the_teachers_of_both() -> None:
    routes = [
        Route(prompt_id=ONE.prompt_id, router=name, teachers=teachers)
        for name, teachers in (("a", ("ant", "bee")), ("b", ("cow",)))
    ]
    shard = CandidateShard(a_shard(prompts=[ONE, TWO], routes=routes))
    assert shard.teachers_by_prompt == {ONE.prompt_id: ("ant", "bee", "cow")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    teachers = {"ant": TeacherCase(skill=0.9), "bee": TeacherCase(skill=0.2)}
    case = ReportCase(teachers=teachers, per_language=6, language_route={"en": "ant", "ar": "bee"})
    return make_run(tmp_path_factory.mktemp("runs") / "table", case)


def test_a_finished_run_is_joined_like_the_inputs_of_its_steps(run: Run) -> None:
    """What the step `ensemble` was given, read again as a shard of the table, makes the scores that it wrote."""
    config = EnsembleStep.model_validate(run.step("ensemble").config, strict=False)
    for number, shard in zip(run.plan.shards, CandidateTable.of(run).shards(), strict=True):
        inputs = Inputs(StoredTables(run, run.step("ensemble").inputs, number))
        step = [(row.prompt, row.candidate, row.scores) for row in CandidateShard(inputs).joined()]
        assert step == [(row.prompt, row.candidate, row.scores) for row in shard.joined()]
        again = asyncio.run(config.run(inputs)).table  # type: ignore[attr-defined]
        assert from_table(again, Score) == [row.final for row in shard.joined()]


def test_a_table_knows_what_its_steps_are(run: Run) -> None:
    table = CandidateTable.of(run)
    assert table.rewards == ("rm",)
    assert list(table.checks) == ["emptiness", "exact", "truncation"]
    assert (table.exact, table.main_route, table.teachers) == (("exact",), "route-all", ("ant", "bee"))
    assert table.selecting >= {"rm", "exact"}
    assert dict(table.routers) == {"route-all": "all", "route-language": "language"}
    assert table.steps["final"] == ("ensemble",)


def test_files_are_read_when_they_are_used(run: Run, tmp_path: Path) -> None:
    """A reader of prompts and candidates does not miss a shard of scores; a report asks for all before it begins."""
    table = CandidateTable.of(run)
    path = next(run.directory("score-rm-ant").glob("shard-00000.parquet"))
    path.rename(tmp_path / path.name)
    try:
        assert sum(shard.candidates.num_rows for shard in table.shards()) > 0
        with pytest.raises(DataError, match="shard 0 is gone"):
            table.require_complete()
        with pytest.raises(DataError, match="is missing"):
            next(table.shards()).scores()
    finally:
        (tmp_path / path.name).rename(path)


def test_a_part_of_a_table_has_no_final_scores_of_others(run: Run) -> None:
    table = CandidateTable.of(run)
    assert table.sampling_routes == ("route-all",)
    whole = [row for shard in table.routed_by(["route-all"]).shards() for row in shard.joined()]
    assert whole == [row for shard in table.shards() for row in shard.joined()]
    for shard in table.routed_by(["route-language"]).shards():  # it was only compared: no candidate is of its making
        assert (shard.candidates.num_rows, shard.scores().num_rows, shard.final.num_rows) == (0, 0, 0)
