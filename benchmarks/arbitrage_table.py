"""Which strategy's data makes the better student, in the demo world? Writes docs/results.{json,md} and a picture.

`pipelines/compare_strategies.yaml` runs: every teacher is sampled, each strategy takes its rows, and the same student
learns from each, with several seeds.

    python -m benchmarks.arbitrage_table             everything: `make arbitrage-table`; run it again after a kill
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
from arbitrage.report.students_view import students_markdown, students_picture
from benchmarks.harness import CLI, ROOT, environment

PIPELINE = ROOT / "pipelines/compare_strategies.yaml"
DOCUMENT, RESULTS, PICTURE = (ROOT / "docs" / name for name in ("results.md", "results.json", "results-students.svg"))
START_MARK, END_MARK = "<!-- students: written by benchmarks/arbitrage_table.py -->", "<!-- end of students -->"
KEY = "students"
"""Where the figures stand in docs/results.json, beside those of others."""


def measure(run_dir: Path) -> float:
    """Run the pipeline to its end; return the seconds this call took."""
    started = time.monotonic()
    command = [*CLI, "run", str(PIPELINE), "--local", "--run-dir", str(run_dir)]
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
    parser.add_argument("--run-dir", type=Path, default=ROOT / "runs/arbitrage-table", help="run directory")
    parser.add_argument("--render", action="store_true", help="only write the documents again")
    given = parser.parse_args()
    run_dir: Path = given.run_dir.absolute()
    render(run_dir, None if given.render else measure(run_dir))


if __name__ == "__main__":
    main()
