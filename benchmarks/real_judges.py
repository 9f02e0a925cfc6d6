"""What real small models make of the prompts for judges and reviewers: how much can be read, and what it says.

    python -m tools.real_models                                   once: builds the models into a cache
    python -m benchmarks.real_judges --data ../shared/data        about 20 minutes on two cores
    python -m benchmarks.real_judges --render                     the table again from the JSON

Side A answers the first turn of questions of MT-bench in five languages; side B, another model, answers another
question in the same language: A is the better one of each pair. Two small models judge the pairs, and both review
each answer as a committee. The models are far too small to judge well; that is the point: what they garble must be
counted and said, not taken for a verdict. `--as NAME` stores the figures beside those of other versions.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from scipy.stats import binomtest

from arbitrage.contracts.workers import Inputs
from arbitrage.judging.reviewed import reviewed
from arbitrage.records import Candidate, Score, Verdict
from arbitrage.report.run_alarms import run_alarms
from arbitrage.runs.run import Run, open_run
from arbitrage.tables import from_table

ROOT = Path(__file__).parent.parent
DOCUMENT, RESULTS = ROOT / "docs/judging.md", ROOT / "docs/real_judges.json"
LANGUAGES = ("en", "de", "fr", "ru", "zh")
SIDES = {"gpt-3.5": "gpt-3.5-turbo", "starling": "Nexusflow__Starling-LM-7B-beta"}
MEMBERS = ("qwen2.5-coder-0.5b", "smollm2-135m")
LONGEST_ANSWER = 400  # characters: a small model reads little, and slowly
FORMS = ("if answer 1 is better", "<the number of the better answer")
Found = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--per-language", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--as", dest="label", default="now")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--models", type=Path, help="directory of the models; by default the cache of tools.real_models"
    )
    parser.add_argument("--keep", type=Path, help="work here and keep the runs")
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    if not options.render:
        found = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
        with tempfile.TemporaryDirectory() as folder:
            directory = options.keep or Path(folder)
            directory.mkdir(parents=True, exist_ok=True)
            found[options.label] = measure(directory, options)
        options.out.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(found[options.label], ensure_ascii=False))
    if options.out == RESULTS:
        render(json.loads(RESULTS.read_text(encoding="utf-8")))


def _models(given: Path | None) -> dict[str, Path]:
    if given is None:
        from tools.real_models import cache_directory

        given = cache_directory()
    found = {name: given / name for name in MEMBERS}
    if missing := [name for name, path in found.items() if not (path / "config.json").is_file()]:
        raise SystemExit(f"{missing[0]} is not there; build it: python -m tools.real_models")
    return found


def measure(directory: Path, options: argparse.Namespace) -> Found:
    """Judge and review; return what could be read."""
    write_data(directory, options.data, options.per_language)
    write_pool(directory, _models(options.models), options.threads)
    judges = [option for name in MEMBERS for option in ("--judge", f"judge-{name}.yaml")]
    _arbitrage(
        directory, "judge", "a.jsonl", "b.jsonl", *judges, "--teachers", "teachers.yaml",
        "--json", "judged.json", "--run-dir", str(directory / "judged"),
    )  # fmt: skip
    _arbitrage(directory, "run", "pipeline.yaml", "--local", "--run-dir", str(directory / "reviewed"), "--json")
    return figures_of(directory)


def figures_of(directory: Path) -> Found:
    """Return the figures of both runs."""
    judge, reviews = open_run(directory / "judged"), open_run(directory / "reviewed")
    return {
        "judges": {name: judged(judge, name) | {"alarms": _alarms_of_judge(directory, name)} for name in MEMBERS},
        "reviewers": {
            name: found | {"alarms": _alarms_of_run(reviews, f"reviewer {name}")}
            for name, found in reviews_of(reviews).items()
        },
        "committee": committee_of(reviews) | {"alarms": _alarms_of_run(reviews, "")},
    }


def write_data(directory: Path, data: Path, per_language: int) -> None:
    """Write prompts and the two sides' answers, where both are short: those of B belong to the next question."""
    table = pq.read_table(data / "mtbench_multilingual/model_answers_6models.parquet")
    answers: dict[tuple[str, int, str], str] = {}
    for row in table.to_pylist():
        answers[row["lang"], row["qid"], row["model"]] = row["turns"][0].strip()
    prompts = []
    for row in pq.read_table(data / "mtbench_multilingual/mtbench_vicuna_rakuda.parquet").to_pylist():
        texts = [answers.get((row["lang"], row["qid"], model), "") for model in SIDES.values()]
        is_short = all(0 < len(text) <= LONGEST_ANSWER for text in texts)
        if row["source"] == "mt_bench_lightblue" and row["lang"] in LANGUAGES and is_short:
            prompts.append(row)
    found = [[p for p in prompts if p["lang"] == tag][:per_language] for tag in LANGUAGES]
    kept = [row for rows in found for row in rows]
    others = [rows[(place + 1) % len(rows)] for rows in found for place in range(len(rows))]
    for side, model, answered in zip("ab", SIDES.values(), (kept, others), strict=True):
        texts = [answers[row["lang"], row["qid"], model] for row in answered]
        _write(
            directory / f"{side}.jsonl", [_row(row) | {"answer": text} for row, text in zip(kept, texts, strict=True)]
        )
    _write(directory / "prompts.jsonl", [_row(row) for row in kept])


