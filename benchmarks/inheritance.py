"""What six real models' answers carry, and what steering makes of them; writes the figures of docs/steering.md.

    python -m benchmarks.inheritance --data ../shared/data     two minutes on two cores
    python -m benchmarks.inheritance --render                  the document again from docs/steering.json

DIR holds `mtbench_multilingual/`: the questions of MT-bench, and what six models answered to them in six languages.
Nothing is generated: the answers are replayed, each model is a teacher, and steering chooses among their six answers
to a question. No reward model of prose is at hand, so quality is what checks can tell: no repetition, no refusal, and
where it is not the objective itself, the right language.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from arbitrage.candidates.table import CandidateTable
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import NoProgress
from arbitrage.execution.run import execute
from arbitrage.inputs.columns import ProfileColumns
from arbitrage.profile.entries import EntryBuilder
from arbitrage.profile.profile import CellKey, profile_data
from arbitrage.profile.reading import ProfileReader
from arbitrage.profile.settings import ProfileSettings
from arbitrage.profile.summary import summarise
from arbitrage.report.steering import SteeringShift, SteeringSummary, steering_of
from arbitrage.report.steering_reading import CHECK
from arbitrage.runs.run import open_run
from arbitrage.statistics import Estimate
from benchmarks.measuring import say
from benchmarks.steering_document import render, store
from pipelines.loading import load_pipeline

ANSWERS = "mtbench_multilingual/model_answers_6models.parquet"
QUESTIONS = "mtbench_multilingual/mtbench_vicuna_rakuda.parquet"
PROFILED = ("words", "mtld", "lists", "language_confusion", "code_switch")

OBJECTIVES: Mapping[str, dict[str, Any]] = {
    "diversity": {"metric": {"kind": "mtld"}, "toward": "up"},
    "length": {"metric": {"kind": "length", "unit": "words"}, "toward": "up"},
    "language_confusion": {"metric": {"kind": "language_confusion"}, "toward": "up"},
}
Found = dict[str, Any]


def profile(data: Path) -> Found:
    """Profile the answers by language and model: means of a few metrics."""
    reader = ProfileReader([str(data / ANSWERS)], EntryBuilder(ProfileColumns(), turns="all"))
    found = profile_data("answers", reader, ProfileSettings(), num_processes=2)
    cells = {cell.key: cell for cell in summarise(found)}
    return {
        "texts": found.num_texts,
        "languages": sorted(found.languages),
        "teachers": list(found.teachers),
        "means": {
            metric: {
                teacher: {
                    language: cells[CellKey(language=language, teacher=teacher)].figures[metric].mean
                    for language in found.languages
                }
                for teacher in found.teachers
            }
            for metric in PROFILED
        },
    }


def steer(data: Path, objective: str, work: Path) -> Found:
    """Steer the answers to one objective and sum up what moved."""
    pipeline = write_pipeline(data, objective, work)
    loaded = load_pipeline(pipeline)
    execute(loaded.request(work / "run"), LocalBackend(), NoProgress())
    run = open_run(work / "run")
    summary = steering_of(CandidateTable.of(run))
    assert summary is not None
    return as_json(summary)


def write_pipeline(data: Path, objective: str, work: Path) -> Path:
    """Write questions, pool and pipeline: one teacher for each model, its answers replayed."""
    answered = pq.read_table(data / ANSWERS, columns=["lang", "qid", "model"]).to_pylist()
    rows = list(questions(data, {(row["lang"], row["qid"]) for row in answered}))
    (work / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    engine = {
        "kind": "replay",
        "paths": str(data / ANSWERS),
        "match": "source_id",
        "columns": {"key": "qid", "language": "lang", "text": "turns"},
    }
    languages = sorted({row["language"] for row in rows})
    teachers = [
        {"name": slug(model), "languages": languages, "engine": engine | {"where": {"model": model}}}
        for model in sorted({row["model"] for row in answered})
    ]
    (work / "teachers.yaml").write_text(yaml.safe_dump({"teachers": teachers}), encoding="utf-8")
    if objective == "language_confusion":  # what is steered to is neither quality nor a filter
        ensemble: Found = {
            "weights": {"repetition": 1.0, "refusal": 1.0},
            "filters": ["emptiness"],
            "missing": "skip",
        }
    else:
        ensemble = {"weights": {"repetition": 1.0, "refusal": 1.0, "language-confusion": 1.0}, "missing": "skip"}
    pipeline = {
        "kind": "steering",
        "name": objective,
        "prompts": {"kind": "jsonl", "paths": str(work / "questions.jsonl")},
        "teachers": str(work / "teachers.yaml"),
        "router": {"kind": "all"},
        "sampling": {"n": 1},
        "checks": [{"kind": kind} for kind in ("emptiness", "repetition", "refusal", "language_confusion")],
        "ensemble": ensemble,
        "steering": {"objectives": [OBJECTIVES[objective]]},
        "num_shards": 2,
    }
    path = work / "pipeline.yaml"
    path.write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    return path


def questions(data: Path, answered: set[tuple[str, int]]) -> Iterator[Found]:
    """Yield the questions of MT-bench that were answered."""
    for row in pq.read_table(data / QUESTIONS).to_pylist():
        source = "mt_bench_stability_ja" if row["lang"] == "ja" else "mt_bench_lightblue"
        if row["source"] == source and (row["lang"], row["qid"]) in answered:
            yield {"prompt": row["turns"][0], "language": row["lang"], "id": str(row["qid"])}


def slug(model: str) -> str:
    """Return the name of a teacher for a model."""
    return model.rpartition("__")[2].lower().replace("_", "-")


def as_json(summary: SteeringSummary) -> Found:
    """Return aggregate figures alone."""
    [aim] = summary.aims
    return {
        "label": aim.label,
        "prompts": summary.num_cases,
        "shifts": {shift.language or "all": figures(shift) for shift in aim.shifts},
        "reward": {shift.language or "all": figures(shift) for shift in summary.cost},
        "others": {s.metric: figures(s) for s in summary.others if not s.metric.startswith(CHECK) and s.effect},
    }


def figures(shift: SteeringShift) -> Found:
    """Return means, the difference to the control, and the same in deviations."""
    means = {name: value(getattr(shift, name)) for name in ("before", "control", "steered")}
    return {"num": shift.num, **means, "difference": interval(shift.difference), "effect": interval(shift.effect)}


def value(found: Estimate | None) -> float | None:
    """Return an estimate without its interval."""
    return None if found is None else found.value


def interval(found: Estimate | None) -> Sequence[float | None] | None:
    """Return value, low and high."""
    if found is None:
        return None
    return [found.value, *((found.interval.low, found.interval.high) if found.interval else (None, None))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="directory of the data sets")
    parser.add_argument("--render", action="store_true", help="write the document from what was measured before")
    options = parser.parse_args()
    if not options.render:
        if options.data is None or not (options.data / ANSWERS).is_file():
            parser.error(f"--data: a directory that holds {ANSWERS}")
        found: Found = {"profile": profile(options.data), "steering": {}}
        for objective in OBJECTIVES:
            with tempfile.TemporaryDirectory() as directory:
                found["steering"][objective] = steer(options.data.absolute(), objective, Path(directory))
            say(f"{objective}: {found['steering'][objective]['shifts']['all']}")
        store("real", found)
        print(json.dumps({"benchmark": "inheritance"} | found, ensure_ascii=False))
    render()


if __name__ == "__main__":
    main()
