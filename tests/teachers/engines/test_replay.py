"""Recordings: found by id, by source id, by text; several are samples; what is not there is said so."""

import asyncio
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arbitrage.config import parse
from arbitrage.contracts.engines import Completion, Failure
from arbitrage.errors import DataError
from arbitrage.records import FinishReason
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.replay import ReplayConfig
from tests.support.asking import a_request, ask
from tests.support.paths import SHARED

SPEC = ModelSpec("recorded", "")
MTBENCH = SHARED / "data" / "mtbench_multilingual"


def replay(paths, **options):
    return parse({"kind": "replay", "paths": [str(p) for p in paths], **options}, ReplayConfig, "test")


def write(path: Path, **columns) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def write_lines(path: Path, *rows) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_samples_in_order_of_files_and_rows_and_the_missing_ones_named(tmp_path):
    write(tmp_path / "b.parquet", prompt_id=["p", "q"], text=["third", "other"])
    write(tmp_path / "a.parquet", prompt_id=["p", "p"], text=["first", "second"])
    requests = [a_request("x", candidate_id=f"c{i}", prompt_id="p", sample_index=i) for i in range(4)]
    requests.append(a_request("x", candidate_id="none", prompt_id="nobody"))
    results = ask(replay([tmp_path]).build(SPEC), requests)
    assert [results[f"c{i}"].text for i in range(3)] == ["first", "second", "third"]
    assert results["c3"] == Failure("c3", "no_recording", "3 recorded")
    assert results["none"] == Failure("none", "no_recording")


def test_jsonl_columns_filter_and_finish_reason(tmp_path):
    path = write_lines(
        tmp_path / "answers.jsonl",
        {"id": 7, "lang": "de", "model": "a", "answer": "sieben", "why": "stop", "n_in": 3, "n_out": 2, "lp": -1.5},
        {
            "id": 7,
            "lang": "fr",
            "model": "a",
            "answer": "sept",
            "why": "length",
            "n_in": 4,
            "n_out": None,
            "lp": None,
        },
        {"id": 7, "lang": "de", "model": "b", "answer": "falsch", "why": "stop", "n_in": 0, "n_out": 0, "lp": 0.0},
        {"id": 8, "lang": "de", "model": "a", "answer": None, "why": "stop", "n_in": 0, "n_out": 0, "lp": 0.0},
    )
    columns = {"key": "id", "language": "lang", "text": "answer", "finish_reason": "why", "prompt_tokens": "n_in"}
    columns |= {"completion_tokens": "n_out", "cumulative_logprob": "lp"}
    engine = replay([path], match="source_id", columns=columns, where={"model": "a"}).build(SPEC)
    requests = [
        a_request("x", candidate_id=language, source_id="7", language=language) for language in ("de", "fr", "es")
    ]
    results = ask(engine, [*requests, a_request("x", candidate_id="null", source_id="8", language="de")])
    assert results["de"] == Completion("de", "sieben", FinishReason.STOP, 3, 2, -1.5)
    assert results["fr"] == Completion("fr", "sept", FinishReason.LENGTH, 4, None, None)
    assert results["es"] == Failure("es", "no_recording")
    assert results["null"] == Failure("null", "no_recording", "the recorded completion is null or not text")


def test_text_matches_in_unicode_form_c(tmp_path):
    path = write(tmp_path / "a.parquet", question=["cafe\u0301?  "], text=["oui"])
    engine = replay([path], match="text", columns={"key": "question"}).build(SPEC)
    results = ask(engine, [a_request("café?", candidate_id="c"), a_request("cafe?", candidate_id="d")])
    assert isinstance(results["c"], Completion)
    assert isinstance(results["d"], Failure)


def test_the_revision_is_the_content_not_the_path(tmp_path):
    one = replay([write(tmp_path / "a.parquet", prompt_id=["p"], text=["x"])])
    moved = replay([write(tmp_path / "z.parquet", prompt_id=["p"], text=["x"])])
    other = replay([write(tmp_path / "b.parquet", prompt_id=["p"], text=["y"])])
    assert one.recorded_revision() == moved.recorded_revision() != other.recorded_revision()
    assert "paths" not in one.identity()


@pytest.mark.parametrize(
    "line",
    [b"{broken", b"[1]", b'{"prompt_id": "q", "text": "\xff"}', b'{"prompt_id": "q", "prompt_id": "r", "text": "x"}'],
    ids=["broken", "list", "utf8", "key twice"],
)
def test_a_row_that_cannot_be_read_is_counted_and_harms_no_other(tmp_path, line):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b'{"prompt_id": "p", "text": "x"}\n' + line + b'\n{"prompt_id": "s", "text": "z"}\n')
    config = replay([path])
    results = ask(config.build(SPEC), [a_request("x", candidate_id=i, prompt_id=i) for i in "pqs"])
    assert (results["p"].text, results["s"].text) == ("x", "z")
    assert results["q"] == Failure("q", "no_recording")
    found = asyncio.run(config.check(SPEC))
    assert (found[0].level, found[0].detail) == ("ok", "2 answers")
    assert found[1].level == "warn"
    assert "1 rows that cannot be read" in found[1].detail
    assert "answers.jsonl:2" in found[1].detail


def test_recordings_of_which_nothing_can_be_read_are_an_error(tmp_path):
    (tmp_path / "answers.jsonl").write_bytes(b"\xff\n{\n")
    with pytest.raises(DataError, match=r"answers\.jsonl: none of the first 2 rows can be read \(byte 0xff"):
        replay([tmp_path]).build(SPEC)
    write_lines(tmp_path / "answers.jsonl", {"prompt_id": "p", "answer": "x"})
    with pytest.raises(
        DataError, match=r"answers\.jsonl: has no column 'text' for columns\.text .*present: prompt_id"
    ):
        replay([tmp_path]).build(SPEC)


def test_a_missing_file_and_a_missing_column_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.parquet: no such file"):
        replay([tmp_path / "nowhere.parquet"]).build(SPEC)
    write(tmp_path / "a.parquet", prompt_id=["p"])
    with pytest.raises(DataError, match=r"has no column 'text' for columns\.text \(columns present: prompt_id"):
        replay([tmp_path / "*.parquet"]).build(SPEC)


@pytest.mark.skipif(not MTBENCH.is_dir(), reason=f"{MTBENCH} is absent")
def test_real_answers_of_six_models_by_question_and_language():
    path = MTBENCH / "model_answers_6models.parquet"
    rows = pq.read_table(path).to_pylist()
    models = sorted({row["model"] for row in rows})
    assert len(models) == 6
    columns = {"key": "qid", "language": "lang", "text": "turns"}
    for model in models:
        engine = replay([path], match="source_id", columns=columns, where={"model": model}).build(SPEC)
        mine = [row for row in rows if row["model"] == model]
        requests = [
            a_request("x", candidate_id=f"{r['qid']}-{r['lang']}", source_id=str(r["qid"]), language=r["lang"])
            for r in mine
        ]
        results = ask(engine, requests)
        for row in mine:
            assert results[f"{row['qid']}-{row['lang']}"].text == row["turns"][0]
