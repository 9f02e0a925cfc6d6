"""Which strategy's data makes the better student, in the micro-world? Writes docs/results.{json,md} and a picture.

A student that has read a little of every language is made first, so that a lesson of seconds shows; then
`pipelines/compare_strategies.yaml` runs: everybody is asked, each strategy takes its rows, the student learns from each.

    python -m benchmarks.arbitrage_table             everything: `make arbitrage-table`; go on after a kill by the same
    python -m benchmarks.arbitrage_table --render    the documents again from the run
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from arbitrage.report.students import figures_from
from arbitrage.report.students_picture import students_picture
from arbitrage.report.students_text import students_markdown
from arbitrage.world.tasks import items, stable_hash
from benchmarks.harness import CLI, ROOT, environment

PIPELINE = ROOT / "pipelines/compare_strategies.yaml"
DOCUMENT, RESULTS, PICTURE = (ROOT / "docs" / name for name in ("results.md", "results.json", "results-students.svg"))
START_MARK, END_MARK = "<!-- students: written by benchmarks/arbitrage_table.py -->", "<!-- end of students -->"
KEY = "students"
"""Where the figures stand in docs/results.json, beside those of others."""

LANGUAGES = ("en", "es", "ru", "hi", "ja", "th", "sw")
SCHOOLING_STEPS = 300
SCHOOLING_SHARE = 0.5
"""Of the training facts of each language, chosen by content hash."""


def school(folder: Path) -> Path:
    """Teach the micro-world's novice a little of every language, and return where it lies; made once."""
    if (folder / "config.json").exists():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from arbitrage.world.models import STUDENT, model_path
    from arbitrage.world.training import Schedule, answer_loss, encode_example, fit

    torch.set_num_threads(1)  # the order of float sums depends on it
    tokenizer = AutoTokenizer.from_pretrained(model_path(STUDENT))
    model = AutoModelForCausalLM.from_pretrained(model_path(STUDENT), dtype=torch.float32)
    taught = [
        [encode_example(tokenizer, item.question, item.answer)]
        for language in LANGUAGES
        for item in items("train", language)
        if stable_hash("school", language, item.instance) / 2**64 < SCHOOLING_SHARE
    ]
    fit(model, taught, Schedule(SCHOOLING_STEPS, seed=11), answer_loss, "school")
    beside = folder.with_name(f"{folder.name}-unfinished")
    model.save_pretrained(beside)
    tokenizer.save_pretrained(beside)
    beside.rename(folder)
    return folder


def measure(run_dir: Path, start: Path) -> float:
    """Run the pipeline to its end; return the seconds this call took."""
    started = time.monotonic()
    command = [*CLI, "run", str(PIPELINE), "--local", "--run-dir", str(run_dir), "--set", f"student.model={start}"]
    subprocess.run(command, check=True, env=environment())
    return time.monotonic() - started


def render(run_dir: Path, seconds: float | None) -> None:
    """Write the figures, the tables between their marks, and the picture."""
    figures = figures_from((run_dir / "students.json").read_bytes())
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    before = results.get(KEY, {}).get("seconds")
    results[KEY] = {"seconds": before if seconds is None else round(seconds, 1), **json.loads(figures.to_json())}
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PICTURE.write_text(students_picture(figures), encoding="utf-8")
    text = DOCUMENT.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(START_MARK)}.*?{re.escape(END_MARK)}", re.DOTALL)
    if not pattern.search(text):
        sys.exit(f"{DOCUMENT}: has no place for the table ({START_MARK} … {END_MARK})")
    tables = f"{START_MARK}\n\n{students_markdown(figures)}\n{END_MARK}"
    DOCUMENT.write_text(pattern.sub(lambda _: tables, text), encoding="utf-8")


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arbitrage_table", description=__doc__)
    parser.add_argument("--run-dir", type=Path, default=ROOT / "runs/arbitrage-table", help="where the run lies")
    parser.add_argument("--render", action="store_true", help="only write the documents again")
    given = parser.parse_args()
    run_dir: Path = given.run_dir.absolute()
    seconds = None
    if not given.render:
        started = time.monotonic()
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        start = school(run_dir.with_name(f"{run_dir.name}-start"))
        seconds = time.monotonic() - started + measure(run_dir, start)
    render(run_dir, seconds)


if __name__ == "__main__":
    main()
