"""One reader for all: files, encodings, ids, columns and messages mean the same wherever they are read."""

import bz2
import gzip
import json
import lzma
import os
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arbitrage.candidates.matrix_file import read_matrix
from arbitrage.errors import ConfigError, DataError
from arbitrage.inputs.columns import ProfileColumns, column_map
from arbitrage.inputs.notes import note_text
from arbitrage.inputs.values import Untyped, count_of, id_text, is_missing, number_of
from arbitrage.judging.answers import ResponseFiles, load_responses
from arbitrage.models.references import digest_files
from arbitrage.profile.entries import EntryBuilder
from arbitrage.profile.reading import ProfileReader
from arbitrage.rewards.column import _read as read_column
from arbitrage.training.mix import RowMixConfig
from arbitrage.training.rows import load_rows
from tests.support.jsonl import write_jsonl
from tests.support.reading import read

ROW = {"id": 1, "prompt": "Why is the sky blue?", "language": "en", "text": "Air.", "answer": "Air."}


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def packed(name: str, data: bytes) -> bytes:
    if name.endswith((".zst", ".lz4")):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd" if name.endswith(".zst") else "lz4") as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(Path(name).suffix, bytes)
    return pack(data)


# --- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".xz", ".zst", ".lz4"])
@pytest.mark.parametrize("stem", ["a.jsonl", "a.NDJSON", "a.json"])
def test_every_compression_is_read_by_every_reader(tmp_path, stem, ending):
    path = tmp_path / (stem + ending)
    path.write_bytes(packed(path.name, b"\xef\xbb\xbf" + lines(ROW)))
    assert read("jsonl", tmp_path).texts == [ROW["prompt"]]
    assert len(load_responses(ResponseFiles(label="a", paths=(str(path),)), "judge").texts) == 1
    assert len(list(ProfileReader([str(path)], EntryBuilder(ProfileColumns())).entries())) == 1


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
def test_a_compressed_file_that_is_cut_or_is_none_is_a_sentence(tmp_path, ending):
    path = tmp_path / f"a.jsonl{ending}"
    data = packed(path.name, lines(*({**ROW, "id": i, "prompt": f"{i} {i * i}?"} for i in range(5000))))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a\.jsonl\.\w+: (breaks off|cannot be read)"):
        read("jsonl", path, identify="off")
    path.write_bytes(b"no such thing")
    with pytest.raises(DataError, match="is not compressed by"):
        read("jsonl", path)
    path.write_bytes(lines(ROW))  # packed by its name alone: what it is counts
    assert len(read("jsonl", path).prompts) == 1


def test_unread_files_of_a_folder_are_counted(tmp_path):
    for name in ("B.JSONL", "c.json", "notes.md", "_part.jsonl", ".hidden.jsonl", "d.txt"):
        (tmp_path / name).write_bytes(lines({"prompt": f"{name}?", "language": "en"}))
    (tmp_path / "dataset_info.json").write_text('{\n "features": []\n}')
    (tmp_path / "_temporary").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "broken.jsonl").symlink_to("nowhere")
    reading = read("jsonl", tmp_path, identify="off")
    assert sorted(reading.texts) == ["B.JSONL?", "c.json?"]
    assert reading.notes == {
        "file_not_read:.md": 1,
        "file_not_read:.txt": 1,
        "file_not_read:.json": 1,
        "file_not_read:no file": 1,
        "file_not_read:broken link": 1,
        "hidden_file_not_read": 2,
        "hidden_folder_not_read": 1,
    }
    assert all(note_text(note) != note and "{}" not in note_text(note) for note in reading.notes)


def test_linked_folders_are_read_once_and_cycles_end(tmp_path):
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "a" / "a.jsonl").write_bytes(lines({"prompt": "Here?", "language": "en"}))
    (tmp_path / "elsewhere" / "b.jsonl").write_bytes(lines({"prompt": "There?", "language": "en"}))
    (tmp_path / "data" / "linked").symlink_to("../elsewhere")
    (tmp_path / "data" / "again").symlink_to("../elsewhere")
    (tmp_path / "data" / "a" / "loop").symlink_to("..")
    for where in (tmp_path / "data", tmp_path / "data" / "**"):
        reading = read("jsonl", where, identify="off")
        assert sorted(reading.texts) == ["Here?", "There?"]
    assert read("jsonl", tmp_path / "data", identify="off").notes["folder_linked_twice"] == 2


