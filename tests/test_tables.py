"""Records and Arrow: the golden schemas, exact round trips, and the refusals that plain pyarrow does not make."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from arbitrage import records
from arbitrage.errors import DataError
from arbitrage.records import Candidate, FinishReason, Message, Prompt, Record, Score, prompt_id_of
from arbitrage.tables import arrow_schema, from_table, to_table
from tests.support.paths import ROOT

GOLDEN = ROOT / "tests/golden" / "schemas.json"
RECORDS = sorted(
    (r for r in vars(records).values() if isinstance(r, type) and issubclass(r, Record) and r is not Record),
    key=lambda r: r.__name__,
)


def described(record: type[Record]) -> list[str]:
    return [f"{f.name}: {f.type}{'' if f.nullable else ' not null'}" for f in arrow_schema(record)]


def test_schemas_are_those_on_record() -> None:
    """A difference here is a change of format: raise SCHEMA_VERSION and renew the file."""
    assert {r.__name__: described(r) for r in RECORDS} == json.loads(GOLDEN.read_text())


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
messages = st.lists(
    st.builds(Message, role=st.sampled_from(["user", "assistant"]), content=texts), min_size=1, max_size=3
)
prompts = st.builds(
    Prompt,
    prompt_id=texts,
    language=texts,
    language_confidence=st.none() | st.floats(0, 1),
    messages=messages.map(tuple),
    source=texts,
    source_id=texts,
    licence=st.none() | texts,
    task=st.none(),
    reference=st.none() | texts,
)
candidates = st.builds(
    Candidate,
    candidate_id=texts,
    prompt_id=texts,
    teacher=texts,
    revision=texts,
    sample_index=st.integers(0, 2**40),
    seed=st.integers(-(2**63), 2**63 - 1),
    text=texts,
    finish_reason=st.sampled_from(FinishReason),
    prompt_tokens=st.none() | st.integers(0, 10**6),
    completion_tokens=st.none(),
    cumulative_logprob=st.none() | st.floats(-1e6, 0),
    cost_usd=st.none() | st.floats(0, 10),
    error=st.none() | texts,
)


@given(st.lists(prompts, max_size=5))
def test_prompts_survive_arrow(rows: list[Prompt]) -> None:
    assert from_table(to_table(rows, Prompt), Prompt) == rows


@given(st.lists(candidates, max_size=5))
def test_candidates_survive_arrow(rows: list[Candidate]) -> None:
    table = to_table(rows, Candidate)
    assert from_table(table, Candidate) == rows
    assert table.schema.equals(arrow_schema(Candidate))


def test_parquet_and_datasets_restore_the_types(tmp_path: Path) -> None:
    import datasets

    row = Prompt(
        prompt_id="p", language="ar", messages=(Message(role="user", content="مرحبا"),), source="s", source_id="1"
    )
    pq.write_table(to_table([row], Prompt), tmp_path / "shard.parquet")
    loaded = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "shard.parquet"), cache_dir=str(tmp_path / "c")
    )
    features = loaded["train"].features
    text = datasets.Value("string")
    calls = datasets.List({"id": text, "name": text, "arguments": text})
    assert features["messages"] == datasets.List(
        {"role": text, "content": text, "tool_calls": calls, "tool_call_id": text, "name": text}
    )
    assert features["licence"] == datasets.Value("string")  # all null, yet typed
    plain = {"tool_calls": [], "tool_call_id": None, "name": None}
    assert loaded["train"][0]["messages"] == [{"role": "user", "content": "مرحبا", **plain}]
    assert from_table(pq.read_table(tmp_path / "shard.parquet"), Prompt) == [row]


@pytest.mark.parametrize(
    "columns",
    [
        {"candidate_id": ["c"], "prompt_id": ["p"], "reward": ["r"], "value": [1.0]},  # a column is missing
        {"candidate_id": ["c"], "prompt_id": ["p"], "reward": ["r"], "value": [1.0], "error": [None], "x": [1]},
        {"candidate_id": [1], "prompt_id": ["p"], "reward": ["r"], "value": [1.0], "error": ["e"]},
    ],
)
def test_a_table_of_other_columns_is_refused(columns: dict[str, list[object]]) -> None:
    with pytest.raises(DataError, match="expected the columns of Score"):
        from_table(pa.table(columns), Score)


def test_a_row_that_breaks_the_record_is_refused() -> None:
    columns = {"candidate_id": ["c"], "prompt_id": ["p"], "reward": ["r"], "value": [1.0], "error": ["both"]}
    table = pa.table(columns, schema=arrow_schema(Score))
    with pytest.raises(DataError, match="exactly one of value and error"):
        from_table(table, Score)


def test_scores_have_a_value_or_a_reason_never_nan() -> None:
    with pytest.raises(ValidationError):
        Score(candidate_id="c", prompt_id="p", reward="r", value=math.nan)
    with pytest.raises(ValidationError):
        Score(candidate_id="c", prompt_id="p", reward="r")
    with pytest.raises(ValidationError):
        Score.model_validate({"candidate_id": "c", "prompt_id": "p", "reward": "r", "value": "1.0"})


def test_ids_depend_on_content_alone_after_nfc() -> None:
    composed, decomposed = (Message(role="user", content=c) for c in ("é", "e\u0301"))
    assert prompt_id_of("fr", [composed]) == prompt_id_of("fr", [decomposed])
    assert prompt_id_of("fr", [composed]) != prompt_id_of("pt", [composed])
    assert prompt_id_of("fr", [composed]) != prompt_id_of("fr", [composed, composed])
    assert len(prompt_id_of("fr", [composed])) == 20
