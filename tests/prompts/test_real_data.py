"""Published multilingual sets, as they are, through column mapping."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.support.paths import SHARED
from tests.support.reading import read

DATA = SHARED / "data"

pytestmark = [pytest.mark.long, pytest.mark.skipif(not DATA.is_dir(), reason=f"real data is not at {DATA}")]


def test_parallel_sentences_in_130_languages(tmp_path):
    """`gsw-ZH` is no BCP-47 tag; CLD2 contradicts few of the others. Read is a fifth, of all languages the same."""
    whole = pq.read_table(sorted((DATA / "ntrex128").glob("*.parquet")))
    segments = sorted(set(whole["seg"].to_pylist()))[::5]
    pq.write_table(whole.filter(pc.is_in(whole["seg"], pa.array(segments))), tmp_path / "part.parquet")
    columns = {"prompt": "text", "language": "lang", "id": "seg", "task": "doc"}
    reading = read("parquet", tmp_path / "part.parquet", columns=columns)
    assert len(reading.prompts) + len(reading.rejects) == 130 * len(segments) == 13_000
    assert reading.reasons["unknown_language"] == len(segments)
    assert all("gsw-ZH" in str(r.detail) for r in reading.rejects if r.reason == "unknown_language")
    assert len({p.language for p in reading.prompts}) >= 125
    assert {"zh-CN", "zh-TW", "sr-Cyrl", "sr-Latn", "fa-AF"} <= {p.language for p in reading.prompts}
    disagreements = {key: n for key, n in reading.notes.items() if key.startswith("language_disagreement:")}
    assert 0 < sum(disagreements.values()) < 0.05 * len(reading.prompts)


def test_short_sentences_without_their_tags_are_identified():
    columns = {"prompt": "text", "task": "lang", "ignore": ["language"]}
    prompts = read("parquet", DATA / "tatoeba112", columns=columns).prompts
    german = [p for p in prompts if p.task == "deu"]
    assert sum(p.language == "de" for p in german) > 0.8 * len(german)
    assert any(p.language == "und" for p in prompts)
    assert all(p.language_confidence is not None for p in prompts)


def test_maths_questions_with_answers():
    reading = read("parquet", DATA / "mgsm", columns={"prompt": "question", "reference": "answer", "id": "i"})
    assert len(reading.prompts) == 2750
    languages = {"bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"}
    assert {p.language for p in reading.prompts} == languages
    assert all(p.reference is not None and float(p.reference.replace(",", "")) for p in reading.prompts)


def test_first_turns_of_a_benchmark():
    files = DATA / "mtbench_multilingual" / "mtbench_vicuna_rakuda.parquet"
    columns = {"prompt": "turns.0", "language": "lang", "task": "category"}
    reading = read("parquet", files, columns=columns)
    assert len(reading.prompts) + len(reading.rejects) == 1810
    assert set(reading.reasons) <= {"duplicate_prompt"}
    assert {p.language for p in reading.prompts} >= {"de", "fr", "ja", "zh"}