def test_a_model_behind_a_link_has_a_digest_of_its_own(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"1")
    (tmp_path / "model" / "linked").symlink_to("../weights")
    (tmp_path / "model" / "loop").symlink_to(".")
    before = digest_files(tmp_path / "model")
    (tmp_path / "weights" / "w.bin").write_bytes(b"2")
    assert digest_files(tmp_path / "model") != before


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path, what in ((tmp_path / "pipe.jsonl", "a pipe"), (Path("/dev/null"), "a device")):
        with pytest.raises(ConfigError, match=f"is {what}"):
            read("jsonl", path)


def test_folders_of_partitions_are_columns(tmp_path):
    for tag in ("de", "fr"):
        (tmp_path / f"language={tag}").mkdir()
        pq.write_table(pa.table({"prompt": [f"{tag}?"]}), tmp_path / f"language={tag}" / "part-0.parquet")
    assert [p.language for p in read("parquet", tmp_path, identify="off").prompts] == ["de", "fr"]


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path):
    n = 40_000_000
    table = pa.table(
        {"prompt": pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()).take(pa.array([0] * 1000)), ["x"])}
    )
    with pq.ParquetWriter(tmp_path / "rows.parquet", table.schema, compression="zstd") as writer:
        big = pa.concat_tables([table] * (n // 1000)).combine_chunks()
        writer.write_table(big, row_group_size=n)
    with pytest.raises(DataError, match=r"claims 40,000,000 rows in [\d,]+ bytes"):
        read("parquet", tmp_path)


# --- JSON and encodings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_objects_is_read(tmp_path, indent):
    rows = [{"prompt": f"Question {i}?", "language": "en"} for i in range(3000)]
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=indent))
    assert read("jsonl", tmp_path, identify="off").texts == [row["prompt"] for row in rows]


def test_objects_over_several_lines_are_read(tmp_path):
    rows = [{"prompt": "One?", "language": "en"}, {"messages": [{"role": "user", "content": "Two?"}]}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row, indent=2) for row in rows))
    assert read("jsonl", tmp_path, identify="off").texts == ["One?", "Two?"]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'{\n "data": [\n  {"prompt": "x"}\n ]\n}', r"with its rows under 'data'.*`jq -c '\.data\[\]'`"),
        (b'[{"prompt": "x"}]\n[{"prompt": "y"}]\n', r"more than one JSON value"),
        (b'[\n {"prompt": "x"},\n {"prompt": \n', r"cannot be read: item 2"),
        (lines(ROW).decode().encode("utf-16"), "is not UTF-8 but UTF-16; `iconv"),
        (lines(ROW).decode().encode("utf-16-le"), "is not UTF-8 but UTF-16LE"),
        (lines(ROW).decode().encode("utf-32"), "is not UTF-8 but UTF-32"),
        (b"PK\x03\x04" + b"\0" * 40, "is a zip archive"),
        (b"PAR1" + b"\0" * 40, "is a Parquet file"),
    ],
)
def test_what_is_no_json_lines_is_named(tmp_path, data, sentence):
    (tmp_path / "a.jsonl").write_bytes(data)
    with pytest.raises(DataError, match=sentence):
        read("jsonl", tmp_path)


def test_half_a_surrogate_pair_becomes_the_replacement_character(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"prompt": "half \\ud83d a pair?", "language": "en", "task": "\\ud800"}\n')
    reading = read("jsonl", tmp_path)
    assert (reading.texts, reading.prompts[0].task) == (["half \ufffd a pair?"], "\ufffd")
    assert reading.notes == {"lone_surrogate_replaced": 1}


def test_a_column_or_key_that_is_there_twice_is_refused(tmp_path):
    columns = [pa.array(["One?"]), pa.array(["Two?"])]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_arrays(columns, names=["prompt", "prompt"]), path)
    with pytest.raises(DataError, match="has 2 columns 'prompt'"):
        read("parquet", path)
    with pytest.raises(DataError, match="has 2 columns 'prompt'"):
        read_matrix([path])


