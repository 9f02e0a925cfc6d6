"""Seeded bit flips over every kind of file of a run: found, harmless, or used without a word.

    python -m benchmarks.bit_flips                 100 flips: some minutes
    python -m benchmarks.bit_flips --flips 12 --seed 7

A small run is made, and another of the same is killed half-way, so that it has journals. For each flip a copy is
made, one bit of one file is turned, and then `status`, `report`, `show`, `export` and `run` go over it; of an export,
what training does before it reads one.

  found          a command fails and names the file, or the run says that it sets it aside or drops lines of it
  harmless       nobody says anything; the exported files, the report's figures and all shards are as they were
  used_silently  nobody says anything, and they are not
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arbitrage.cli.status import _look
from arbitrage.errors import ArbitrageError
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import NoProgress
from arbitrage.execution.run import execute
from arbitrage.export.export import export_run
from arbitrage.export.verification import require_sound
from arbitrage.report.page import build_report
from arbitrage.runs.crash import VARIABLE
from arbitrage.runs.run import open_run
from benchmarks.harness import environment, run_process, scratch, write_prompts, write_run
from benchmarks.measuring import emit, parser, say
from pipelines.loading import load_pipeline

NUM_SHARDS = 3
KINDS = {
    "shard": "*/shard-*.parquet",
    "rejects": "*/_rejects/*.parquet",
    "stats": "*/_stats/*.json",
    "manifest": "manifest.json",
    "plan": "run.json",
    "notes": "notes.json",
    "journal": "*/_journal/*/*.jsonl",
    "export": "export/*/**/*.*",
}

Outcome = Literal["found", "harmless", "used_silently"]


@dataclass(frozen=True)
class Case:
    """The runs that copies are made of."""

    pipeline: Path
    finished: Path
    killed: Path

    @property
    def figures(self) -> str:
        """What the untouched run gives."""
        return figures(self.finished, self.finished.parent / "export-untouched")


class Heard(NoProgress):
    """Remembers whether a run said that something is damaged."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def make_case(directory: Path, num_prompts: int = 60) -> Case:
    """Make a finished run with rejects, notes and an export, and one that was killed while it asked."""
    prompts = write_prompts(directory / "prompts.jsonl", num_prompts, {5: "poison"})
    with prompts.open("a", encoding="utf-8") as file:
        file.write('{"id": "empty", "prompt": "", "language": "en"}\n')
    engine = {"kind": "fake", "poison": "poison"}
    pipeline = write_run(directory, 0, engine, NUM_SHARDS, export=["trl"], sampling={"n": 2, "max_tokens": 64})
    command = [sys.executable, "-m", "arbitrage.cli.main", "run", str(pipeline), "--local", "--run-dir"]
    run_process([*command, str(directory / "finished")])
    crash = environment(**{VARIABLE: "journal.append:50"})
    killed = subprocess.run([*command, str(directory / "killed")], env=crash, capture_output=True, check=False)
    if killed.returncode == 0:
        raise SystemExit("the run that was to be killed has ended")
    return Case(pipeline, directory / "finished", directory / "killed")


def flip(case: Case, kind: str, seed: int, copy: Path) -> Outcome:
    """Turn one bit of one file of a kind in a copy of the run; return what became of it."""
    shutil.copytree(case.killed if kind == "journal" else case.finished, copy)
    try:
        lot = random.Random(f"{seed}/{kind}")
        files = [path for path in sorted(copy.glob(KINDS[kind])) if path.is_file() and path.name != "README.md"]
        path = lot.choice(files)
        data = bytearray(path.read_bytes())
        position = lot.randrange(len(data))
        data[position] ^= 1 << lot.randrange(8)
        path.write_bytes(data)
        outcome = _outcome(case, kind, path, copy)
        if outcome == "used_silently":
            say(f"used silently: {path.relative_to(copy)} byte {position} (seed {seed})")
        return outcome
    finally:
        shutil.rmtree(copy)
        shutil.rmtree(copy.with_name(f"{copy.name}-export"), ignore_errors=True)


