"""Reasoning in exports: each trainer's own form, no null keys, and what data sets of both kinds of rows need."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset
from typer.testing import CliRunner

from arbitrage.cli.main import app
from arbitrage.errors import UserError
from arbitrage.export.export import ExportResult, export_run
from arbitrage.export.reasoning import inline
from arbitrage.records import Message
from tests.support.export_runs import make_run
from tests.support.reasoned import ALL, CASES, THOUGHT, reasoned_case, template
from tests.support.tiny_model import build_tokenizer


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {name: make_run(root / name, reasoned_case(reasoning)) for name, reasoning in CASES.items()}


def export(run: Path, out: Path, trainer: str, dataset: str, reasoning: str = "keep") -> ExportResult:
    [result] = export_run(run, trainer, [dataset], out, reasoning=reasoning)  # type: ignore[arg-type]
    return result


def rows_of(result: ExportResult, *, streaming: bool = False) -> dict[str, dict[str, Any]]:
    """Load an export: last word of the (chosen) answer → row."""
    rows = load_dataset(str(result.path), split="train", streaming=streaming)
    return {_answer(row).split()[-1]: row for row in rows}


def _answer(row: dict[str, Any]) -> str:
    found = row.get("completion") or row.get("chosen") or row.get("messages") or row["completions"][0]["completion"]
    return str((found[-1] if isinstance(found, list) else found)["content"])


def nulls(value: Any) -> int:
    if isinstance(value, dict):
        return sum(nulls(inner) for name, inner in value.items() if name != "score")
    return sum(map(nulls, value)) if isinstance(value, list) else value is None


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("key", ["reasoning_content", "thinking"])
def test_trl_has_a_key_where_there_is_reasoning_and_none_elsewhere(
    runs: dict[str, Path], tmp_path: Path, key: str, streaming: bool
) -> None:
    form = "keep" if key == "reasoning_content" else key
    for kind, thoughts in {"all": ALL, "mixed": {("one", "aya"): THOUGHT}, "none": {}}.items():
        result = export(runs[kind], tmp_path, "trl", "sft", form)
        rows = rows_of(result, streaming=streaming)
        assert rows.keys() == {"one", "two", "three"}
        for name, row in rows.items():
            winner = "qwen" if name == "three" else "aya"
            wanted = {"role": "assistant", "content": f"right {name}"}
            if (name, winner) in thoughts:
                wanted[key] = thoughts[name, winner]
            assert row["completion"] == [wanted]
            assert row["prompt"] == [{"role": "user", "content": name}]
        assert (result.num_reasoned, result.reasoning) == ((len(thoughts) + 1) // 2, key if thoughts else None)


def test_pairs_have_reasoning_on_either_side(runs: dict[str, Path], tmp_path: Path) -> None:
    rows = rows_of(export(runs["mixed"], tmp_path, "trl", "preference"))
    assert rows["one"]["chosen"][0]["reasoning_content"] == THOUGHT
    assert rows["two"]["rejected"][0]["reasoning_content"] == "lost"
    plain = [rows["one"]["rejected"], rows["two"]["chosen"], rows["three"]["chosen"], rows["three"]["rejected"]]
    assert all(message.keys() == {"role", "content"} for [message] in plain)


@pytest.mark.parametrize("trainer", ["axolotl", "nemo-rl"])
def test_conversations_have_the_key_in_the_last_message(runs: dict[str, Path], tmp_path: Path, trainer: str) -> None:
    for kind in ("all", "mixed"):
        rows = rows_of(export(runs[kind], tmp_path, trainer, "sft"))
        assert rows["one"]["messages"][-1]["reasoning_content"] == CASES[kind]["one", "aya"]
        others = [turn for row in rows.values() for turn in row["messages"]]
        others.remove(rows["one"]["messages"][-1])
        if kind == "mixed":  # JSON lines have the same keys in all files, so there it is empty
            assert not any(message.get("reasoning_content") for message in others)
        assert not nulls(list(rows.values()))


@pytest.mark.parametrize("dataset", ["sft", "preference"])
def test_nemo_loads_by_a_glob_where_the_first_file_has_no_reasoning(
    runs: dict[str, Path], tmp_path: Path, dataset: str
) -> None:
    result = export(runs["mixed"], tmp_path, "nemo-rl", dataset)
    assert [file.path for file in result.files] == ["data/train/ar.00000.jsonl", "data/train/en.00000.jsonl"]
    rows = list(load_dataset("json", data_files=f"{result.path}/data/train/*.jsonl", split="train"))
    answers = [row["messages"] if dataset == "sft" else row["completions"][0]["completion"] for row in rows]
    assert sorted(turns[-1]["reasoning_content"] for turns in answers) == ["", "", THOUGHT]
    assert not nulls(rows)


@pytest.mark.parametrize("trainer", ["llamafactory", "open-instruct"])
def test_reasoning_stands_in_the_text_for_those_who_read_no_key(
    runs: dict[str, Path], tmp_path: Path, trainer: str
) -> None:
    rows = rows_of(export(runs["mixed"], tmp_path, trainer, "sft"))
    told = {name: row["messages"][-1] for name, row in rows.items()}
    assert told["one"] == {"role": "assistant", "content": f"<think>\n{THOUGHT}\n</think>\n\nright one"}
    assert told["three"] == {"role": "assistant", "content": "right three"}
    pairs = rows_of(export(runs["mixed"], tmp_path, trainer, "preference"))
    rejected = pairs["two"]["rejected"]
    last = rejected if isinstance(rejected, dict) else rejected[-1]
    assert last["content"] == "<think>\nlost\n</think>\n\nwrong two"


@pytest.mark.parametrize("trainer", ["trl", "axolotl", "llamafactory", "open-instruct", "nemo-rl"])
def test_dropped_reasoning_leaves_the_rows_as_they_are_without_any(
    runs: dict[str, Path], tmp_path: Path, trainer: str
) -> None:
    for dataset in ("sft", "preference"):
        result = export(runs["all"], tmp_path / "dropped", trainer, dataset, "drop")
        without = export(runs["none"], tmp_path / "none", trainer, dataset)
        assert [row | {"candidate_id": ""} for row in rows_of(result).values()] == [
            row | {"candidate_id": ""} for row in rows_of(without).values()
        ]
        assert (result.num_reasoned, result.reasoning) == (3, None)
        assert "3 of 3 rows had reasoning in the run; it was dropped" in (result.path / "README.md").read_text()
        assert "Reasoning" not in (without.path / "README.md").read_text()


@pytest.mark.parametrize("trainer", ["llamafactory", "open-instruct"])
def test_a_form_that_the_trainer_does_not_read_is_refused(
    runs: dict[str, Path], tmp_path: Path, trainer: str
) -> None:
    wanted = f"reasoning: {trainer} does not read the reasoning of {{}} rows as 'thinking'; take keep, drop, inline"
    for dataset, rows in (("sft", "SFT"), ("preference", "preference")):
        with pytest.raises(UserError, match=wanted.format(rows)):
            export(runs["all"], tmp_path, trainer, dataset, "thinking")
    with pytest.raises(UserError, match="axolotl does not read the reasoning of preference rows as 'thinking'"):
        export(runs["all"], tmp_path, "axolotl", "preference", "thinking")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "sft", "preference"), [("all", True, True), ("mixed", None, True), ("none", False, False)]
)
def test_llamafactory_config_says_what_to_do_with_the_empty_chain(
    runs: dict[str, Path], tmp_path: Path, kind: str, sft: bool | None, preference: bool
) -> None:
    for dataset, wanted in (("sft", sft), ("preference", preference)):
        result = export(runs[kind], tmp_path, "llamafactory", dataset)
        text = (result.path / "llamafactory.yaml").read_text()
        assert yaml.safe_load(text) == {
            "stage": "sft" if dataset == "sft" else "dpo",
            "dataset_dir": ".",
            "dataset": dataset,
            "enable_thinking": wanted,
        }


def test_axolotl_config_names_the_key_where_it_is_another_than_axolotls(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    for form in ("keep", "thinking", "inline"):
        result = export(runs["mixed"], tmp_path, "axolotl", "sft", form)
        [entry] = yaml.safe_load((result.path / "axolotl.yaml").read_text())["datasets"]
        named = {key: value for key, value in entry.items() if "thinking" in key}
        wanted = {"field_thinking": "thinking", "template_thinking_key": "thinking"}
        assert named == (wanted if form == "thinking" else {})


def test_axolotl_pairs_have_their_reasoning_in_the_text(runs: dict[str, Path], tmp_path: Path) -> None:
    pairs = rows_of(export(runs["mixed"], tmp_path, "axolotl", "preference"))
    assert pairs["one"]["chosen"] == [{"role": "assistant", "content": inline(THOUGHT, "right one")}]
    assert pairs["two"]["chosen"] == [{"role": "assistant", "content": "right two"}]


def test_candidates_have_a_column(runs: dict[str, Path], tmp_path: Path) -> None:
    for form in ("keep", "drop"):
        result = export(runs["mixed"], tmp_path, "trl", "candidates", form)
        rows = load_dataset(str(result.path), split="train")
        found = sorted(row["reasoning"] for row in rows if row["reasoning"])
        assert found == ([] if form == "drop" else ["  \n", THOUGHT, "lost"])
        assert {"reasoning_tokens", "completion_tokens"} <= set(rows.column_names)
        assert (result.num_reasoned, result.reasoning) == (2, None if form == "drop" else "column")


def test_the_card_and_the_provenance_say_how_many_and_how(runs: dict[str, Path], tmp_path: Path) -> None:
    result = export(runs["mixed"], tmp_path, "trl", "sft", "thinking")
    card = (result.path / "README.md").read_text()
    assert "1 of 3 rows have reasoning, in the key `thinking` of the answer's message" in card
    assert '"enable_thinking": "thinking" in row["completion"][-1]' in card
    told = json.loads((result.path / "provenance.json").read_text())
    assert (told["options"]["reasoning"], told["rows"]["with_reasoning"]) == ("thinking", 1)
    pairs = (export(runs["mixed"], tmp_path, "trl", "preference").path / "README.md").read_text()
    assert "| chosen | 1 |\n| rejected | 1 |" in pairs


def test_the_command_says_what_became_of_reasoning(runs: dict[str, Path], tmp_path: Path) -> None:
    command = ["export", str(runs["mixed"]), "--dataset", "sft", "--out", str(tmp_path)]
    told = CliRunner().invoke(app, command)
    assert "reasoning: written as reasoning_content (1 of 3 rows)" in told.output
    told = CliRunner().invoke(app, [*command, "--reasoning", "drop", "--json"])
    [found] = json.loads(told.output)
    assert found["reasoning"] == {"rows": 1, "form": None}
    told = CliRunner().invoke(app, [*command, "--reasoning", "think"])
    assert "'think' is not one of keep, drop, reasoning_content, thinking, inline" in str(told.exception)


READ_BY = {
    "reasoning_content": ("qwen3", "qwen3_6", "qwen3_8", "glm4moe", "nemotron_3_nano", "gemma4_v5"),
    "thinking": ("gptoss", "lfm2_2_5"),
}
"""Key → chat templates of real models that read it, as TRL ships them."""


@pytest.mark.parametrize(("key", "name"), [(key, name) for key, names in READ_BY.items() for name in names])
def test_real_chat_templates_write_the_reasoning_and_take_rows_without(
    runs: dict[str, Path], tmp_path: Path, key: str, name: str
) -> None:
    tokenizer = build_tokenizer(template(name))
    result = export(runs["mixed"], tmp_path, "trl", "sft", key)
    for prompt, row in rows_of(result).items():
        text = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
        assert f"right {prompt}" in text
        assert (THOUGHT in text) == (prompt == "one")
        assert "None" not in text


def test_inline_is_the_form_of_llamafactorys_default_template() -> None:
    assert inline(" a\n\nb \n", "c") == "<think>\na\n\nb\n</think>\n\nc"
    assert inline("a", "") == "<think>\na\n</think>\n\n"
    assert Message(role="assistant", content=inline("a", "b")).content.startswith("<think>\n")
