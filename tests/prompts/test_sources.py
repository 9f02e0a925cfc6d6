"""Where prompts come from: files of every kind, local data sets, the embedded world; and what is wrong as a whole."""

import gzip
import json
import pickle
import tracemalloc
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbitrage.demo.tasks import FAMILIES, LANGUAGES
from arbitrage.errors import ConfigError, DataError
from arbitrage.inputs.rows import MAX_ROW_BYTES
from arbitrage.prompts.step import read_prompts
from arbitrage.records import Prompt
from tests.support.jsonl import write_jsonl
from tests.support.reading import config_of, read

ROWS = [
    {"prompt": "What is the capital of France?", "language": "en", "id": "q1"},
    {"prompt": 'Er sagte: "Ja, nein"\nund ging. Warum?', "language": "de", "id": "q2"},
    {"prompt": "ما هي عاصمة مصر؟", "language": "ar", "id": "q3"},
]


def write(directory, kind, rows=ROWS, name="a"):
    path = directory / f"{name}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "jsonl":
        return write_jsonl(path, rows)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    lines = [",".join(rows[0])] + [",".join('"' + v.replace('"', '""') + '"' for v in row.values()) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return path


KINDS = pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])


@KINDS
def test_all_kinds_read_the_same(tmp_path, kind):
    reading = read(kind, write(tmp_path, kind))
    assert [(p.messages[0].content, p.language, p.source_id) for p in reading.prompts] == [
        (row["prompt"], row["language"], row["id"]) for row in ROWS
    ]
    assert reading.rejects == []
    assert {p.source for p in reading.prompts} == {f"a.{kind}"}


@KINDS
def test_files_globs_directories_and_lists_find_the_same_rows(tmp_path, kind):
    write(tmp_path, kind, ROWS[:1], "x/one")
    write(tmp_path, kind, ROWS[1:2], "x/deep/two")
    write(tmp_path, kind, ROWS[2:], "three")
    (tmp_path / "notes.txt").write_text("no prompts here")
    write(tmp_path, kind, ROWS, "_temporary")
    files = [tmp_path / f"x/one.{kind}", tmp_path / f"x/deep/two.{kind}", tmp_path / f"three.{kind}"]
    expected = read(kind, files).prompts
    assert [p.source for p in expected] == [f"three.{kind}", f"x/deep/two.{kind}", f"x/one.{kind}"]
    assert read(kind, files[::-1] + files).prompts == expected
    assert read(kind, tmp_path).prompts == expected
    assert read(kind, tmp_path / f"**/*.{kind}").prompts == expected


def test_moving_a_source_changes_neither_rows_nor_fingerprint_but_its_content_does(tmp_path):
    for folder in ("old", "new"):
        write(tmp_path / folder, "jsonl", ROWS[:2], "a")
        write(tmp_path / folder, "jsonl", ROWS[2:], "b")
    old, new = (config_of("jsonl", tmp_path / folder) for folder in ("old", "new"))
    assert old.identity() == new.identity()
    assert read("jsonl", tmp_path / "old").prompts == read("jsonl", tmp_path / "new").prompts
    write(tmp_path / "new", "jsonl", ROWS[1:], "b")
    assert old.identity() != new.identity()
    assert config_of("jsonl", tmp_path / "old", max_chars=5).identity() != old.identity()


def test_a_path_is_resolved_where_the_config_is_read(tmp_path, monkeypatch):
    write(tmp_path, "jsonl")
    monkeypatch.chdir(tmp_path)
    config = config_of("jsonl", "a.jsonl")
    monkeypatch.chdir("/")
    assert sum(batch.num_read for batch in pickle.loads(pickle.dumps(config)).build().read()) == len(ROWS)


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_compressed_files(tmp_path, kind, suffix):
    plain = write(tmp_path / "plain", kind)
    packed = tmp_path / f"a.{kind}.{suffix}"
    with pa.output_stream(str(packed), compression="detect") as stream:
        stream.write(plain.read_bytes())
    assert read(kind, tmp_path / f"*.{suffix}").texts == [row["prompt"] for row in ROWS]


