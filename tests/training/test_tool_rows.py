"""Rows with tools in training: the student's chat template gets them, calls have no null keys."""

import json
from pathlib import Path

import trl

from arbitrage.export.export import export_run
from arbitrage.training.mix import RowMixConfig
from arbitrage.training.rows import load_rows
from tests.support.export_runs import ExportCase, make_run
from tests.support.tiny_model import build_tokenizer
from tests.support.tools import CALLED, FLIGHT, RESULT, TOOLS


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
    train = load_rows(sources, "sft", RowMixConfig()).train
    rows = {row["prompt"][0]["content"]: row for row in train}
    assert {name: json.loads(row["tools"]) for name, row in rows.items()} == {
        "tools": [FLIGHT],
        "plain": [],
        "other": [],
    }
    called = rows["tools"]["completion"][0]["tool_calls"][0]
    assert called["function"] == {"name": "find_flight", "arguments": {"to": "Rom"}}
    assert rows["other"]["completion"] == [{"role": "assistant", "content": "right"}]
    tokenizer = build_tokenizer((Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text())
    for name, row in rows.items():
        turns = row["prompt"] + row["completion"]
        text = tokenizer.apply_chat_template(turns, tools=json.loads(row["tools"]), tokenize=False)
        assert ("Rom" in text) == ("Finds flights." in text) == (name == "tools")
