"""The border of a step: whatever an engine says, its answer becomes a row, or a reject with a reason; never a wedge."""

from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any

import pytest

from arbitrage.contracts.steps import Resources, StepConfig
from arbitrage.contracts.workers import Inputs, Item, Load
from arbitrage.execution.counters import LiveCounters
from arbitrage.execution.item_task import UNWRITABLE, writable
from arbitrage.execution.plan import Job
from arbitrage.execution.shard_task import Attempt, do_shard
from arbitrage.records import Candidate, Record, Reject, Score
from arbitrage.runs.verified import read_rejects, read_shard
from tests.support.journals import a_candidate


class Rude:
    """Gives the answers it was made with."""

    def __init__(self, answers: list[Record]) -> None:
        self._answers = answers

    def begin(self, _: Inputs) -> "Rude":
        return self

    @property
    def items(self) -> list[Item]:
        return [Item(f"c{number}", "en") for number in range(len(self._answers))]

    async def results(self, item_ids: Iterable[str]) -> AsyncGenerator[Record, None]:
        for _, answer in zip(item_ids, self._answers, strict=True):
            yield answer

    def crash_reject(self, item_id: str) -> Record:
        raise AssertionError(item_id)

    def load(self) -> Load:
        return Load()

    async def close(self) -> None:
        return None


ABSURD = {
    "huge": 10**30,
    "hugely negative": -(10**30),
    "a bit too large": 2**63,
    "too long to print": 1 << 20_000,
    "no number": float("nan"),
    "infinite": float("inf"),
}


@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens", "cumulative_logprob", "cost_usd"])
@pytest.mark.parametrize("value", ABSURD)
def test_a_measure_that_no_column_can_hold_becomes_null(field: str, value: str) -> None:
    answer = writable(a_candidate(0, **{field: ABSURD[value]}))
    assert answer == a_candidate(0)


@pytest.mark.parametrize(
    "values", [{"seed": 10**30}, {"sample_index": 2**63}, {"text": "\ud800"}, {"seed": 1 << 20_000}]
)
def test_any_other_such_value_stops_the_row_and_says_why(values: dict[str, Any]) -> None:
    answer = writable(a_candidate(0, **values))
    assert isinstance(answer, Reject)
    assert (answer.item_id, answer.reason) == ("c0", UNWRITABLE)
    assert answer.detail is not None
    assert answer.detail.startswith(f"{next(iter(values))} is ")
    assert len(answer.detail) < 120


def test_a_score_that_is_no_number_is_an_error_of_its_candidate() -> None:
    score = Score(candidate_id="c", prompt_id="p", reward="r@1", value=1.0).model_copy(update={"value": float("nan")})
    assert writable(score).model_dump()["error"] == UNWRITABLE


async def test_one_absurd_answer_neither_ends_a_shard_nor_harms_its_neighbours(tmp_path: Path) -> None:
    answers: list[Record] = [
        a_candidate(0),
        a_candidate(1, prompt_tokens=10**30, cost_usd=float("inf")),
        a_candidate(2, seed=-(10**30)),
        a_candidate(3),
    ]
    directory = tmp_path / "generate-t-000000000000"
    job = Job("generate-t", StepConfig(), Candidate, "shard", {}, directory, Resources(), "t", 1, (0,))
    stats = await do_shard(job, Rude(answers), Attempt(0), LiveCounters())
    assert (stats.num_in, stats.num_rows) == (4, 3)
    assert read_shard(directory, 0)["candidate_id"].to_pylist() == ["c0", "c1", "c3"]
    rejects = read_rejects(directory, 0)
    assert rejects is not None
    assert rejects["reason"].to_pylist() == [UNWRITABLE]
