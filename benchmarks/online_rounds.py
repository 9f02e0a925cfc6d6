"""Does a student get better by online rounds, and does the reward it is trained on tell the truth?

A generalist of the demo world is trained on data of the pool: supervised, by offline pairs, and by three online
rounds against a reward model (`pipelines/online.yaml`). After each phase the exact checker, which no phase
ever asks, judges it on held-out questions. Writes docs/online.json, docs/online.svg and its part of docs/results.md.

    python -m benchmarks.online_rounds                         everything: two seeds at a time, a core each
    python -m benchmarks.online_rounds --seeds 2 --work DIR    one seed, kept in DIR; a finished seed is found there
    python -m benchmarks.online_rounds --render                the document again from the JSON
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from arbitrage.runs.run import open_run
from arbitrage.statistics import Estimate
from arbitrage.training.monitor.curves import OVERALL, Check, read_checks
from benchmarks.harness import CLI, ROOT, environment
from benchmarks.online_document import RESULTS, render
from pipelines.online.alarm import hacking_alarms
from pipelines.online.config import load_online
from pipelines.online.evaluation import EVALUATION_FOLDER, EvalScores, read_evaluation
from pipelines.online.record import RECORD_FILE, OnlineRecord, read_online

PIPELINE = ROOT / "pipelines/online.yaml"
SEEDS = (1, 2, 3)
GOES_ON = ("monitor.early_stop=false", "evaluation.early_stop=false")
"""Alarms are told, and end nothing: all seeds are to have all rounds."""

Found = dict[str, Any]


@dataclass(frozen=True)
class Student:
    """All stages of one seed.

    Attributes:
        record: as it was written.
        scores: stage → judge → scores.
        checks: of the monitor, all languages together, over all preference phases.
    """

    record: OnlineRecord
    scores: dict[str, dict[str, EvalScores]]
    checks: list[Check]


def make_data(work: Path) -> None:
    """Ask the teachers once for all seeds; what is done stays done."""
    file = work / "data.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["data"]), encoding="utf-8")
    _call("run", str(file), "--run-dir", str(work / "data"), "--local", threads=2)


def train_seed(work: Path, threads: int, seed: int) -> Student:
    """Train one student through all rounds, or find it trained."""
    out = work / f"seed-{seed}"
    if not (out / RECORD_FILE).exists() or len(read_online(out / RECORD_FILE).stages) < _num_stages():
        sets = [f"seed={seed}", f"data_run={work / 'data'}", *GOES_ON]
        options = [option for value in sets for option in ("--set", value)]
        _call("online", str(PIPELINE), "--run-dir", str(out), *options, threads=threads)
    return read_student(out)


def read_student(out: Path) -> Student:
    """Read what a finished training left."""
    record = read_online(out / RECORD_FILE)
    scores: dict[str, dict[str, EvalScores]] = {}
    for stage in record.stages[1:]:
        run = open_run(out / stage.name / EVALUATION_FOLDER / "run")
        evaluation = read_evaluation(run, (*record.rewards, *record.judges))
        scores.setdefault(record.stages[0].name, dict(evaluation.first))
        scores[stage.name] = dict(evaluation.student)
    checks = [check for check in read_checks(out / "monitor.jsonl") if check.language == OVERALL]
    return Student(record, scores, checks)


def summarise(students: Sequence[Student]) -> Found:
    """Return what docs/online.json holds of the students of all seeds: the stages that all of them have reached."""
    first = min((student.record for student in students), key=lambda record: len(record.stages))
    names = [stage.name for stage in first.stages]
    return {
        "seeds": [student.record.config["seed"] for student in students],
        "rewards": first.rewards,
        "judges": first.judges,
        "config": _portable(first.config),
        "stages": [_stage(students, place, names) for place in range(len(names))],
        "alarms": [list(student.record.alarms) for student in students],
        "alarms_over_seeds": _hacking_over_seeds(students, names),
        "checks": [[asdict(check) for check in student.checks] for student in students],
    }


def _stage(students: Sequence[Student], place: int, names: Sequence[str]) -> Found:
    name, first, before = names[place], names[0], names[max(0, place - 1)]
    judges = (*students[0].record.rewards, *students[0].record.judges)
    steps = [sum(stage.num_steps for stage in s.record.stages[1 : place + 1]) for s in students]
    found: Found = {
        "name": name,
        "rows": [student.record.stages[place].num_rows for student in students],
        "steps": steps,
        "monitor": [_check_at(student.checks, step) for student, step in zip(students, steps, strict=True)],
    }
    for judge in judges:
        by_stage = {each: over_seeds([s.scores[each][judge] for s in students]) for each in {name, first, before}}
        found[judge] = {
            "mean": _estimate(by_stage[name].mean),
            "since_first": _estimate(by_stage[name].against(by_stage[first]).mean),
            "since_before": _estimate(by_stage[name].against(by_stage[before]).mean),
            "by_seed": [mean.value for s in students if (mean := s.scores[name][judge].mean)],
            "prompts": len(by_stage[name].by_prompt),
        }
    return found


def _hacking_over_seeds(students: Sequence[Student], names: Sequence[str]) -> list[str]:
    """Return what the evaluation's alarm says of scores averaged over seeds: more power than one seed has."""
    rewards, judges = students[0].record.rewards, students[0].record.judges
    scores = {
        name: {judge: over_seeds([s.scores[name][judge] for s in students]) for judge in (*rewards, *judges)}
        for name in names
    }
    heard = [dict(list(scores.items())[:end]) for end in range(2, len(scores) + 1)]
    return [alarm.sentence for some in heard for alarm in hacking_alarms(some, rewards, judges)]


