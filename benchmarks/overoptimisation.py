"""Does the monitor sound where preference training goes too far, and keep quiet where it does not?

The demo world's generalist is trained by DPO on pairs of its quickstart: for a few epochs, for much
too long, much too fast, and for too long with early stopping. Every student then answers held-out questions that are
in no pair, and the exact checker says what became of it. Writes the table and the pictures of docs/training.md.

    python -m benchmarks.overoptimisation                     everything: about a quarter of an hour on two cores
    python -m benchmarks.overoptimisation --only good,fast    some of the trainings
    python -m benchmarks.overoptimisation --render            the document again from the JSON
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from arbitrage.demo.models import MODELS_FOLDER
from arbitrage.demo.tasks import LANGUAGES, DemoItem, sample_items
from arbitrage.runs.run import open_run
from arbitrage.text.exact_match import is_correct
from arbitrage.training.checkpoints import checkpoints, step_of
from arbitrage.training.monitor.curves import CURVES_FILE, OVERALL, Check, read_checks
from arbitrage.training.monitor.picture import PICTURE_FILE
from arbitrage.training.monitor.settings import MonitorConfig
from arbitrage.training.settings import TrainConfig
from arbitrage.training.train import train
from benchmarks.harness import CLI, ROOT, environment
from tools.demo_models.answering import answer_questions, load_teacher, load_tokenizer

RESULTS = ROOT / "docs/training.json"
DOCUMENT = ROOT / "docs/training.md"
START = "commons"
SEEDS = (1, 2, 3)
PER_LANGUAGE = 60
"""Questions of each language that judge a student."""

Found = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """One way to train.

    Attributes:
        is_healthy: whether the monitor should keep quiet.
        picture: shows the curves of the first seed.
    """

    what: str
    arguments: Mapping[str, Any]
    every: int
    is_healthy: bool = False
    early_stop: bool = False
    picture: bool = False


SHARED = {"per_device_train_batch_size": 16, "save_strategy": "no"}
LONG = Training("15 epochs", {"learning_rate": 1e-4, "beta": 0.1, "num_train_epochs": 15}, every=11)
TRAININGS = {
    "good": Training(
        "3 epochs",
        {"learning_rate": 1e-4, "beta": 0.1, "num_train_epochs": 3},
        every=3,
        is_healthy=True,
        picture=True,
    ),
    "long": LONG,
    "stopped": replace(LONG, what="15 epochs, early stop", early_stop=True),
    "fast": Training(
        "6 epochs, 3 × the rate, β ÷ 2",
        {"learning_rate": 3e-4, "beta": 0.05, "num_train_epochs": 6},
        every=6,
        picture=True,
    ),
}


@dataclass
class Data:
    """What all trainings share: pairs, and questions that are in none of them."""

    folder: Path
    questions: list[DemoItem] = field(default_factory=list)

    @property
    def pairs(self) -> str:
        """The export, with a `test` split that the monitor watches."""
        return str(self.folder / "preference")


def make_data(folder: Path) -> Data:
    """Run the quickstart once, export its pairs, and find questions it did not ask."""
    run = folder / "run"
    for command in (
        ("quickstart", "--local", "--run-dir", str(run)),
        ("export", str(run), "--dataset", "preference", "--test-fraction", "0.3", "--out", str(folder)),
    ):
        subprocess.run([*CLI, *command], check=True, env=environment(), stdout=subprocess.DEVNULL)
    opened = open_run(run)
    asked = {
        row["messages"][-1]["content"]
        for shard in opened.plan.shards
        for row in opened.shard("prompts", shard).to_pylist()
    }
    unasked = [item for item in sample_items("heldout", LANGUAGES, 10_000, seed=0) if item.question not in asked]
    questions = [one for tag in LANGUAGES for one in [i for i in unasked if i.language == tag][:PER_LANGUAGE]]
    return Data(folder, questions)


def measure(name: str, data: Data) -> list[Found]:
    """Train with each seed; return what the monitor said and how the student answers."""
    found = []
    for seed in SEEDS:
        started = time.perf_counter()
        out = data.folder / f"{name}-{seed}"
        student = train(_config(TRAININGS[name], data, out, seed))
        checks = [check for check in read_checks(out / CURVES_FILE) if check.language == OVERALL]
        overall = [alarm for alarm in student.record.alarms if f", {OVERALL}:" in alarm]
        found.append(
            {
                "seed": seed,
                "steps": student.record.num_steps,
                "alarms": list(student.record.alarms),
                "alarms_overall": overall,
                "first": asdict(checks[0]),
                "last": asdict(checks[-1]),
                "exact": accuracy(student.path, data.questions),
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
        print(json.dumps({"training": name} | found[-1]), flush=True)
        if TRAININGS[name].picture and seed == SEEDS[0]:
            shutil.copy(out / PICTURE_FILE, ROOT / f"docs/training-{name}.svg")
    return found


def course(data: Data) -> list[Found]:
    """Train for long once more, keep every checkpoint, and return what each knows beside what the monitor saw."""
    out, kept = data.folder / "course", {"save_strategy": "steps", "save_steps": LONG.every, "save_total_limit": None}
    train(_config(replace(LONG, arguments={**LONG.arguments, **kept}), data, out, SEEDS[0]))
    places = {step: path for path in checkpoints(out) if (step := step_of(path))} | {0: (MODELS_FOLDER / START)}
    return [
        {"step": check.step, "entropy": check.entropy, "mass": check.mass, "margin": check.margin}
        | {"exact": accuracy(places[check.step], data.questions)}
        for check in read_checks(out / CURVES_FILE)
        if check.language == OVERALL and check.step in places
    ]


def accuracy(model: Path, questions: Sequence[DemoItem]) -> float:
    """Return the share of questions that a model answers exactly, greedily."""
    answers = answer_questions(load_teacher(model), load_tokenizer(model), [item.question for item in questions])
    right = [is_correct(item.language, answer, item.answer) for item, answer in zip(questions, answers, strict=True)]
    return sum(right) / len(right)


def _config(training: Training, data: Data, out: Path, seed: int) -> TrainConfig:
    return TrainConfig(
        method="dpo",
        model=f"demo:{START}",
        data=(data.pairs,),
        out=str(out),
        arguments={**SHARED, **training.arguments, "seed": seed},
        monitor=MonitorConfig(
            probe=(data.pairs,),
            every=training.every,
            per_language=16,
            batch_size=64,
            max_new_tokens=24,
            early_stop=training.early_stop,
        ),
    )


def render(results: Found) -> None:
    """Write the table of docs/training.md between its marks."""
    start, end = "<!-- monitor: written by benchmarks/overoptimisation.py -->", "<!-- end of monitor -->"
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    DOCUMENT.write_text(f"{before}{start}\n\n{table(results)}\n{end}{after}", encoding="utf-8")


def table(results: Found) -> str:
    """Return a line for each training: means over seeds, and how often the monitor sounded."""
    lines = [
        f"| training of `{START}` (DPO) | steps | alarm for all languages | chosen / rejected, nats | top-10 entropy "
        "| top-10 mass | exact answers |",
        "|---|---|---|---|---|---|---|",
        _untrained(results),
    ]
    for name, training in TRAININGS.items():
        if name in results["trainings"]:
            lines.append(_line(training, results["trainings"][name]))
    seeds = ", ".join(map(str, SEEDS))
    course = [
        f"{p['step']}: {p['exact']:.1%} ({p['mass']:.3f}, {p['margin']:.1f})" for p in results.get("course", ())
    ]
    way = f"15 epochs with seed {SEEDS[0]}, step: exact answers (mass, margin): {'; '.join(course)}."
    note = f"Means over the seeds {seeds}; {results['questions']:,} questions that are in no pair."
    return "\n".join([*lines, "", note, *(["", way] if course else [])]) + "\n"


def _untrained(results: Found) -> str:
    first = Check(**next(iter(results["trainings"].values()))[0]["first"])
    return (
        f"| none | 0 | – | {first.chosen:.1f} / {first.rejected:.1f} | {first.entropy:.2f} | {first.mass:.3f} "
        f"| {results['untrained']:.1%} |"
    )


def _line(training: Training, runs: Sequence[Found]) -> str:
    def mean(curve: str) -> float:
        return sum(run["last"][curve] for run in runs) / len(runs)

    sounded = sum(bool(run["alarms_overall"]) for run in runs)
    steps = sorted({run["steps"] for run in runs})
    exact = sum(run["exact"] for run in runs) / len(runs)
    return (
        f"| {training.what} | {', '.join(map(str, steps))} | in {sounded} of {len(runs)} | {mean('chosen'):.1f} / "
        f"{mean('rejected'):.1f} | {mean('entropy'):.2f} | {mean('mass'):.3f} | {exact:.1%} |"
    )


def failures(results: Found) -> list[str]:
    """Return where the monitor sounded in a healthy training, or kept quiet in one that goes too far."""
    return [
        f"{name}, seed {run['seed']}: {'an alarm' if run['alarms_overall'] else 'no alarm'}"
        for name, runs in results["trainings"].items()
        for run in runs
        if bool(run["alarms_overall"]) == TRAININGS[name].is_healthy
    ]


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overoptimisation", description=__doc__)
    parser.add_argument("--only", help=f"names out of {', '.join(TRAININGS)}, course; commas between")
    parser.add_argument("--data", type=Path, help="a folder to keep the data in, for another call to use")
    parser.add_argument("--render", action="store_true", help="only write the document again")
    given = parser.parse_args()
    results: Found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"trainings": {}}
    if not given.render:
        import torch

        torch.set_num_threads(1)  # the order of float sums depends on it
        with tempfile.TemporaryDirectory() as temporary:
            data = make_data(given.data or Path(temporary))
            results |= {
                "questions": len(data.questions),
                "untrained": accuracy(MODELS_FOLDER / START, data.questions),
            }
            for name in given.only.split(",") if given.only else [*TRAININGS, "course"]:
                if name == "course":
                    results["course"] = course(data)
                else:
                    results["trainings"][name] = measure(name, data)
                RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    render(results)
    for failure in failures(results):
        print(f"not as it should be: {failure}")


if __name__ == "__main__":
    main()
