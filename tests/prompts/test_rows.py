"""Garbage in: every kind of bad row becomes a counted Reject and harms no other row."""

import json
import unicodedata
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbitrage.inputs.rows import MAX_ROW_BYTES, RowReject
from arbitrage.prompts.reader import SeenHashes
from arbitrage.records import Prompt, Reject
from arbitrage.tables import from_table, to_table
from tests.support.jsonl import write_jsonl
from tests.support.reading import read

GOOD = {"prompt": "What is the capital of France?", "language": "en"}
CHAT = [{"role": "user", "content": "Why is the sky blue?"}]


def rows_beside(tmp_path, *bad, **options):
    """Read bad rows between two good ones, both of which must survive."""
    last = {"prompt": "Is this the last question?", "language": "en"}
    path = write_jsonl(tmp_path / "a.jsonl", [GOOD, *bad, last])
    reading = read("jsonl", path, **options)
    assert reading.texts[0] == GOOD["prompt"]
    assert reading.texts[-1] == last["prompt"]
    assert len(reading.prompts) + len(reading.rejects) == len(bad) + 2
    return reading


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"prompt": "cut o', "broken_json"),
        (b"[" * 100_000, "broken_json"),
        (b"prompt: yaml?", "broken_json"),
        (b'{"prompt": "a", "id": ' + b"9" * 5000 + b"}", "broken_json"),
        (b"17", "broken_row"),
        (b'["a", "b"]', "broken_row"),
        (b'{"prompt": "bad \xff byte"}', "invalid_utf8"),
        (b'{"prompt": "one", "prompt": "another"}', "broken_json"),
        (b'{"prompt": "a", "meta": {"x": 1, "x": 2}}', "broken_json"),
        ({"language": "en"}, "missing_value"),
        ({"prompt": None}, "missing_value"),
        ({"prompt": 17}, "wrong_type"),
        ({"prompt": 1.5}, "wrong_type"),
        ({"prompt": True}, "wrong_type"),
        ({"prompt": {"text": "a"}}, "wrong_type"),
        ({"prompt": "a", "language": 5}, "wrong_type"),
        ({"prompt": "a", "language": ["en", "de"]}, "wrong_type"),
        ({"prompt": ""}, "empty_prompt"),
        ({"prompt": " \n\t\u200b\ufeff\u3000\x00"}, "empty_prompt"),
        ({"prompt": "x" * 1_000_000}, "prompt_too_long"),
        ({"prompt": "\N{GRINNING FACE}" * 250_001}, "prompt_too_long"),
        ({"prompt": "x" * (MAX_ROW_BYTES + 1)}, "row_too_long"),
        ({"prompt": "a", "language": "xx"}, "unknown_language"),
        ({"prompt": "a", "language": "english"}, "unknown_language"),
        ({"prompt": []}, "broken_messages"),
        ({"prompt": ["a"]}, "broken_messages"),
        ({"messages": "not json"}, "broken_messages"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "broken_messages"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "broken_messages"),
        ({"messages": [{"role": "user"}]}, "broken_messages"),
        ({"messages": [{"role": "user", "content": None}]}, "broken_messages"),
        ({"messages": [{"role": "assistant", "content": "Hello!"}]}, "broken_messages"),
        ({"messages": [{"role": "system", "content": "Be kind."}]}, "broken_messages"),
        ({"messages": [*CHAT, {"role": "system", "content": "Be kind."}]}, "broken_messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_part"),
        ({"messages": [{"role": "user", "content": " "}]}, "empty_prompt"),
        (GOOD, "duplicate_prompt"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason(tmp_path, row, reason):
    reading = rows_beside(tmp_path, row)
    assert reading.reasons == {reason: 1}
    assert reading.rejects[0].item_id == "a.jsonl:2"
    assert from_table(to_table(reading.rejects, Reject), Reject) == reading.rejects
    assert reason in get_args(RowReject)


def test_a_longer_prompt_is_allowed_by_name(tmp_path):
    reading = rows_beside(tmp_path, {"prompt": "word " * 60_000, "language": "en"}, max_chars=300_000)
    assert reading.reasons == {}


def test_the_second_use_of_an_id_is_rejected_within_a_language(tmp_path):
    rows = [
        {"prompt": "First?", "language": "en", "id": 7},
        {"prompt": "Second?", "language": "en", "id": "7"},
        {"prompt": "Premier ?", "language": "fr", "id": 7},
    ]
    reading = rows_beside(tmp_path, *rows, identify="off")
    assert reading.reasons == {"duplicate_id": 1}
    assert [p.source_id for p in reading.prompts] == ["a.jsonl:1", "7", "7", "a.jsonl:5"]


def test_rows_of_one_prompt_are_merged_on_request(tmp_path):
    rows = [GOOD | {"id": 1, "answer": "Paris"}, GOOD | {"id": 1, "answer": "Lyon"}, {"prompt": "Other?", "id": 1}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    reading = read("jsonl", path, repeats="merge", language="en")
    assert (reading.texts, reading.reasons, reading.notes) == (
        [GOOD["prompt"]],
        {"duplicate_id": 1},
        {"merged_rows": 1},
    )


def test_texts_equal_after_nfc_are_duplicates(tmp_path):
    composed = "Où est le café Zoë ?"
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    reading = rows_beside(
        tmp_path,
        *({"prompt": p, "language": "fr"} for p in (composed, decomposed)),
        {"prompt": composed, "language": "oc"},
    )
    assert reading.reasons == {"duplicate_prompt": 1}
    assert [p.language for p in reading.prompts] == ["en", "fr", "oc", "en"]


def test_a_suggestion_is_made_for_an_unknown_language(tmp_path):
    reading = rows_beside(tmp_path, {"prompt": "a", "language": "german"})
    assert "did you mean 'de'?" in str(reading.rejects[0].detail)


def test_names_of_languages_can_be_given_in_the_config(tmp_path):
    reading = rows_beside(tmp_path, {"prompt": "Wo?", "language": "Alemão"}, language_names={"Alemão": "de"})
    assert reading.prompts[1].language == "de"


def test_tags_are_normalised(tmp_path):
    row = {"prompt": "今天天氣如何？", "language": "zh_tw"}
    assert rows_beside(tmp_path, row).prompts[1].language == "zh-TW"


@pytest.mark.parametrize("missing", [{}, {"language": None}, {"language": " "}, {"language": "und"}])
def test_a_missing_language_is_identified_taken_from_the_config_or_left_open(tmp_path, missing):
    row = {"prompt": "Wie heißt die Hauptstadt von Österreich, und wie viele Menschen leben dort?", **missing}
    found = rows_beside(tmp_path, row).prompts[1]
    assert found.language == "de"
    assert found.language_confidence > 0.5
    configured = rows_beside(tmp_path, row, language="de-AT").prompts[1]
    assert (configured.language, configured.language_confidence) == ("de-AT", None)
    open_ = rows_beside(tmp_path, row, identify="off").prompts[1]
    assert (open_.language, open_.language_confidence) == ("und", None)


def test_a_text_without_language_is_und(tmp_path):
    assert rows_beside(tmp_path, {"prompt": "12 + 30 = ?"}).prompts[1].language == "und"


def test_a_given_language_is_trusted_but_disagreement_is_counted(tmp_path):
    row = {"prompt": "Wie heißt die Hauptstadt von Österreich, und wie viele Menschen leben dort?", "language": "es"}
    reading = rows_beside(tmp_path, row)
    assert reading.prompts[1].language == "es"
    assert reading.prompts[1].language_confidence is None
    assert reading.notes == {"language_disagreement:es>de": 1}
    assert rows_beside(tmp_path, row, identify="missing").notes == {}


def test_a_near_relative_is_no_disagreement(tmp_path):
    row = {"prompt": "Hva heter hovedstaden i Norge, og hvor mange mennesker bor det der?", "language": "nb"}
    assert rows_beside(tmp_path, row).notes == {}


@pytest.mark.parametrize("column", ["prompt", "messages", "conversations"])
@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "system", "content": "Be brief."}, *CHAT],
        [{"from": "system", "value": "Be brief."}, {"from": "human", "value": CHAT[0]["content"]}],
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": CHAT[0]["content"]}]},
        ],
    ],
)
def test_chat_messages_are_read(tmp_path, column, turns):
    reading = rows_beside(tmp_path, {column: turns, "language": "en"})
    assert [(m.role, m.content) for m in reading.prompts[1].messages] == [
        ("system", "Be brief."),
        ("user", "Why is the sky blue?"),
    ]