def test_names_of_columns_are_shown_without_control_characters(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\x1b[31mred,language\nx,en\n")
    with pytest.raises(ConfigError) as caught:
        read("csv", tmp_path)
    assert "\x1b" not in str(caught.value)


# --- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (Decimal("1.00"), "1"),
        ("1", "1"),
        (Untyped("1.0"), "1"),
        ("1.0", "1.0"),
        (1.5, "1.5"),
        (Decimal("1.50"), "1.5"),
        (12345678901234567890123, "12345678901234567890123"),
        (True, "true"),
        (UUID("6af613b6-569c-5c22-9c37-2ed93f31d3af"), "6af613b6-569c-5c22-9c37-2ed93f31d3af"),
        (pd.Timestamp("2024-01-02"), "2024-01-02T00:00:00"),
        (b"abc", "abc"),
        (b"\xff\x00", "ff00"),
        ({"$oid": "64b0"}, "64b0"),
        ({"a": 1}, None),
        ([1], None),
        (None, None),
        (float("nan"), None),
        (pd.NaT, None),
        (" ", None),
        (10**1001, None),
    ],
)
def test_an_id_is_written_in_one_way(value, text):
    assert id_text(value) == text


def test_numbers_from_outside_are_bounded():
    assert [count_of(v) for v in (3, 3.0, "3", 10**30, -1, 1.5, float("inf"), None, True, "x")] == [3] * 3 + [
        None
    ] * 7
    assert [number_of(v) for v in (-1.5, "2", 1e300, float("nan"), 10**400)] == [-1.5, 2.0, None, None, None]
    assert is_missing(Decimal("NaN"))