@KINDS
def test_no_such_file(tmp_path, kind):
    for wanted in (tmp_path / "nowhere" / f"a.{kind}", tmp_path / f"*.{kind}", tmp_path):
        with pytest.raises(ConfigError, match=r"paths: .*(no such file|matches no file|holds no file)"):
            config_of(kind, wanted).identity()
        with pytest.raises(ConfigError):
            read(kind, wanted)


@KINDS
def test_an_empty_source_is_an_error_an_empty_file_a_note(tmp_path, kind):
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS).slice(0, 0), tmp_path / "empty.parquet")
    else:
        (tmp_path / f"empty.{kind}").write_bytes(b"")
    with pytest.raises(DataError, match=f"empty.{kind}: holds no rows"):
        read(kind, tmp_path)
    write(tmp_path, kind)
    reading = read(kind, tmp_path)
    assert len(reading.prompts) == len(ROWS)
    assert reading.notes == {"empty_file": 1}


@KINDS
def test_a_missing_column_is_named_beside_those_present(tmp_path, kind):
    path = write(tmp_path, kind)
    with pytest.raises(
        ConfigError, match=r"a\.\w+: has no column 'promt' .*present: prompt, language, id; did you mean 'prompt'"
    ):
        read(kind, path, columns={"prompt": "promt"})
    with pytest.raises(ConfigError, match=r"has no column 'lang' for columns.language .*did you mean 'language'"):
        read(kind, path, columns={"language": "lang"})
    other = write(tmp_path, kind, [{"query": "Why?", "language": "en"}], "other")
    with pytest.raises(ConfigError, match="has no column 'prompt' or 'instruction' or 'question' or 'messages' or"):
        read(kind, other)


def test_a_column_that_jsonl_rows_never_have_is_found_missing_in_a_long_file(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ({"text": f"Question {i}?"} for i in range(5000)))
    with pytest.raises(ConfigError, match="columns present: text"):
        read("jsonl", path)


def test_unreadable_files(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 this is no parquet")
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read as Parquet"):
        read("parquet", tmp_path)
    array = tmp_path / "array.jsonl"
    array.write_text(json.dumps(ROWS))
    assert read("jsonl", array).texts == [row["prompt"] for row in ROWS]
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(
        gzip.compress(b"".join(json.dumps({"prompt": f"{i} {i * i}"}).encode() + b"\n" for i in range(9999)))[:-900]
    )
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz: (breaks off|cannot be read)"):
        read("jsonl", cut, identify="off")


def test_a_bad_value_in_the_config_is_one_sentence():
    with pytest.raises(ConfigError, match=r"test.yaml: kind: 'jsnl' .*did you mean 'jsonl'|test.yaml.*'jsnl'"):
        config_of("jsnl", "a")
    with pytest.raises(ConfigError, match="'zh_TW' is not a BCP-47 tag"):
        config_of("jsonl", "a", language="zh_TW")
    with pytest.raises(ConfigError, match=r"columns\.promt: is not a known key"):
        config_of("jsonl", "a", columns={"promt": "x"})


# --- JSON Lines --------------------------------------------------------------------------------------------


def test_byte_order_mark_blank_lines_and_a_missing_last_newline_are_no_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "One?"}\r\n\r\n  \n{"prompt": "Two?"}')
    reading = read("jsonl", path, identify="off")
    assert [(p.source_id, p.messages[0].content) for p in reading.prompts] == [
        ("a.jsonl:1", "One?"),
        ("a.jsonl:4", "Two?"),
    ]
    assert reading.rejects == []


def test_memory_stays_flat(tmp_path):
    """40 MB in 400 rows, and one line of 32 MB: never is more than a batch held, and never a whole long line."""
    path = tmp_path / "a.jsonl"
    with path.open("w") as stream:
        for number in range(400):
            stream.write(json.dumps({"prompt": f"{number} " + "word " * 20_000, "language": "en"}) + "\n")
        stream.write(json.dumps({"prompt": "x" * (MAX_ROW_BYTES * 2)}) + "\n")
    worker = config_of("jsonl", path, identify="off").build()
    tracemalloc.start()
    num_read = sum(batch.num_read for batch in worker.read())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_read == 401
    assert peak < 4 * MAX_ROW_BYTES


