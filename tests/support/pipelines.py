"""Small pipeline files with fake teachers, for tests of whole runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import NoProgress, Progress
from arbitrage.execution.run import Backend, execute
from arbitrage.runs.manifest import Manifest
from pipelines.loading import load_pipeline

QUESTIONS = {
    "en": "Which of these three rivers is the longest one, and number {n} on the list?",
    "de": "Welcher dieser drei Flüsse ist der längste, und Nummer {n} auf der Liste?",
    "ru": "Какая из этих трёх рек самая длинная, и номер {n} в этом списке?",
    "ar": "أي من هذه الأنهار الثلاثة هو الأطول، والرقم {n} في القائمة؟",
    "hi": "इन तीन नदियों में से कौन सी सबसे लंबी है, और सूची में संख्या {n}?",
    "th": "แม่น้ำสามสายนี้สายใดยาวที่สุด และเป็นหมายเลข {n} ในรายการ",
}


def write_prompts(path: Path, per_language: int = 8) -> Path:
    """Write questions in six languages as JSONL."""
    rows = [
        {"id": f"{language}-{n}", "prompt": text.format(n=n), "language": language}
        for language, text in QUESTIONS.items()
        for n in range(per_language)
    ]
    path.write_text("\n".join(_json(row) for row in rows) + "\n", encoding="utf-8")
    return path


def write_pool(path: Path, **engines: dict[str, Any]) -> Path:
    """Write a pool of fake teachers, one for each keyword: its engine's options."""
    teachers = [
        {
            "name": name,
            "languages": list(QUESTIONS),
            "engine": {"kind": "fake"} | options,
            "licence": "Apache-2.0",
        }
        for name, options in engines.items()
    ]
    path.write_text(yaml.safe_dump({"teachers": teachers}), encoding="utf-8")
    return path


def write_pipeline(directory: Path, **changes: Any) -> Path:
    """Write a preference pipeline over fake teachers and a fake reward; `changes` replace top-level keys."""
    prompts = write_prompts(directory / "prompts.jsonl")
    pool = write_pool(directory / "teachers.yaml", ant={}, bee={"truncated": 0.2}, cow={"wrong_language": 0.5})
    config: dict[str, Any] = {
        "kind": "preference",
        "name": "small",
        "prompts": {
            "kind": "jsonl",
            "paths": str(prompts),
            "columns": {"prompt": "prompt", "language": "language", "id": "id"},
        },
        "teachers": str(pool),
        "router": {"kind": "all"},
        "compare": [{"kind": "uniform"}],
        "sampling": {"n": 2},
        "rewards": [{"kind": "fake", "name": "taste", "language_bias": {"ar": 3.0}}],
        "checks": [{"kind": "emptiness"}, {"kind": "truncation"}, {"kind": "language_confusion"}],
        "num_shards": 3,
    }
    path = directory / "pipeline.yaml"
    path.write_text(yaml.safe_dump(config | changes, allow_unicode=True), encoding="utf-8")
    return path


def steering_pipeline(directory: Path, **changes: Any) -> Path:
    """Write a steering pipeline over three fake teachers, in six languages and three shards."""
    config: dict[str, Any] = {
        "kind": "steering",
        "compare": [],
        "steering": {
            "objectives": [
                {"metric": {"kind": "length", "unit": "characters"}, "toward": "up", "weight": 3.0},
                {"metric": {"kind": "length", "unit": "words"}, "floor": 2.0},
            ],
        },
        "quotas": {"default": 6, "languages": {"ru": 3, "en": 50}},
    }
    return write_pipeline(directory, **(config | changes))


def run_file(
    path: Path,
    directory: Path,
    backend: Backend | None = None,
    shards: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Run a pipeline file without export and report."""
    return execute(
        load_pipeline(path).request(directory, shards), backend or LocalBackend(), progress or NoProgress()
    )


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)
