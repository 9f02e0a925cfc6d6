"""Rows with tools in training: the student's chat template gets them, calls have no null keys."""

import json
from pathlib import Path

import pytest
import trl

from arbitrage.export.export import export_run
from arbitrage.training.mix import RowMixConfig
from arbitrage.training.reasoning import rule_for
from arbitrage.training.rows import load_rows
from tests.support.export_runs import ExportCase, make_run
from tests.support.tiny_model import build_tokenizer
from tests.support.tools import CALLED, FLIGHT, RESULT, TOOLS

TEMPLATES = Path(trl.__file__).parent / "chat_templates"


def test_exports_with_and_without_tools_are_read_together(tmp_path: Path) -> None:
    case = ExportCase(
        answers={"tools": [("aya", '<call>{"to": "Rom"}', 2.0)], "plain": [("aya", "right", 1.0)]},
        later={"tools": (CALLED, RESULT)},
        tools={"tools": TOOLS},
    )
    plain = ExportCase(answers={"other": [("aya", "right", 1.0)]})
    sources = []
    for name, each in {"tools": case, "plain": plain}.items():
        [result] = export_run(make_run(tmp_path / name, each), "trl", ["sft"], tmp_path / f"export-{name}")
        sources.append(result.path)
    read = load_rows(sources, "sft", RowMixConfig())
    assert read.notes == ()
    train = read.train
    rows = {row["prompt"][0]["content"]: row for row in train}
    assert {name: json.loads(row["tools"]) for name, row in rows.items()} == {
        "tools": [FLIGHT],
        "plain": [],
        "other": [],
    }
    called = rows["tools"]["completion"][0]["tool_calls"][0]
    assert called["function"] == {"name": "find_flight", "arguments": {"to": "Rom"}}
    assert rows["other"]["completion"] == [{"role": "assistant", "content": "right"}]
    tokenizer = build_tokenizer((TEMPLATES / "qwen3.jinja").read_text())
    for name, row in rows.items():
        turns = row["prompt"] + row["completion"]
        text = tokenizer.apply_chat_template(turns, tools=json.loads(row["tools"]), tokenize=False)
        assert ("Rom" in text) == ("Finds flights." in text) == (name == "tools")


@pytest.mark.parametrize(("name", "takes_tools"), [("qwen3", True), ("llama3_2", True), ("llama3", False)])
def test_a_template_that_ignores_tools_is_said(tmp_path: Path, name: str, takes_tools: bool) -> None:
    student = tmp_path / "student"
    build_tokenizer((TEMPLATES / f"{name}.jinja").read_text()).save_pretrained(student)
    rule = rule_for("drop", str(student), None, None, "test")
    case = ExportCase(
        answers={"tools": [("aya", "right", 2.0)], "b": [("aya", "right", 1.0)]}, tools={"tools": TOOLS}
    )
    [result] = export_run(make_run(tmp_path / "run", case), "trl", ["sft"], tmp_path / "export")
    notes = load_rows([result.path], "sft", RowMixConfig(), rule).notes
    said = [note for note in notes if note.startswith("the chat template ignores tools: 1 of 2 rows")]
    assert len(said) == (not takes_tools)
