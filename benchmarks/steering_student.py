"""Does a student inherit what data was steered to? Tiny students of the demo world, trained by TRL on three sets.

    python -m benchmarks.steering_student            ten minutes on two cores, offline
    python -m benchmarks.steering_student --render   the document again from docs/steering.json

The teachers of the world answer questions of its training split, three samples each. Of the same candidates come
three data sets on the same prompts: *steered* to the objective, *control* (one at random), and *unsteered* (the best
by the reward model). The student `commons` is trained on each, with several seeds of training and of chance, and then
asked held-out questions. What is compared are its own greedy answers: the property that was steered to, and whether
they are right. Intervals draw whole facts (all wordings and translations of one are one), each the mean over seeds.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml

from arbitrage.demo.models import MODELS_FOLDER
from arbitrage.demo.tasks import LANGUAGES, DemoItem, sample_items
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import NoProgress
from arbitrage.execution.run import execute
from arbitrage.export.export import export_run
from arbitrage.statistics import estimate, ratios, resample_ratios
from arbitrage.steering.objectives import Objective
from arbitrage.text.exact_match import is_correct
from arbitrage.text.text import Text
from arbitrage.training.settings import TrainConfig
from arbitrage.training.train import train
from benchmarks.measuring import say
from benchmarks.steering_document import render, store
from pipelines.loading import load_pipeline
from tools.demo_models.answering import answer_questions, load_teacher, load_tokenizer

STUDENT = "commons"
DATA_SETS = ("steered", "control", "unsteered")
OBJECTIVES: Mapping[str, dict[str, Any]] = {
    "length": {"metric": {"kind": "length", "unit": "characters"}, "toward": "up"},
    "script": {"metric": {"kind": "script_share"}, "toward": "up"},
}
NEXT_TO_NOTHING = 1e-9
"""The weight of an objective that leaves the choice to the reward, and to chance among equals."""

BOUND = 0.05
"""Of exact accuracy that steering may cost, against the control; stated before the first student was trained."""

SEED_OF_INTERVALS = 7
Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is asked and trained.

    Attributes:
        per_language: prompts of each language that teachers answer.
        asked: held-out questions of each language that students answer.
        epochs: over the data set.
        seeds: of training, and of the lots that chance draws.
    """

    per_language: int = 100
    asked: int = 50
    epochs: int = 2
    seeds: int = 3


def write_pipeline(work: Path, size: Size, objective: Mapping[str, Any], seed: int) -> Path:
    """Write a run over the world; whatever the objective and the seed, the candidates are the same."""
    pipeline: Found = {
        "kind": "steering",
        "name": "student",
        "prompts": {"kind": "demo", "split": "train", "per_language": size.per_language},
        "teachers": "demo:teachers.yaml",
        "pool": ["iberia", "steppe", "monsoon", "pacific", "commons", "albion"],
        "router": {"kind": "all"},
        "sampling": {"n": 3, "temperature": 1.0, "top_p": 0.95},
        "rewards": [
            {"kind": "classifier", "name": "referee", "model": "demo:referee", "threads": 1, "batch_size": 256}
        ],
        "checks": [{"kind": "emptiness"}, {"kind": "truncation"}],
        "steering": {"objectives": [objective], "seed": seed},
        "pairs": None,
        "num_shards": 2,
    }
    path = work / "pipeline.yaml"
    path.write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    return path


def make_data(work: Path, size: Size, objective: Mapping[str, Any], seed: int) -> Path:
    """Run the pipeline in the common run directory and export what it selects."""
    loaded = load_pipeline(write_pipeline(work, size, objective, seed))
    execute(loaded.request(work / "run"), LocalBackend(), NoProgress())
    out = work / "data" / f"{objective['metric']['kind']}-{objective.get('weight', 1.0)}-{seed}"
    export_run(work / "run", "trl", ["steered", "control"], out)
    return out


def train_student(data: Path, out: Path, seed: int, size: Size) -> Path:
    """Train the student on one data set."""
    arguments = {
        "num_train_epochs": size.epochs,
        "per_device_train_batch_size": 32,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 20,
        "max_length": 128,
        "save_strategy": "no",
        "seed": seed,
    }
    config = TrainConfig(method="sft", model=f"demo:{STUDENT}", data=(str(data),), out=str(out), arguments=arguments)
    return train(config).path


def ask(student: Path, items: Sequence[DemoItem]) -> list[str]:
    """Return the student's greedy answers."""
    return answer_questions(load_teacher(student), load_tokenizer(student), [item.question for item in items])