def _outcome(case: Case, kind: str, path: Path, copy: Path) -> Outcome:
    if kind == "export":
        export = next(parent for parent in path.parents if parent.parent.name == "export")
        return (
            "found" if _fails(lambda: require_sound(export)) else _compared(case.finished / "export", copy / "export")
        )
    target = copy.with_name(f"{copy.name}-export")
    was_found = False
    if kind != "journal":
        was_found |= _fails(lambda: _look(copy))
        was_found |= _fails(lambda: build_report(copy))
        was_found |= _fails(lambda: read_rejects_of(copy))
        was_found |= _fails(lambda: export_run(copy, "trl", out=target))
    heard = Heard()
    was_found |= _fails(lambda: rerun(case.pipeline, copy, heard)) or bool(heard.notes)
    if _fails(lambda: (build_report(copy), read_rejects_of(copy))):  # not mended by the run: found again, each time
        return "found"
    is_same = figures(copy, target) == case.figures and shards(copy) == shards(case.finished)
    if not is_same:
        return "used_silently"
    return "found" if was_found else "harmless"


def rerun(pipeline: Path, run_dir: Path, heard: Heard) -> None:
    """Do the run again, as `arbitrage run` would, without its engine's check."""
    request = load_pipeline(pipeline, []).request(run_dir, range(NUM_SHARDS), 0)
    execute(request, LocalBackend(), heard)


def read_rejects_of(run_dir: Path) -> int:
    """Read all rejects, as `arbitrage show --rejects` does."""
    run = open_run(run_dir)
    return sum(table.num_rows for step in run.plan.steps for table in run.rejects(step.name))


def figures(run_dir: Path, target: Path) -> str:
    """Return what comes out of a run: the digests of its exported rows, and the report's figures."""
    shutil.rmtree(target, ignore_errors=True)
    exported = [file.sha256 for result in export_run(run_dir, "trl", out=target) for file in result.files]
    summary = json.loads(build_report(run_dir).summary.to_json())
    return json.dumps([exported, _timeless(summary)], sort_keys=True)


def _timeless(value: object) -> object:
    """Leave out what differs from run to run: times, paths and names of the machine."""
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if not any(part in k for part in _OF_THE_RUN)}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


_OF_THE_RUN = (
    "seconds",
    "started",
    "finished",
    "path",
    "wall",
    "reused",
    "replayed",
    "per_second",
    "engines",
    "run_dir",
    "name",
)


def shards(run_dir: Path) -> dict[str, str]:
    """Return path → digest of every shard and reject file."""
    files = [path for pattern in ("shard", "rejects") for path in sorted(run_dir.glob(KINDS[pattern]))]
    there = [path for path in files if "_damaged" not in path.parts]
    return {str(p.relative_to(run_dir)): hashlib.sha256(p.read_bytes()).hexdigest() for p in there}


def _compared(one: Path, other: Path) -> Outcome:
    def rows(root: Path) -> dict[str, bytes]:
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.glob("*/data/**/*")) if p.is_file()}

    return "harmless" if rows(one) == rows(other) else "used_silently"


def _fails(action: Callable[[], object]) -> bool:
    try:
        action()
    except ArbitrageError:
        return True
    return False


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--flips", type=int, default=100)
    parse.add_argument("--seed", type=int, default=1)
    options = parse.parse_args()
    os.environ.pop(VARIABLE, None)
    found: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    with scratch() as directory:
        case = make_case(directory)
        for number in range(options.flips):
            kind = list(KINDS)[number % len(KINDS)]
            outcome = flip(case, kind, options.seed + number, directory / f"copy-{number}")
            found[kind][outcome] += 1
            say(f"{number} {kind}: {outcome}")
    total: Counter[str] = Counter()
    for each in found.values():
        total.update(each)
    outcomes = ("found", "harmless", "used_silently")
    emit(
        "bit_flips",
        {
            "flips": options.flips,
            "seed": options.seed,
            **{outcome: total[outcome] for outcome in outcomes},
            "by_kind": {kind: {outcome: each[outcome] for outcome in outcomes} for kind, each in found.items()},
        },
    )


if __name__ == "__main__":
    main()