def over_seeds(scores: Sequence[EvalScores]) -> EvalScores:
    """Return each prompt's mean score over seeds: what the interval then leaves out is the choice of the seeds."""
    shared = set.intersection(*(set(each.by_prompt) for each in scores))
    return EvalScores({prompt: fmean(m.by_prompt[prompt] for m in scores) for prompt in shared}, scores[0].clusters)


def _portable(config: Found) -> Found:
    """Return the config without places of the machine that measured; files of the project relative to its root."""
    data = dict(config["data"])
    data["teachers"] = str(Path(data["teachers"]).relative_to(ROOT))
    return {name: value for name, value in config.items() if name != "data_run"} | {"data": data}


def _check_at(checks: Sequence[Check], step: int) -> Found | None:
    return next((asdict(check) for check in checks if check.step == step), None)


def _estimate(found: Estimate | None) -> list[float | None] | None:
    if found is None:
        return None
    ends = (found.interval.low, found.interval.high) if found.interval else (None, None)
    return [found.value, *ends]


def _num_stages() -> int:
    config = load_online(PIPELINE)
    return 1 + (config.dpo is not None) + config.rounds.number


def _call(*arguments: str, threads: int) -> None:
    child = environment(OMP_NUM_THREADS=str(threads))
    subprocess.run([*CLI, *arguments], check=True, env=child, stdout=subprocess.DEVNULL)


def main() -> None:
    """Parse the command line, train, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.online_rounds", description=__doc__)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="with commas between")
    parser.add_argument("--work", type=Path, help="a folder to keep runs and students in")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time")
    parser.add_argument("--render", action="store_true", help="only write the document again")
    given = parser.parse_args()
    if not given.render:
        started, is_fresh = time.perf_counter(), given.work is None
        with tempfile.TemporaryDirectory() as temporary:
            work = (given.work or Path(temporary)).absolute()
            work.mkdir(parents=True, exist_ok=True)
            make_data(work)
            with ThreadPoolExecutor(given.jobs) as pool:
                seeds = [int(seed) for seed in given.seeds.split(",")]
                students = list(pool.map(partial(train_seed, work, max(1, 2 // given.jobs)), seeds))
        seconds = round(time.perf_counter() - started) if is_fresh else None  # what was found done took no time
        RESULTS.write_text(json.dumps(summarise(students) | {"seconds": seconds}, indent=1) + "\n", encoding="utf-8")
    render()


if __name__ == "__main__":
    main()