def test_ids_meet_whatever_their_type(tmp_path):
    frame = pd.DataFrame({"id": [1, 2, None], "text": ["one", "two", "none"], "score": [0.5, 1.0, 2.0]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    write_jsonl(
        tmp_path / "a.jsonl", [{"id": 1, "text": "one", "score": 0.5}, {"id": "2", "text": "two", "score": 1}]
    )
    for name in ("a.parquet", "a.csv", "a.jsonl"):
        found = load_responses(ResponseFiles(label="a", paths=(str(tmp_path / name),)), "judge").texts
        assert {key for key, _ in found} == {"1", "2"}
        keys, scores = read_column(tmp_path / name, column_map({}, {"prompt": "id", "value": "score"}))
        assert dict(zip(keys, scores, strict=True)).items() >= {"1": 0.5, "2": 1.0}.items()


def test_an_optional_column_never_costs_the_row(tmp_path):
    rows = [
        {"prompt": "a?", "reference": ["x", "y"]},
        {"prompt": "b?", "reference": ["x"], "task": ["qa", "open"], "id": {"$oid": "64"}},
        {"prompt": "c?", "reference": True, "license": {"a": 1}, "id": [7]},
    ]
    reading = read("jsonl", write_jsonl(tmp_path / "a.jsonl", rows), identify="off")
    assert [(p.reference, p.task, p.source_id) for p in reading.prompts] == [
        (None, None, "a.jsonl:1"),
        ("x", "qa, open", "64"),
        ("true", None, "a.jsonl:3"),
    ]
    assert reading.notes == {
        "value_not_read:reference:list": 1,
        "values_joined:task": 1,
        "value_not_read:license:object": 1,
        "value_not_read:id:list": 1,
    }


def test_dates_beyond_python_cost_no_row(tmp_path):
    ids = pa.array([2**62], pa.timestamp("us"))
    pq.write_table(pa.table({"id": ids, "prompt": ["a?"]}), tmp_path / "a.parquet")
    reading = read("parquet", tmp_path, identify="off")
    assert reading.texts == ["a?"]
    assert reading.notes == {"value_not_read:id:unreadable timestamp[us]": 1}


# --- columns and messages ----------------------------------------------------------------------------------


def chat(tmp_path, row, **options):
    return read("jsonl", write_jsonl(tmp_path / "a.jsonl", [row]), identify="off", **options)


USER = {"role": "user", "content": "Why?"}
CALL = {"role": "assistant", "content": "Let me see.", "tool_calls": [{"id": "c"}]}
TOOL = {"role": "tool", "tool_call_id": "c", "content": "grey"}


@pytest.mark.parametrize(
    ("row", "messages", "notes"),
    [
        ({"prompt": json.dumps([{"role": "system", "content": "Short."}, USER])}, ["Short.", "Why?"], {}),
        ({"prompt": str([USER])}, ["Why?"], {}),
        ({"prompt": '[{"from": "Paris", "to": "Rome"}] Which way?'}, ['[{"from": "Paris", "to": "Rome"}] Which way?'], {}),
        ({"messages": [{"role": "USER", "content": "Why?"}]}, ["Why?"], {}),
        ({"messages": [{"role": "user", "content": ["Wh", {"type": "text", "text": "y?"}]}]}, ["Why?"], {}),
        ({"messages": [{"role": None, "content": None, "from": "human", "value": "Why?"}]}, ["Why?"], {}),
        ({"messages": {"from": ["human", "gpt"], "value": ["Why?", ""]}}, ["Why?"], {"trailing_answer_cut": 1}),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, ["Why?"], {"trailing_answer_cut": 1}),
        (
            {"messages": [USER, CALL]},
            ["Why?"],
            {"trailing_answer_cut": 1, "tool_turns_cut": 1},
        ),
        ({"system": "Like a pirate.", "messages": [USER]}, ["Like a pirate.", "Why?"], {}),
        ({"system": "One.", "messages": [{"role": "system", "content": "Two."}, USER]}, ["Two.", "Why?"], {"column_not_read:system": 1}),
        ({"instruction": "Add.", "input": "2, 3", "output": "5"}, ["Add.\n\n2, 3"], {}),
        ({"prompt": "Add?", "input": "2, 3"}, ["Add?"], {"column_not_read:input": 1}),
        ({"prompt": "Weather?", "history": [["a", "b"]]}, ["Weather?"], {"column_not_read:history": 1}),
        ({"prompt": "Weather?", "tools": "[]", "images": []}, ["Weather?"], {}),
        ({"messages": [{**USER, "name": "Ann"}]}, ["Why?"], {"message_key_not_read:name": 1}),
    ],
)  # fmt: skip
def test_usual_shapes_of_prompts_are_read_or_noted(tmp_path, row, messages, notes):
    reading = chat(tmp_path, row)
    assert [[m.content for m in p.messages] for p in reading.prompts] == [messages]
    assert reading.notes == notes


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({"messages": [USER, CALL, TOOL, USER]}, "tool_calls", "message 1 calls a tool without a name"),
        ({"prompt": '["Why?", "And then?"]'}, "broken_messages", "a JSON list of 2 texts"),
        ({"prompt": "[{'role': 'user'\n 'content': 'Why?'}]"}, "broken_messages", "Python's notation"),
        ({"messages": [{"role": "oracle", "content": "x"}]}, "broken_messages", "the role 'oracle'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_part", "'image_url'"),
        ({"messages": {"role": ["user"], "content": ["a", "b"]}}, "broken_messages", "different lengths"),
    ],
)
def test_what_would_be_an_incoherent_prompt_is_refused(tmp_path, row, reason, detail):
    [reject] = chat(tmp_path, row).rejects
    assert reject.reason == reason
    assert detail in str(reject.detail)


def test_context_is_joined_where_its_column_is_named(tmp_path):
    reading = chat(tmp_path, {"prompt": "Who?", "context": "Ann came."}, columns={"context": "context"})
    assert reading.texts == ["Who?\n\nAnn came."]


# --- training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["[v1]/rows.jsonl.gz", "rows[1].ndjson", "rows.JSON.xz"])
def test_training_rows_are_read_alike(tmp_path, name):
    talk = [{"from": "human", "value": [{"type": "text", "text": "Why?"}]}, {"from": "gpt", "value": "So."}]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(
        packed(name, b"\xef\xbb\xbf" + lines({"messages": talk, "prompt_id": 7.0, "language": "German"}))
    )
    rows = load_rows([path], "sft", RowMixConfig())
    assert rows.train[0] == {
        "prompt": [{"role": "user", "content": "Why?"}],
        "completion": [{"role": "assistant", "content": "So."}],
    }
    assert rows.by_language == {"de": 1}
