"""Whatever is done to a file: every reader ends with rows, counted rejects or one sentence, never with another error."""

import asyncio
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from arbitrage.candidates.matrix_file import read_matrix
from arbitrage.config import parse
from arbitrage.errors import ArbitrageError
from arbitrage.inputs.columns import ProfileColumns, ResponseColumns
from arbitrage.judging.agreement import read_labels
from arbitrage.judging.answers import ResponseFiles, count_lost, load_responses
from arbitrage.judging.prompts import JudgePromptReader
from arbitrage.profile.entries import EntryBuilder
from arbitrage.profile.reading import ProfileReader
from arbitrage.records import Prompt, Reject
from arbitrage.rewards.column import ColumnConfig
from arbitrage.tables import from_table, to_table
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.replay import ReplayConfig
from arbitrage.training.mix import RowMixConfig
from arbitrage.training.rows import load_rows
from tests.support.asking import a_request, ask
from tests.support.mutations import Format, Mutation, mutations, odd_names, parquet_bytes, parquet_mutations
from tests.support.reading import read

SEED = 13
NUM = 160

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why is the sky blue?"},
    {"role": "assistant", "content": "Because air scatters blue light."},
]
ROWS = [
    {
        "id": i,
        "prompt_id": f"p{i}",
        "prompt": f"What is {i} and {i}?",
        "language": "en",
        "task": "sums",
        "reference": str(2 * i),
        "answer": f"It is {2 * i}.",
        "teacher": "ab"[i % 2],
        "model": "ab"[i % 2],
        "reward": i / 7,
        "score": i / 5,
        "winner": "a",
        "finish": "stop",
        "tokens": i,
        "meta": {"lang": "en"},
        "messages": TALK,
    }
    for i in range(6)
]


def read_prompts(path: Path, kind: str) -> str:
    options: dict[str, Any] = {"identify": "off"}
    reading = read(kind, path, **options)
    assert from_table(to_table(reading.prompts, Prompt), Prompt) == reading.prompts
    assert from_table(to_table(reading.rejects, Reject), Reject) == reading.rejects
    return "rows" if reading.prompts else "rejects"


def read_chats(path: Path, kind: str) -> str:
    reading = read(kind, path, identify="check", columns={"messages": "messages", "language": "meta.lang"})
    assert from_table(to_table(reading.prompts, Prompt), Prompt) == reading.prompts
    return "rows" if reading.prompts else "rejects"


def read_data_set(path: Path, kind: str) -> str:
    folder = path.parent / "set"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    path.rename(folder / f"train.{kind}")
    return "rows" if read("dataset", name=str(folder), identify="off").prompts else "rejects"


def read_recordings(path: Path, kind: str) -> str:
    columns = {"key": "id", "text": "answer", "finish_reason": "finish", "completion_tokens": "tokens"}
    config = parse(
        {"kind": "replay", "paths": [str(path)], "match": "source_id", "columns": columns}, ReplayConfig, "test"
    )
    asyncio.run(config.check(ModelSpec("recorded", "")))
    assert config.recorded_revision()
    engine = config.build(ModelSpec("recorded", ""))
    requests = [a_request("x", candidate_id=f"c{i}", source_id=str(i)) for i in range(6)]
    return "rows" if any(hasattr(found, "text") for found in ask(engine, requests).values()) else "rejects"


def read_sides(path: Path, kind: str) -> str:
    side = ResponseFiles(label="a", paths=(str(path),))
    found = load_responses(side, "judge")
    count_lost(side, "judge")
    rows = sum(len(batch.prompts) for batch in JudgePromptReader([side]).read())
    return "rows" if found.texts and rows else "rejects"


def read_people(path: Path, kind: str) -> str:
    return "rows" if read_labels([str(path)], ResponseColumns()).num else "rejects"


def read_profile(path: Path, kind: str) -> str:
    reader = ProfileReader([str(path)], EntryBuilder(ProfileColumns()))
    return "rows" if list(reader.entries()) else "rejects"


def read_training(path: Path, kind: str) -> str:
    return "rows" if len(load_rows([path], "sft", RowMixConfig()).train) else "rejects"


def read_outcomes(path: Path, kind: str) -> str:
    return "rows" if read_matrix([path]).matrix.prompt_ids else "rejects"


def read_rewards(path: Path, kind: str) -> str:
    config = parse({"kind": "column", "path": str(path), "teacher": None}, ColumnConfig, "test")
    config.build()
    return "rows"


