"""Tools in exports: each trainer's own form, rows without tools beside rows with them, and rows that are skipped."""

import json
from pathlib import Path
from typing import Any

import pytest
import trl
from datasets import load_dataset

from arbitrage.export.export import ExportResult, export_run
from tests.support.export_runs import ExportCase, make_run
from tests.support.tiny_model import build_tokenizer
from tests.support.tools import CALLED, FLIGHT, RESULT, TOOLS

CALL = {"id": "call00000", "type": "function", "function": {"name": "find_flight", "arguments": {"to": "Lima"}}}
AFTER = {"id": "call00001", "type": "function", "function": {"name": "find_flight", "arguments": {"to": "Rom"}}}
USER = {"role": "user", "content": "tools"}
ANSWERED = [
    USER,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "LH 1", "tool_call_id": "call00000", "name": "find_flight"},
]
CALLS = {"role": "assistant", "content": "", "tool_calls": [AFTER]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two prompts, one with tools, whose best candidate calls one; the first shard may hold either."""
    case = ExportCase(
        answers={
            "tools": [("aya", '<call>{"to": "Rom"}', 2.0), ("qwen", "wrong", -2.0)],
            "plain": [("aya", "right", 1.0), ("qwen", "wrong", -1.0)],
        },
        languages={"plain": "ar"},
        num_shards=2,
        later={"tools": (CALLED, RESULT)},
        tools={"tools": TOOLS},
    )
    return make_run(tmp_path_factory.mktemp("runs") / "run", case)


def export(run: Path, out: Path, trainer: str, dataset: str, reasoning: str = "keep") -> ExportResult:
    [result] = export_run(run, trainer, [dataset], out, reasoning=reasoning)  # type: ignore[arg-type]
    return result


def rows_of(result: ExportResult) -> dict[str, dict[str, Any]]:
    rows = [dict(row) for row in load_dataset(str(result.path), split="train")]
    return {
        "tools" if "tools" in json.dumps([row.get("prompt"), row.get("messages")]) else "plain": row for row in rows
    }


def test_trl_sft_rows(run: Path, tmp_path: Path) -> None:
    rows = rows_of(export(run, tmp_path, "trl", "sft"))
    assert (rows["tools"]["prompt"], rows["tools"]["completion"]) == (ANSWERED, [CALLS])
    assert rows["tools"]["tools"] == [FLIGHT]
    assert (rows["plain"]["prompt"], rows["plain"]["completion"], rows["plain"]["tools"]) == (
        [{"role": "user", "content": "plain"}],
        [{"role": "assistant", "content": "right"}],
        [],
    )


def test_trl_pairs(run: Path, tmp_path: Path) -> None:
    rows = rows_of(export(run, tmp_path, "trl", "preference"))
    assert (rows["tools"]["prompt"], rows["tools"]["chosen"], rows["tools"]["tools"]) == (ANSWERED, [CALLS], [FLIGHT])
    assert rows["tools"]["rejected"] == [{"role": "assistant", "content": "wrong"}]


@pytest.mark.parametrize("trainer", ["axolotl", "open-instruct"])
def test_conversations(run: Path, tmp_path: Path, trainer: str) -> None:
    rows = rows_of(export(run, tmp_path, trainer, "sft"))
    assert (rows["tools"]["messages"], rows["tools"]["tools"]) == ([*ANSWERED, CALLS], [FLIGHT])
    assert (len(rows["plain"]["messages"]), rows["plain"]["tools"]) == (2, [])


def test_nemo_has_keys_where_they_belong(run: Path, tmp_path: Path) -> None:
    result = export(run, tmp_path, "nemo-rl", "sft")
    lines = [json.loads(line) for file in result.files for line in (result.path / file.path).read_text().splitlines()]
    rows = {row["messages"][0]["content"]: row for row in lines}
    assert (rows["tools"]["messages"], rows["tools"]["tools"]) == ([*ANSWERED, CALLS], [FLIGHT])
    assert rows["plain"]["messages"] == [
        {"role": "user", "content": "plain"},
        {"role": "assistant", "content": "right"},
    ]
    assert "use_preserving_dataset: true" in (result.path / "README.md").read_text()


@pytest.mark.parametrize("dataset", ["sft", "preference"])
def test_llamafactory_has_calls_as_turns(run: Path, tmp_path: Path, dataset: str) -> None:
    result = export(run, tmp_path, "llamafactory", dataset)
    row = rows_of(result)["tools"]
    turns = row["messages"] if dataset == "sft" else [*row["prompt"], row["chosen"]]
    assert [turn["role"] for turn in turns] == ["user", "function_call", "tool", "function_call"]
    assert all(turn.keys() == {"role", "content"} for turn in turns)
    assert json.loads(turns[1]["content"]) == [{"name": "find_flight", "arguments": {"to": "Lima"}}]
    assert json.loads(row["tools"]) == [FLIGHT["function"]]
    info = json.loads((result.path / "dataset_info.json").read_text())
    assert info[dataset]["columns"]["tools"] == "tools"
    assert rows_of(result)["plain"]["tools"] == ""


@pytest.mark.parametrize("trainer", ["axolotl", "open-instruct", "nemo-rl"])
def test_pairs_with_tools_are_skipped_where_the_trainer_reads_none(run: Path, tmp_path: Path, trainer: str) -> None:
    result = export(run, tmp_path, trainer, "preference")
    assert (result.num_rows, dict(result.skipped)) == (1, {"tools_not_read": 1})


def test_llamafactory_has_no_text_beside_calls(tmp_path: Path) -> None:
    case = ExportCase(
        answers={"tools": [("aya", 'Moment.<call>{"to": "Rom"}', 2.0)], "plain": [("aya", "right", 1.0)]},
        tools={"tools": TOOLS},
    )
    run = make_run(tmp_path / "run", case)
    result = export(run, tmp_path, "llamafactory", "sft")
    assert dict(result.skipped) == {"text_beside_calls": 1}


def test_candidates_have_columns(run: Path, tmp_path: Path) -> None:
    [result] = export_run(run, "trl", ["candidates"], tmp_path)
    rows = {
        (row["prompt"][0]["content"], row["teacher"]): row for row in load_dataset(str(result.path), split="train")
    }
    called = rows["tools", "aya"]
    assert called["tool_calls"] == [{"id": "call00001", "name": "find_flight", "arguments": '{"to": "Rom"}'}]
    assert (json.loads(called["tools"]), called["text"]) == ([FLIGHT], "")
    assert called["prompt"][1]["content"] == 'find_flight({"to": "Lima"})'
    assert rows["plain", "aya"]["tool_calls"] is None


@pytest.mark.parametrize("name", ["qwen3", "qwen3_6", "glm4moe", "llama3_1"])
def test_real_chat_templates_render_the_rows(run: Path, tmp_path: Path, name: str) -> None:
    template = (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text()
    tokenizer = build_tokenizer(template)
    for row in rows_of(export(run, tmp_path, "trl", "sft")).values():
        text = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tools=row["tools"], tokenize=False)
        is_called = bool(row["tools"])
        assert ("Rom" in text, "Lima" in text, "Finds flights." in text) == (is_called,) * 3