def _row(row: Mapping[str, Any]) -> Found:
    return {"id": f"{row['lang']}-{row['qid']}", "language": row["lang"], "prompt": row["turns"][0]}


def _write(path: Path, rows: Sequence[Found]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_pool(directory: Path, models: Mapping[str, Path], threads: int) -> None:
    """Write the pool, the judge and the pipeline."""
    engine = {"kind": "transformers", "threads": threads, "batch_size": 32}
    local = [
        {"name": name, "model": str(path), "family": name, "engine": engine, "precision": "bf16",
         "languages": list(LANGUAGES)}
        for name, path in models.items()
    ]  # fmt: skip
    recorded = [
        {"name": name, "family": name, "languages": list(LANGUAGES), "engine": {
            "kind": "replay", "paths": str(directory / f"{side}.jsonl"), "match": "source_id",
            "columns": {"key": "id", "text": "answer"}}}
        for side, name in zip("ab", SIDES, strict=True)
    ]  # fmt: skip
    (directory / "teachers.yaml").write_text(yaml.safe_dump({"teachers": [*local, *recorded]}))
    for name in MEMBERS:
        judge = {"kind": "teacher", "teacher": name, "max_tokens": 80}
        (directory / f"judge-{name}.yaml").write_text(yaml.safe_dump(judge))
    pipeline = {
        "kind": "sft", "name": "reviewed", "teachers": str(directory / "teachers.yaml"), "pool": list(SIDES),
        "prompts": {"kind": "jsonl", "paths": str(directory / "prompts.jsonl"),
                    "columns": {"prompt": "prompt", "language": "language", "id": "id"}},
        "router": {"kind": "all"}, "sampling": {"n": 1}, "num_shards": 1, "max_rejected": 1.0, "export": [],
        "committee": {"reviewers": list(MEMBERS), "max_spread": None, "accept": None, "max_tokens": 80},
    }  # fmt: skip
    (directory / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))


def _arbitrage(directory: Path, *arguments: str) -> None:
    command = [sys.executable, "-c", "from arbitrage.cli.main import main; main()", *arguments]
    done = subprocess.run(command, cwd=directory, check=False, capture_output=True, text=True)
    (directory / f"{arguments[0]}.out").write_text(done.stdout)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-2000:]}")


def judged(run: Run, judge: str) -> Found:
    """Count replies that could be read, and what they say; A is the better side of each match."""
    found = [row for table in run.tables(f"verdicts-{judge}") for row in from_table(table, Verdict)]
    rows = [row for row in found if row.how != "identical"]
    said = [choice for row in rows for choice in (row.a_first, row.b_first)]
    return {
        "replies": 2 * len(rows),
        "readable": sum(choice is not None for choice in said),
        "errors": dict(Counter(error.partition(":")[2] for row in rows for error in row.errors).most_common()),
        "said": dict(Counter(position for row in rows for position in _positions(row)).most_common()),
        "how": dict(Counter(row.how for row in rows).most_common()),
        "matches": len(rows),
        "better": sum(row.winner == "a" for row in rows),
        "worse": sum(row.winner == "b" for row in rows),
        "echoes": _echoes(run, f"judge-{judge}"),
    }


def _echoes(run: Run, *steps: str) -> int:
    """Count replies that repeat the form they were shown, an old one or the present one."""
    texts = [text for step in steps for table in run.tables(step) for text in table["text"].to_pylist()]
    return sum(any(form in text.casefold() for form in FORMS) for text in texts)


def _positions(row: Verdict) -> Iterator[str]:
    """Yield what each readable reply prefers: the answer that stood first or second in it, or neither."""
    for choice, first in ((row.a_first, "a"), (row.b_first, "b")):
        if choice is not None:
            yield "tie" if choice == "tie" else "first" if choice == first else "second"