def judge(items: Sequence[DemoItem], answers: Sequence[str], objective: Mapping[str, Any]) -> list[list[float]]:
    """Return for each answer the value steered to (NaN where there is none), and 1 where it is right."""
    metric = Objective.model_validate(objective).metric.build()
    texts = [Text(answer, item.language) for item, answer in zip(items, answers, strict=True)]
    values = [found.value for found in metric.measure(texts)]
    right = [is_correct(item.language, answer, item.answer) for item, answer in zip(items, answers, strict=True)]
    return [[float("nan") if v is None else v, float(r)] for v, r in zip(values, right, strict=True)]


def compare(items: Sequence[DemoItem], judged: Mapping[str, np.ndarray]) -> Found:
    """Return means and differences of the students' answers.

    Args:
        items: the P questions.
        judged: data set → seeds × P × (value, right); NaN where an answer has no value.
    """
    clusters = np.unique([item.instance for item in items], return_inverse=True)[1].astype(np.int64)
    found: Found = {}
    for column, what in enumerate(("value", "right")):
        means_P = {name: mean_of_seeds(values[:, :, column]) for name, values in judged.items()}
        found[what] = {name: float(np.nanmean(means)) for name, means in means_P.items()}
        found[f"{what}_by_seed"] = {
            name: [float(np.nanmean(one)) for one in values[:, :, column]] for name, values in judged.items()
        }
        for other in DATA_SETS[1:]:
            found[f"{what}_steered_minus_{other}"] = difference(means_P["steered"] - means_P[other], clusters)
    return found


def mean_of_seeds(values_SP: np.ndarray) -> np.ndarray:
    """Return the mean of each question over the seeds in which its answer has a value; NaN where there is none."""
    num_P = (~np.isnan(values_SP)).sum(axis=0)
    return np.where(num_P > 0, np.nansum(values_SP, axis=0) / np.maximum(num_P, 1), np.nan)


def difference(values_P: np.ndarray, clusters_P: np.ndarray) -> list[float | None]:
    """Return a mean and its 95 % interval over clusters; questions without a value are left out."""
    present = ~np.isnan(values_P)
    totals, weights = np.where(present, values_P, 0.0)[:, None], present.astype(float)[:, None]
    draws = resample_ratios(totals, weights, clusters_P, seed=SEED_OF_INTERVALS)
    found = estimate(float(ratios(totals, weights)[0]), draws[:, 0], len(np.unique(clusters_P[present])))
    assert found is not None
    return [found.value, *((found.interval.low, found.interval.high) if found.interval else (None, None))]


def measure(objectives: Sequence[str], size: Size, work: Path) -> Found:
    """Make the data, train all students, ask them, and compare."""
    items = sample_items("heldout", LANGUAGES, size.asked, seed=0)
    before = ask(MODELS_FOLDER / STUDENT, items)
    unsteered = make_data(work, size, OBJECTIVES["length"] | {"weight": NEXT_TO_NOTHING}, 0) / "steered"
    plain = [
        ask(train_student(unsteered, work / f"unsteered-{seed}", seed, size), items) for seed in range(size.seeds)
    ]
    found: Found = {}
    for name in objectives:
        objective = OBJECTIVES[name]
        said: dict[str, list[list[str]]] = {"steered": [], "control": [], "unsteered": plain}
        for seed in range(size.seeds):
            data = make_data(work, size, objective, seed)
            for which in ("steered", "control"):
                student = train_student(data / which, work / f"{name}-{which}-{seed}", seed, size)
                said[which].append(ask(student, items))
                say(f"{name} {which} {seed}: right {right_share(items, said[which][-1]):.3f}")
        judged = {which: np.array([judge(items, each, objective) for each in said[which]]) for which in DATA_SETS}
        start = np.nanmean(np.array(judge(items, before, objective)), axis=0)
        found[name] = compare(items, judged) | {
            "label": Objective.model_validate(objective).label,
            "untrained": {"value": float(start[0]), "right": float(start[1])},
        }
    return found


def right_share(items: Sequence[DemoItem], answers: Sequence[str]) -> float:
    """Return the share of right answers."""
    return fmean(is_correct(item.language, said, item.answer) for item, said in zip(items, answers, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=["length"])
    for name, default in (("per-language", 100), ("asked", 50), ("epochs", 2), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--work", type=Path, help="where runs and students are kept; a stopped run resumes")
    parser.add_argument("--render", action="store_true", help="write the document from what was measured before")
    options = parser.parse_args()
    if not options.render:
        size = Size(options.per_language, options.asked, options.epochs, options.seeds)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            work = (options.work or Path(scratch)).absolute()
            work.mkdir(parents=True, exist_ok=True)
            found = measure(options.objectives, size, work)
        result = {"objectives": found, "seconds": round(time.perf_counter() - started), "bound": BOUND}
        result |= {name: getattr(size, name) for name in ("per_language", "asked", "epochs", "seeds")}
        store("student", result)
        print(json.dumps({"benchmark": "steering_student"} | result))
    render()


if __name__ == "__main__":
    main()