def test_messages_may_be_json_text(tmp_path):
    reading = rows_beside(tmp_path, {"messages": json.dumps(CHAT), "language": "en"})
    assert reading.texts[1] == "Why is the sky blue?"


def test_a_trailing_answer_is_cut_and_counted_or_rejected(tmp_path):
    row = {"messages": [*CHAT, {"role": "assistant", "content": "Scattering."}], "language": "en"}
    reading = rows_beside(tmp_path, row)
    assert reading.texts[1] == "Why is the sky blue?"
    assert reading.notes == {"trailing_answer_cut": 1}
    assert rows_beside(tmp_path, row, trailing_answer="reject").reasons == {"broken_messages": 1}


def test_all_columns_arrive(tmp_path):
    row = {"q": "2 + 2?", "meta": {"lang": "en"}, "n": 4, "ans": 4, "kind": "maths", "lic": "MIT", "language": "de"}
    columns = {
        "prompt": "q",
        "language": "meta.lang",
        "id": "n",
        "reference": "ans",
        "task": "kind",
        "licence": "lic",
    }
    path = write_jsonl(tmp_path / "a.jsonl", [row, {**row, "q": "3 + 3?", "n": 5, "lic": None}])
    first, second = read("jsonl", path, columns=columns, licence="CC0-1.0", source="sums").prompts
    assert first.model_dump(exclude={"prompt_id", "messages"}) == {
        "language": "en",
        "language_confidence": None,
        "source": "sums",
        "source_id": "4",
        "licence": "MIT",
        "task": "maths",
        "reference": "4",
        "tools": None,
        "response_format": None,
        "translation": None,
    }
    assert second.licence == "CC0-1.0"