READERS: dict[str, tuple[Callable[[Path, str], str], tuple[str, ...]]] = {
    "prompts": (read_prompts, ("jsonl", "csv", "parquet")),
    "chats": (read_chats, ("jsonl", "parquet")),
    "data sets": (read_data_set, ("jsonl", "parquet")),
    "recordings": (read_recordings, ("jsonl", "csv", "parquet")),
    "sides": (read_sides, ("jsonl", "csv", "parquet")),
    "labels": (read_people, ("jsonl", "parquet")),
    "profile": (read_profile, ("jsonl", "csv", "parquet")),
    "training": (read_training, ("jsonl", "parquet")),
    "matrix": (read_outcomes, ("jsonl", "csv", "parquet")),
    "rewards": (read_rewards, ("jsonl", "csv", "parquet")),
}
SLOW = {"data sets": 12, "training": 80}
"""Readers on top of `datasets`, which writes files of its own: fewer mutations of each format."""


def rows_for(reader: str) -> list[dict[str, Any]]:
    if reader == "matrix":
        return [row | {"model": model} for row in ROWS for model in "ab"]
    if reader == "training":
        return [{name: row[name] for name in ("messages", "language", "prompt_id")} for row in ROWS]
    return ROWS


def valid_file(reader: str, kind: str) -> bytes:
    rows = rows_for(reader)
    if kind == "jsonl":
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    if kind == "parquet":
        return parquet_bytes(rows)
    sink = io.BytesIO()
    flat = [{name: value for name, value in row.items() if not isinstance(value, dict | list)} for row in rows]
    pacsv.write_csv(pa.Table.from_pylist(flat), sink)
    return sink.getvalue()


def damaged(reader: str, kind: str, seed: int, num: int) -> Iterator[Mutation]:
    if kind == "parquet":
        return parquet_mutations(rows_for(reader), seed, num)
    form: Format = "jsonl" if kind == "jsonl" else "bytes"
    return mutations(valid_file(reader, kind), form, seed, num)


def outcome(read_it: Callable[[Path, str], str], path: Path, kind: str) -> str:
    try:
        return read_it(path, kind)
    except ArbitrageError as error:
        raised = error
    said = str(raised).replace(str(path), "")
    assert raised.exit_code in (2, 3, 4)
    assert said
    assert "\x1b" not in said
    return f"exit {raised.exit_code}"


def run_mutations(reader: str, kind: str, folder: Path, seed: int, num: int) -> Counter[str]:
    """Read each mutation; return how many ended how."""
    read_it = READERS[reader][0]
    path = folder / f"data.{kind}"
    path.write_bytes(valid_file(reader, kind))
    assert outcome(read_it, path, kind) == "rows"
    found: Counter[str] = Counter()
    for number, mutation in enumerate(damaged(reader, kind, seed, num)):
        path.write_bytes(mutation.data)
        try:
            found[outcome(read_it, path, kind)] += 1
        except Exception as error:
            error.add_note(f"{reader} {kind} seed {seed} mutation {number}: {mutation.label}")
            raise
    return found


CASES = [(reader, kind) for reader, (_, kinds) in READERS.items() for kind in kinds]


@pytest.mark.parametrize(("reader", "kind"), CASES)
def test_no_mutation_of_a_file_is_a_traceback(tmp_path, reader, kind):
    num = SLOW.get(reader, NUM // len(READERS[reader][1]) + 1)
    found = run_mutations(reader, kind, tmp_path, SEED, num)
    assert found.total() == num
    assert any(outcome.startswith("exit") for outcome in found) or found["rejects"]


@pytest.mark.parametrize("name", odd_names(".jsonl"))
def test_a_file_may_have_any_name(tmp_path, name):
    is_text = (
        name.isascii() or "\udcff" not in name
    )  # a config is UTF-8: other names are reached through their folder
    path = tmp_path / name if is_text else tmp_path / "folder"
    (path if is_text else path / name).parent.mkdir(exist_ok=True)
    (path if is_text else path / name).write_bytes(valid_file("prompts", "jsonl"))
    (tmp_path / "a1.jsonl").write_bytes(b'{"prompt": "The wrong file", "answer": "wrong", "text": "wrong"}\n')
    reading = read("jsonl", path, identify="off")
    assert len(reading.prompts) == 6
    assert from_table(to_table(reading.prompts, Prompt), Prompt) == reading.prompts
    for reader in ("recordings", "sides", "profile"):
        assert outcome(READERS[reader][0], path, "jsonl") == "rows"
