"""Runs of which all rows, some or none have reasoning, and the chat templates of real models that read it."""

from collections.abc import Mapping
from pathlib import Path

import trl

from tests.support.export_runs import ExportCase

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
"""Chat templates as models have them."""

THOUGHT = "Zwei\nund zwei 🤔 </answer>"
"""Reasoning with what breaks careless writers."""


def reasoned_case(reasoning: Mapping[tuple[str, str], str]) -> ExportCase:
    """Three prompts in two languages; 'aya' wins the first two, 'qwen' the last. The first file has Arabic rows."""
    return ExportCase(
        answers={
            "one": [("aya", "right one", 2.0), ("qwen", "wrong one", -2.0)],
            "two": [("aya", "right two", 1.0), ("qwen", "wrong two", -1.0)],
            "three": [("aya", "wrong three", -1.0), ("qwen", "right three", 1.0)],
        },
        languages={"three": "ar"},
        reasoning=reasoning,
        num_shards=2,
    )


ALL = {(prompt, teacher): f"{THOUGHT} {prompt}" for prompt in ("one", "two", "three") for teacher in ("aya", "qwen")}
MIXED: Mapping[tuple[str, str], str] = {("one", "aya"): THOUGHT, ("two", "qwen"): "lost", ("three", "aya"): "  \n"}
"""The winner of 'one' has reasoning, and the loser of 'two'; white space is none."""

CASES: dict[str, Mapping[tuple[str, str], str]] = {"all": ALL, "mixed": MIXED, "none": {}}


def template(name: str) -> str:
    """Return the chat template of a real model, as TRL ships it."""
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