def test_a_number_that_is_none_is_missing(tmp_path):
    row = {"prompt": "2 + 2?", "language": "en", "reference": float("nan"), "id": float("nan")}
    found = rows_beside(tmp_path, row).prompts[1]
    assert (found.reference, found.source_id) == (None, "a.jsonl:2")


def test_a_usual_column_can_be_ignored(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{**GOOD, "language": "xx"}])
    assert read("jsonl", path).reasons == {"unknown_language": 1}
    assert read("jsonl", path, columns={"ignore": ["language"]}).prompts[0].language == "en"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "from"]), inner),
    max_leaves=6,
)
ROWS = st.dictionaries(st.sampled_from(["prompt", "messages", "language", "id", "task", "reference"]), JSON)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS.map(lambda row: json.dumps(row).encode()) | st.binary(max_size=20), max_size=6))
def test_no_row_vanishes_and_none_raises(tmp_path, lines):
    """Whatever stands in a line: it becomes one prompt or one reject, and all of them can be stored."""
    lines = [line.replace(b"\n", b"").replace(b"\xef\xbb\xbf", b"") for line in lines]
    path = write_jsonl(tmp_path / "a.jsonl", [GOOD, *lines])
    reading = read("jsonl", path)
    assert len(reading.prompts) + len(reading.rejects) == 1 + sum(bool(line.strip()) for line in lines)
    assert from_table(to_table(reading.prompts, Prompt), Prompt) == reading.prompts
    assert from_table(to_table(reading.rejects, Reject), Reject) == reading.rejects
    assert {r.reason for r in reading.rejects} <= set(get_args(RowReject))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda t: any(c.isalnum() for c in t)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXT, min_size=1, unique_by=lambda t: unicodedata.normalize("NFC", t)))
def test_texts_are_read_as_they_were_written(tmp_path, texts):
    path = write_jsonl(tmp_path / "a.jsonl", [{"prompt": text} for text in texts])
    assert read("jsonl", path, identify="off").texts == texts


@given(values=st.lists(st.integers(0, 2**64 - 1), max_size=200), merge=st.integers(1, 20))
def test_a_seen_hash_is_known_and_no_other(values: list[int], merge: int) -> None:
    seen, known = SeenHashes(smallest_merge=merge), set()
    for value in values:
        assert (value in seen) == (value in known)
        if value not in seen:
            seen.add(value)
            known.add(value)
    assert len(seen) == len(known)
    assert all(value in seen for value in known)