def reviews_of(run: Run) -> Found:
    """Count, for each reviewer, reviews that could be read and the different scores among them."""
    given: dict[str, dict[tuple[str, str], float]] = {name: {} for name in MEMBERS}
    errors: dict[str, Counter[str]] = {name: Counter() for name in MEMBERS}
    for inputs in _reviewed_shards(run):
        for each in reviewed(inputs):
            for found in each.reviews:
                if found.score is None:
                    errors[found.reviewer][str(found.error)] += 1
                else:
                    given[found.reviewer][each.item.prompt.prompt_id, each.item.candidate.teacher] = found.score
    reviews = [step for step in run.plan.steps if step.facts.verb == "review"]
    return {
        name: {
            "replies": len(given[name]) + errors[name].total(),
            "readable": len(given[name]),
            "errors": dict(errors[name].most_common()),
            "echoes": _echoes(run, *(step.name for step in reviews if step.facts.scorer == name)),
            "said": {f"{score:g}": count for score, count in Counter(given[name].values()).most_common()},
            **_agreement(given[name]),
        }
        for name in MEMBERS
    }


def committee_of(run: Run) -> Found:
    """Count the committee's scores, and how often the better answer has the higher one."""
    steps = [f"score-committee-{side}" for side in SIDES]
    rows = [row for step in steps for table in run.tables(step) for row in from_table(table, Score)]
    teachers = {
        row.candidate_id: row.teacher
        for side in SIDES
        for table in run.tables(f"generate-{side}")
        for row in from_table(table, Candidate)
    }
    given = {(row.prompt_id, teachers[row.candidate_id]): row.value for row in rows if row.value is not None}
    return {
        "replies": len(rows),
        "readable": len(given),
        "errors": dict(Counter(str(row.error) for row in rows if row.value is None).most_common()),
        "said": {f"{score:.3g}": count for score, count in Counter(given.values()).most_common()},
        **_agreement(given),
    }


def _agreement(given: Mapping[tuple[str, str], float]) -> Found:
    """Count pairs in which the better answer, A's, has the higher and the lower score."""
    a, b = SIDES
    pairs = [(given[prompt, a], given[prompt, b]) for prompt, side in given if side == a and (prompt, b) in given]
    return {
        "matches": len(pairs),
        "better": sum(one > other for one, other in pairs),
        "worse": sum(one < other for one, other in pairs),
    }


def _reviewed_shards(run: Run) -> Iterator[Inputs]:
    for step in run.plan.steps:
        if step.facts.verb == "score":
            for shard in run.shards(step.name):
                sharded = {role: names for role, names in step.inputs.items() if role != "levels"}
                yield Inputs(
                    {role: tuple(run.shard(name, shard) for name in names) for role, names in sharded.items()}
                )


def _alarms_of_judge(directory: Path, judge: str) -> list[str]:
    path = directory / "judged.json"
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    return [alarm["kind"] for alarm in found.get("alarms", ()) if judge in alarm["what"]]


def _alarms_of_run(run: Run, who: str) -> list[str]:
    """Return the alarms about one reviewer, or those about none."""
    return [alarm.kind for alarm in run_alarms(run) if (who in alarm.what if who else "reviewer " not in alarm.what)]


def render(found: Mapping[str, Found]) -> None:
    """Write the table into the document."""
    from benchmarks.documents import between

    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(between(text, "real models", "benchmarks/real_judges.py", table_of(found)), encoding="utf-8")


def table_of(found: Mapping[str, Found]) -> str:
    """Return the figures as Markdown."""
    sizes = {label: next(iter(figures["judges"].values()))["matches"] for label, figures in found.items()}
    lines = [
        f"Pairs of answers: {', '.join(f'{label} {size}' for label, size in sizes.items())}; languages: "
        f"{', '.join(LANGUAGES)}. Intervals are Wilson's, 95 %.",
        "",
        "| version | who | replies | taken for a verdict | repeat the form | what they say | pairs | "
        "the better answer wins | loses | alarms |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for label, figures in found.items():
        lines += [_line(label, f"judge {name}", each) for name, each in figures["judges"].items()]
        lines += [_line(label, f"reviewer {name}", each) for name, each in figures["reviewers"].items()]
        lines.append(_line(label, "committee of both", figures["committee"]))
    return "\n".join(lines) + "\n"


def _share(number: int, total: int) -> str:
    """Return a number with its share's interval: '5 (38 % [18, 64])'."""
    if not total:
        return "–"
    interval = binomtest(number, total).proportion_ci(method="wilson")
    return f"{number} ({number / total:.0%} [{100 * interval.low:.0f}, {100 * interval.high:.0f}])"


def _line(label: str, who: str, found: Found) -> str:
    readable = f"{found['readable']} ({found['readable'] / max(found['replies'], 1):.0%})"
    said = ", ".join(f"{value}: {count}" for value, count in list(found["said"].items())[:6])
    more = len(found["said"]) - 6
    names = ", ".join(dict.fromkeys(found["alarms"])) or "none"
    cells = (
        label, who, found["replies"], readable, found.get("echoes", "–"),
        f"{said}, {more} more values" if more > 0 else said or "–",
        found["matches"], _share(found["better"], found["matches"]), _share(found["worse"], found["matches"]), names,
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