# --- CSV ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"only one field", "broken_row"),
        (b"a,en,1,extra", "broken_row"),
        (b"bad \xff byte,en,1", "invalid_utf8"),
        (b",en,1", "empty_prompt"),
        (b"a,klingonese,1", "unknown_language"),
        (b'"' + b"x" * 1_000_000 + b'",en,1', "prompt_too_long"),
    ],
)
def test_a_bad_csv_row_is_rejected_alone(tmp_path, line, reason):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfprompt,language,id\n"First\none?",en,7\n' + line + b"\n\nLast?,en,9\n")
    reading = read("csv", path, identify="off")
    assert reading.texts == ["First\none?", "Last?"]
    assert [(r.item_id, r.reason) for r in reading.rejects] == [("a.csv:4", reason)]


def test_an_unclosed_quote_ends_in_a_reject(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"prompt,id\nFirst?,1\n"
        + b'"never closed,2\n'
        + (b"swallowed " * 1000 + b"\n") * (MAX_ROW_BYTES // 9_000)
        + b"Last?,4\n"
    )
    reading = read("csv", path, identify="off", columns={"ignore": ["id"]})
    assert reading.texts[0] == "First?"
    assert reading.texts[-1] == "Last?"
    assert (reading.rejects[0].item_id, reading.rejects[0].reason) == ("a.csv:3", "broken_row")


def test_tabs_and_other_delimiters(tmp_path):
    (tmp_path / "a.tsv").write_text("prompt\tlang\nOne, two?\ten\n")
    assert read("csv", tmp_path).texts == ["One, two?"]
    (tmp_path / "b.csv").write_text("prompt;lang\nOne, two?;en\n")
    assert read("csv", tmp_path / "b.csv", delimiter=";").texts == ["One, two?"]


def test_a_header_that_names_a_column_twice_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,prompt\na,b\n")
    with pytest.raises(DataError, match="names a column twice"):
        read("csv", tmp_path)


# --- Parquet -----------------------------------------------------------------------------------------------


def test_a_parquet_text_that_is_not_utf8_is_rejected_alone(tmp_path):
    raw = pa.array([b"One?", b"bad \xff byte", b"Three?"], pa.binary())
    text = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    pq.write_table(pa.table({"prompt": text}), tmp_path / "a.parquet")
    reading = read("parquet", tmp_path, identify="off")
    assert reading.texts == ["One?", "Three?"]
    assert [(r.item_id, r.reason) for r in reading.rejects] == [("a.parquet:2", "invalid_utf8")]


def test_parquet_chat_nested_paths_and_other_types(tmp_path):
    table = pa.table(
        {
            "turns": [["Why?", "And then?"], []],
            "chat": [[{"role": "user", "content": "How?"}], None],
            "meta": [{"lang": "en"}, {"lang": "fr"}],
            "blob": [b"\xff", b"\x00"],
            "n": pa.array([1, 2], pa.int32()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    turns = read("parquet", tmp_path, columns={"prompt": "turns.0", "language": "meta.lang", "id": "n"})
    assert [(p.messages[0].content, p.language, p.source_id) for p in turns.prompts] == [("Why?", "en", "1")]
    assert turns.reasons == {"missing_value": 1}
    assert read("parquet", tmp_path, columns={"messages": "chat"}).texts == ["How?"]
    assert read("parquet", tmp_path, columns={"prompt": "n"}).reasons == {"wrong_type": 2}
    assert read("parquet", tmp_path, columns={"prompt": "blob"}).reasons == {"wrong_type": 2}


# --- data sets ---------------------------------------------------------------------------------------------


@KINDS
def test_a_local_folder_is_a_data_set(tmp_path, kind):
    write(tmp_path / "set", kind, name="train")
    write(tmp_path / "copy" / "set", kind, name="train")
    reading = read("dataset", name=str(tmp_path / "set"))
    assert reading.texts == [row["prompt"] for row in ROWS]
    assert {p.source for p in reading.prompts} == {"set/train"}
    first, second = (config_of("dataset", name=str(tmp_path / at)) for at in ("set", "copy/set"))
    assert first.identity() == second.identity()
    write(tmp_path / "set", kind, ROWS[:2], name="train")
    assert first.identity() != second.identity()


def test_what_is_wrong_with_a_data_set_is_said(tmp_path):
    write(tmp_path / "set", "jsonl", name="train")
    with pytest.raises(ConfigError, match=r"prompts.name: .*test"):
        read("dataset", name=str(tmp_path / "set"), split="test")
    with pytest.raises(ConfigError, match="set/train: has no column 'q'"):
        read("dataset", name=str(tmp_path / "set"), columns={"prompt": "q"})
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="none"):
        read("dataset", name=str(tmp_path / "none"))
    (tmp_path / "set" / "train.jsonl").write_bytes(b'{"prompt": "a"}\n{"prompt": br')
    with pytest.raises(DataError, match="set"):
        read("dataset", name=str(tmp_path / "set"))


# --- the embedded world ------------------------------------------------------------------------------------


def test_the_demo_has_the_same_number_of_questions_in_each_language():
    reading = read("demo", languages=["ar", "en"], per_language=30)
    assert [p.language for p in reading.prompts] == ["en"] * 30 + ["ar"] * 30
    assert {p.task for p in reading.prompts} == set(FAMILIES)
    assert all(p.reference and p.source == "demo" and p.licence for p in reading.prompts)
    assert read("demo", languages=["en", "ar"], per_language=30).prompts == reading.prompts
    assert (
        config_of("demo", languages=["en", "ar"]).identity() == config_of("demo", languages=["ar", "en"]).identity()
    )
    assert {p.language for p in read("demo").prompts} == set(LANGUAGES)


def test_another_seed_or_split_gives_other_questions():
    base = {p.prompt_id for p in read("demo", languages=["en"], per_language=50).prompts}
    assert {p.prompt_id for p in read("demo", languages=["en"], per_language=50, seed=1).prompts} != base
    assert not base & {
        p.prompt_id for p in read("demo", split="train", languages=["en"], per_language=10_000).prompts
    }


def test_skip_begins_where_another_set_ends():
    ids = {
        (skip, number): [p.prompt_id for p in read("demo", languages=["en"], skip=skip, per_language=number).prompts]
        for skip, number in ((0, 20), (20, 30), (0, 50))
    }
    assert ids[0, 20] + ids[20, 30] == ids[0, 50]
    assert len(set(ids[0, 50])) == 50


def test_the_world_names_its_languages():
    with pytest.raises(ConfigError, match="the demo world has no xx, only en, "):
        config_of("demo", languages=["en", "xx"])


# --- the step ----------------------------------------------------------------------------------------------


def test_the_step_is_a_source_of_prompts():
    step = read_prompts(config_of("demo"))
    assert (step.name, step.scope, step.produces, step.inputs) == ("prompts", "source", Prompt, {})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["en", "de", "xx", None]), min_size=1, max_size=30))
def test_counts_are_those_of_what_is_read(tmp_path, languages):
    path = write_jsonl(
        tmp_path / "a.jsonl", ({"prompt": f"{i}?", "language": tag} for i, tag in enumerate(languages))
    )
    batches = list(config_of("jsonl", path, identify="off").build().read())
    prompts = [prompt for batch in batches for prompt in batch.prompts]
    expected = {tag or "und": languages.count(tag) for tag in set(languages) - {"xx"}}
    assert Counter(prompt.language for prompt in prompts) == expected
    assert [p.messages[0].content for p in prompts] == [f"{i}?" for i, tag in enumerate(languages) if tag != "xx"]
    assert [r.reason for b in batches for r in b.rejects] == ["unknown_language"] * languages.count("xx")
