"""`arbitrage profile`: foreign data in, figures out; bounded memory; wrong input says what, where, found, wanted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.errors import ArbitrageError, ConfigError, DataError, UserError
from arbitrage.inputs.columns import ProfileColumns
from arbitrage.inputs.rows import InputRow, RowError
from arbitrage.profile.entries import EntryBuilder, hash64
from arbitrage.profile.profile import MAX_LABELS, OTHER, CellKey, Profile, profile_data
from arbitrage.profile.reading import ProfileReader
from arbitrage.profile.sample import RowSample
from arbitrage.profile.settings import ProfileSettings, load_settings
from arbitrage.profile.summary import summarise
from tests.support.jsonl import write_jsonl
from tests.support.pipelines import run_file, write_pipeline
from tests.support.profiles import LENGTHS, THREE_LANGUAGES, arbitrage_profile


def profile_of(*paths: Path, columns: tuple[str, ...] = (), wanted: ProfileSettings = LENGTHS, **how: Any) -> Profile:
    builder = EntryBuilder(
        ProfileColumns.parse_assignments(columns, "--column", "text=answer"),
        turns=how.pop("turns", "last"),
        language=how.pop("language", None),
    )
    return profile_data("data", ProfileReader([str(p) for p in paths], builder), wanted, **how)


def mean(profile: Profile, metric: str = "characters", **key: str) -> float | None:
    [cell] = [cell for cell in summarise(profile) if cell.key == CellKey(**key)]
    return cell.figures[metric].mean


def test_by_language_teacher_and_source(tmp_path: Path) -> None:
    rows = [
        {"text": "a" * 10, "language": "en", "teacher": "x", "source": "s"},
        {"text": "a" * 20, "language": "en", "teacher": "y", "source": "s"},
        {"text": "a" * 60, "language": "de", "teacher": "y", "source": "t"},
    ]
    found = profile_of(write_jsonl(tmp_path / "a.jsonl", rows))
    assert mean(found) == 30
    assert mean(found, language="en") == 15
    assert mean(found, teacher="y") == 40
    assert mean(found, source="t") == 60
    assert mean(found, language="en", teacher="y") == 20
    assert (found.languages, found.teachers, found.sources) == (["en", "de"], ["x", "y"], ["s", "t"])


def test_parquet_jsonl_directories_and_globs_say_the_same(tmp_path: Path) -> None:
    rows = [{"answer": f"{'word ' * i}", "lang": "en", "extra": i} for i in range(1, 40)]
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows[:20]), folder / "one.parquet")
    write_jsonl(folder / "deep" / "two.jsonl", rows[20:])
    whole = write_jsonl(tmp_path / "whole.jsonl", rows)
    assert mean(profile_of(folder)) == mean(profile_of(whole)) == mean(profile_of(folder / "**/*.*"))


def test_columns_are_renamed_and_lead_into_objects(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"out": {"body": "abcd"}, "who": "m", "l": "fr"}])
    found = profile_of(path, columns=("text=out.body", "teacher=who", "language=l"))
    assert mean(found, language="fr", teacher="m") == 4


@pytest.mark.parametrize(
    ("value", "last", "every"),
    [
        ([{"role": "user", "content": "q"}, {"role": "assistant", "content": "abc"}], [3], [3]),
        (
            [{"from": "human", "value": "q"}, {"from": "gpt", "value": "ab"}, {"from": "gpt", "value": "abcd"}],
            [4],
            [2, 4],
        ),
        (["a", "abc"], [3], [1, 3]),
    ],
)
def test_turns_of_conversations(tmp_path: Path, value: Any, last: list[int], every: list[int]) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"messages": value, "language": "en"}])
    assert mean(profile_of(path)) == np.mean(last)
    assert mean(profile_of(path, turns="all")) == np.mean(every)


def test_languages_are_identified_where_absent(tmp_path: Path) -> None:
    found = profile_of(write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in THREE_LANGUAGES.values()]))
    assert sorted(found.languages) == sorted(THREE_LANGUAGES)
    assert profile_of(
        write_jsonl(tmp_path / "b.jsonl", [{"text": THREE_LANGUAGES["en"]}]), language="nl"
    ).languages == ["nl"]


def test_what_is_not_defined_is_null_with_its_reason(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": THREE_LANGUAGES["zh"], "language": "zh"}] * 3)
    [cell] = [c for c in summarise(profile_of(path)) if c.key == CellKey(language="zh")]
    assert cell.figures["lix"].mean is None
    assert cell.figures["lix"].nulls == {"undefined_language": 3}


def test_rows_that_cannot_be_read_are_counted_with_an_example(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "a.jsonl", [{"text": "x"}, {"text": None}, {"text": 7}, {"text": "y", "language": "??"}]
    )
    path.write_text(path.read_text() + "{broken\n")
    found = profile_of(path)
    assert found.rejected == {"missing_value": 1, "wrong_type": 1, "unknown_language": 1, "broken_json": 1}
    assert found.examples["wrong_type"].startswith("a.jsonl:3: ")
    assert (found.num_texts, found.num_rows) == (1, 5)


def test_errors_name_file_key_and_what_there_is(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"answr": "x", "id": 1}])
    with pytest.raises(UserError, match=r"a\.jsonl: has no column 'text' or .*columns present: answr, id"):
        profile_of(path)
    with pytest.raises(UserError, match=r"no column 'answer' for --column text=answer .*did you mean 'answr'"):
        profile_of(path, columns=("text=answer",))
    with pytest.raises(UserError, match=r"--column txt=a: 'txt' is not one of text, messages.*did you mean 'text'"):
        ProfileColumns.parse_assignments(["txt=a"], "--column", "text=answer")
    with pytest.raises(UserError, match="expected role=column"):
        ProfileColumns.parse_assignments(["text"], "--column", "text=answer")
    with pytest.raises(ConfigError, match=r"DATA: .*none\.jsonl: no such file"):
        profile_of(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"holds no text \(missing_value: b\.jsonl:1"):
        profile_of(write_jsonl(tmp_path / "b.jsonl", [{"text": ""}]))
    (tmp_path / "c.txt").write_text("text\nx\n")
    with pytest.raises(UserError, match=r"is not one of \.parquet, \.jsonl"):
        profile_of(tmp_path / "c.txt")


@pytest.mark.model
def test_metrics_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("metrics: [{kind: tokens, model: 'demo:commons'}, {kind: mtld, min_words: 20}]")
    names = [config.metric_name for config in load_settings(path).all_metrics]
    assert names.count("mtld") == 1
    assert "tokens" in names
    found = profile_of(
        write_jsonl(tmp_path / "a.jsonl", [{"text": THREE_LANGUAGES["en"]}] * 2), wanted=load_settings(path)
    )
    assert mean(found, "tokens") > 10
    path.write_text("metrics: [{kind: mtdl}]")
    with pytest.raises(ConfigError, match=r"m\.yaml: metrics\[0\]\.kind: 'mtdl' is not one of .*did you mean 'mtld'"):
        load_settings(path)
    path.write_text("metrics: [{kind: mtld}, {kind: mtld, threshold: 0.7}]")
    with pytest.raises(ConfigError, match="mtld: measured twice"):
        load_settings(path)


@pytest.mark.process
def test_processes_change_nothing(tmp_path: Path) -> None:
    rows = [
        {"text": f"{THREE_LANGUAGES['en']} {i} {THREE_LANGUAGES['de']}", "language": "en", "teacher": f"t{i % 3}"}
        for i in range(1400)
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    one, two = (profile_of(path, wanted=ProfileSettings(), num_processes=n) for n in (1, 2))
    assert summarise(one) == summarise(two)


def test_a_run_is_profiled_by_its_candidates(tmp_path: Path) -> None:
    run_file(write_pipeline(tmp_path), tmp_path / "run")
    found = profile_of(tmp_path / "run")
    assert len(found.teachers) > 1
    assert len(found.languages) > 1
    assert not set(found.rejected) - {"missing_value"}


def test_labels_beyond_the_limit_are_one(tmp_path: Path) -> None:
    rows = [{"text": "x", "language": "en", "source": f"https://example.org/{i}"} for i in range(MAX_LABELS + 50)]
    found = profile_of(write_jsonl(tmp_path / "a.jsonl", rows))
    assert len(found.sources) == MAX_LABELS + 1
    assert found.cells[CellKey(source=OTHER)].num_texts == 50


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(-1e3, 1e3)), min_size=1, max_size=400), st.integers(20, 50))
@settings(max_examples=40)
def test_samples_keep_clusters_whole_and_do_not_depend_on_order(rows: list[tuple[int, float]], room: int) -> None:
    clusters = np.array([hash64(f"c{c}") for c, _ in rows], dtype=np.uint64)
    keys = np.array([hash64(f"k{i}") for i in range(len(rows))], dtype=np.uint64)
    values = np.array([[v] for _, v in rows])
    kept = []
    for order in (np.arange(len(rows)), np.arange(len(rows))[::-1]):
        sample = RowSample(1, room)
        for start in range(0, len(rows), 7):
            part = order[start : start + 7]
            sample.add(clusters[part], keys[part], values[part])
        found = sample.rows()
        assert len(found.clusters_N) <= room
        assert sample.is_exact == (len(rows) <= room) or not sample.is_exact
        kept.append(found)
    sizes = dict(zip(*np.unique(clusters, return_counts=True), strict=True))
    if len(rows) <= room:
        assert len(kept[0].clusters_N) == len(rows)
    largest = max(sizes.values())
    if largest < room:  # one prompt that fills the sample is cut instead
        for cluster, num in zip(*np.unique(kept[0].clusters_N, return_counts=True), strict=True):
            assert num == sizes[cluster]


def test_memory_is_flat_in_rows() -> None:
    sample = RowSample(3, 100)
    random = np.random.default_rng(0)
    for _ in range(300):
        hashes = random.integers(0, 2**63, 64).astype(np.uint64)
        sample.add(hashes, hashes, random.normal(size=(64, 3)))
        assert sum(len(part[0]) for part in sample._parts) <= 264
    values = sample.rows().values_NM
    assert abs(float(np.median(values))) < 0.3
    assert not sample.is_exact


def test_the_command_writes_json_html_and_tables(tmp_path: Path) -> None:
    rows = [
        {"text": f"{text} {i}", "language": tag, "teacher": f"t{i % 2}"}
        for tag, text in THREE_LANGUAGES.items()
        for i in range(6)
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    result = arbitrage_profile(path, "--json", tmp_path / "o.json", "--html", tmp_path / "o.html", "--processes", 1)
    assert "characters" in result.stdout
    written = json.loads((tmp_path / "o.json").read_text())
    [profile] = written["profiles"]
    assert profile["texts"] == 18
    by_key = {(c["language"], c["teacher"]): c for c in profile["cells"]}
    assert by_key["zh", None]["metrics"]["lix"] == {
        "texts": 0, "mean": None, "sd": None, "min": None, "max": None, "p05": None, "p25": None, "p50": None,
        "p75": None, "p95": None, "nulls": {"undefined_language": 6},
    }  # fmt: skip
    assert by_key["en", "t1"]["metrics"]["words"]["mean"] == 35
    page = (tmp_path / "o.html").read_text()
    assert "<script>" in page
    assert "Chinese" in page
    only = arbitrage_profile(path, "--json", "-", "--processes", 1)
    assert json.loads(only.stdout)["profiles"][0]["texts"] == 18


def test_the_page_lets_no_text_of_the_data_in_as_markup(tmp_path: Path) -> None:
    rows = [{"text": "x", "language": "en", "teacher": t} for t in ("<script>alert(1)</script>", "b")]
    arbitrage_profile(write_jsonl(tmp_path / "a.jsonl", rows), "--html", tmp_path / "o.html", "--processes", 1)
    page = (tmp_path / "o.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_command_line_mistakes_are_sentences(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    for arguments, words in (
        (("--turns", "first"), "--turns first: is not one of last, all"),
        (("--language", "english!"), "is not a BCP-47 tag"),
        (("--compare",), "needs two data sets"),
        (("--json", tmp_path / "no" / "x.json"), "cannot be written"),
    ):
        with pytest.raises(ArbitrageError, match=words):
            arbitrage_profile(path, *arguments)


def test_usual_columns_need_no_names() -> None:
    assert ProfileColumns().mapping().needed(["id", "completion", "model", "lang", "junk"]) == [
        "id",
        "completion",
        "model",
        "lang",
    ]


@pytest.mark.model
def test_metrics_with_a_model_stand_beside_the_others(tmp_path: Path) -> None:
    rows = [{"text": text, "language": "de"} for text in ("Montag", "zqxjkv")]
    (tmp_path / "metrics.yaml").write_text(
        "defaults: false\n"
        "metrics:\n"
        "  - {kind: length, unit: characters}\n"
        "  - {kind: likelihood, model: 'demo:commons'}\n"
        "  - {kind: classifier, name: taste, model: 'demo:referee', label: LABEL_0, scale: logit, languages: [de]}\n"
    )
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    found = json.loads(arbitrage_profile(path, "--metrics", tmp_path / "metrics.yaml", "--json", "-").stdout)
    cell = found["profiles"][0]["cells"][0]["metrics"]
    assert {name: figures["texts"] for name, figures in cell.items()} == {
        "characters": 2,
        "bits_per_byte": 2,
        "taste": 2,
    }
    alone = write_jsonl(tmp_path / "b.jsonl", rows[:1])
    [likely] = summarise(profile_of(alone, wanted=load_settings(tmp_path / "metrics.yaml")))[:1]
    assert likely.figures["bits_per_byte"].mean == pytest.approx(cell["bits_per_byte"]["min"])


def test_the_tables_say_how_many_texts_a_mean_leaves_out_and_why(tmp_path: Path) -> None:
    rows = [{"text": THREE_LANGUAGES["en"], "language": "en"}] * 3 + [{"text": "Yes.", "language": "en"}]
    data = write_jsonl(tmp_path / "data.jsonl", rows)
    page = tmp_path / "page.html"
    printed = " ".join(arbitrage_profile(data, "--processes", 1, "--html", page).stdout.split())
    assert "too_short 25 %" in printed
    assert "* mean of less than 90 % of the texts" in printed
    assert "no text has a value of" in printed
    assert "mtld (too_short 100 %)" in printed
    assert "* mean of less than 90 % of the texts" in page.read_text(encoding="utf-8")
    [whole] = [cell for cell in summarise(profile_of(data)) if cell.key == CellKey()]
    assert not whole.figures["characters"].is_partial


THOUGHT = "The user asks about the capital of Kenya. I recall that it is Nairobi, in East Africa."
ANSWER = "Nairobi is the capital of Kenya."


def _asked(content: object, **beside: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": content, **beside}]}


@pytest.mark.parametrize(
    ("row", "note"),
    [
        (_asked(ANSWER, reasoning_content=THOUGHT), "reasoning_beside"),
        (_asked(ANSWER, reasoning=THOUGHT), "reasoning_beside"),
        (_asked(ANSWER, thinking=THOUGHT), "reasoning_beside"),
        (
            _asked([{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}]),
            "reasoning_beside",
        ),
        (_asked(f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"), "reasoning_taken_out:<think>"),
        (_asked(f"{THOUGHT}\n</think>\n\n{ANSWER}"), "reasoning_taken_out:<think>"),
        ({"text": f"<think>{THOUGHT}</think><answer>{ANSWER}</answer>"}, "reasoning_taken_out:<think>"),
        ({"text": f"[THINK]{THOUGHT}[/THINK]{ANSWER}"}, "reasoning_taken_out:[THINK]"),
        (
            {
                "text": f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>"
                f"{ANSWER}<|return|>"
            },
            "reasoning_taken_out:<|channel|>analysis<|message|>",
        ),
        ({"text": f"analysis{THOUGHT}assistantfinal{ANSWER}"}, "reasoning_taken_out:<|channel|>analysis<|message|>"),
        (
            {
                "text": f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|><|begin_of_solution|>{ANSWER}"
                "<|end_of_solution|>"
            },
            "reasoning_taken_out:<|begin_of_thought|>",
        ),
        ({"text": ANSWER, "reasoning": THOUGHT}, "reasoning_beside"),
        ({"text": ANSWER, "thinking": [{"type": "thinking", "thinking": THOUGHT}]}, "reasoning_beside"),
    ],
)
def test_reasoning_is_no_part_of_a_text(row, note) -> None:
    notes: Counter[str] = Counter()
    [entry] = EntryBuilder(ProfileColumns()).build(InputRow("f:1", row), notes)
    assert (entry.text, entry.reasoning) == (ANSWER, THOUGHT)
    assert notes == {note: 1}


@pytest.mark.parametrize(
    "row",
    [
        {"text": ANSWER, "reasoning": "on"},
        {"text": ANSWER, "reasoning": True},
        {"text": ANSWER, "reasoning": {"effort": "high"}},
        {"text": ANSWER},
        {"text": "Write <think> before your reasoning and `</think>` after it."},
        {"text": "```html\n<think>\n</think>\n```"},
    ],
)
def test_what_is_no_reasoning_is_not_taken_for_it(row) -> None:
    notes: Counter[str] = Counter()
    [entry] = EntryBuilder(ProfileColumns()).build(InputRow("f:1", row), notes)
    assert (entry.text, entry.reasoning, notes) == (row["text"], None, {})


@pytest.mark.parametrize(
    "row",
    [{"text": f"<think>{THOUGHT}"}, _asked(None, reasoning_content=THOUGHT), _asked(f"<think>{THOUGHT}</think> ")],
)
def test_reasoning_without_an_answer_is_left_out_and_counted(row) -> None:
    with pytest.raises(RowError) as caught:
        EntryBuilder(ProfileColumns()).build(InputRow("f:1", row), Counter())
    assert caught.value.reason == "reasoning_unfinished"


def test_the_command_says_that_reasoning_was_taken_out(tmp_path) -> None:
    data, metrics = tmp_path / "a.jsonl", tmp_path / "m.yaml"
    rows = [{"text": f"<think>{THOUGHT}</think>{ANSWER}"}, {"text": ANSWER}, {"text": f"<think>{THOUGHT}"}]
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    metrics.write_text("defaults: false\nmetrics: [{kind: length}, {kind: length, of: reasoning}]\n")
    result = arbitrage_profile(data, "--metrics", metrics, "--json", "-")
    [found] = json.loads(result.stdout)["profiles"]
    assert found["rejected"] == {"reasoning_unfinished": 1}
    assert found["notes"] == {"reasoning_taken_out:<think>": 1}
    [total] = [cell for cell in found["cells"] if cell["language"] is None]
    assert (total["metrics"]["words"]["texts"], total["metrics"]["words"]["mean"]) == (2, 6.0)
    assert total["metrics"]["reasoning_words"]["mean"] == 17.0
    assert total["metrics"]["reasoning_words"]["nulls"] == {"no_reasoning": 1}
