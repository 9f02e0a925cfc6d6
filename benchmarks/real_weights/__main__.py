"""Run three small public models over questions with known answers, and print who is right.

python -m tools.real_models                     once: builds the models into a cache
python -m benchmarks.real_weights               four to six minutes on two cores
python -m benchmarks.real_weights --models DIR --out DIR
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from arbitrage.records import Candidate, Prompt, Record, Score, base_name
from arbitrage.runs.run import Run, open_run
from arbitrage.tables import from_table
from benchmarks.harness import CLI
from benchmarks.real_weights.prompts import LANGUAGES, prompts
from tools.real_models import MODELS, cache_directory, find

R = TypeVar("R", bound=Record)

HERE = Path(__file__).parent
CACHE = "~/.cache/arbitrage/models"  # where teachers.yaml has them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=cache_directory(), help="directory of the models")
    parser.add_argument("--out", type=Path, default=Path("runs/real-weights"), help="run directory")
    options = parser.parse_args()
    if missing := [model.name for model in MODELS if find(model.name, options.models) is None]:
        raise SystemExit(f"{missing[0]} is not in {options.models}; build it: python -m tools.real_models")
    inputs = options.out.with_name(f"{options.out.name}-inputs")
    write_inputs(inputs, options.models.absolute())
    started = time.monotonic()
    command = [*CLI, "run", str(inputs / "run.yaml"), "--local", "--run-dir", str(options.out)]
    ended = subprocess.run(command)
    if ended.returncode:
        sys.exit(ended.returncode)
    print(f"\n{time.monotonic() - started:.0f} s in all, with start-up and report: {options.out / 'report.html'}\n")
    run = open_run(options.out)
    print(accuracy_table(run))
    print()
    print(token_table(run))


def write_inputs(into: Path, models: Path) -> None:
    """Write the run's files: the pipeline, the pool with the models' directory, the template, the prompts."""
    into.mkdir(parents=True, exist_ok=True)
    for name in ("run.yaml", "few_shot.jinja"):
        (into / name).write_text((HERE / name).read_text(encoding="utf-8"), encoding="utf-8")
    pool = (HERE / "teachers.yaml").read_text(encoding="utf-8")
    (into / "teachers.yaml").write_text(pool.replace(CACHE, str(models)), encoding="utf-8")
    rows = (json.dumps(row, ensure_ascii=False) + "\n" for row in prompts())
    (into / "prompts.jsonl").write_text("".join(rows), encoding="utf-8")


def accuracy_table(run: Run) -> str:
    """Return the share of right answers of each teacher at temperature 0 by language and task, as Markdown."""
    prompt_of = {prompt.prompt_id: prompt for prompt in _records(run, "prompts", Prompt)}
    right: Counter[tuple[str, str]] = Counter()
    asked: Counter[tuple[str, str]] = Counter()
    for teacher in _teachers(run):
        candidates = {c.candidate_id: c for c in _records(run, f"generate-{teacher}", Candidate)}
        for score in _records(run, f"check-{teacher}", Score):
            candidate = candidates[score.candidate_id]
            if base_name(score.reward) == "exact" and candidate.sample_index == 0:  # the greedy one
                prompt = prompt_of[candidate.prompt_id]
                for group in (prompt.language, str(prompt.task), "all"):
                    asked[teacher, group] += 1
                    right[teacher, group] += score.value == 1
    groups = [*LANGUAGES, "sum", "country", "all"]
    rows = [[name, *(f"{right[name, g] / asked[name, g]:.0%}" for g in groups)] for name in _teachers(run)]
    return _markdown(["right answers", *groups], rows)


def token_table(run: Run) -> str:
    """Return the tokens of each teacher, as Markdown."""
    steps = [step for step in run.manifest.steps if step.name.startswith("generate-")]
    rows = [[s.name.removeprefix("generate-"), f"{s.prompt_tokens:,}", f"{s.completion_tokens:,}"] for s in steps]
    return _markdown(["teacher", "prompt tokens", "completion tokens"], rows)


def _teachers(run: Run) -> list[str]:
    return [step.name.removeprefix("generate-") for step in run.plan.steps if step.name.startswith("generate-")]


def _records(run: Run, step: str, record: type[R]) -> list[R]:
    return [row for table in run.tables(step) for row in from_table(table, record)]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
