"""What real small models make of the prompts for judges and reviewers: how much can be read, and what it says.

    python -m tools.real_models                                   once: builds the models into a cache
    python -m benchmarks.real_judges --data ../shared/data        about ten minutes on two cores
    python -m benchmarks.real_judges --render                     the table again from the JSON

Two recorded models answer the first turn of questions of MT-bench in five languages. One small model judges them
pairwise, and two review each answer as a committee. The models are far too small to judge well; that is the point:
what they garble must be counted and said, not taken for a verdict. `--as before` stores the figures beside those of
an earlier version, run with that version on PYTHONPATH.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from arbitrage.contracts.workers import Inputs
from arbitrage.records import Verdict
from arbitrage.shards.run import Run, open_run
from arbitrage.tables import from_table

ROOT = Path(__file__).parent.parent
DOCUMENT, RESULTS = ROOT / "docs/judging.md", ROOT / "docs/real_judges.json"
LANGUAGES = ("en", "de", "fr", "ru", "zh")
SIDES = {"gpt-3.5": "gpt-3.5-turbo", "starling": "Nexusflow__Starling-LM-7B-beta"}
JUDGE, MEMBERS = "qwen2.5-coder-0.5b", ("qwen2.5-coder-0.5b", "smollm2-135m")
LONGEST_ANSWER = 400  # characters: a small model reads little, and slowly
FORMS = ("if answer 1 is better", "<the number of the better answer")
Found = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--per-language", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--as", dest="label", default="now")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--models", type=Path, help="where the models lie; by default the cache of tools.real_models")
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
    judge = directory / "judged"
    _arbitrage(
        directory, "judge", "a.jsonl", "b.jsonl", "--judge", "judge.yaml", "--teachers", "teachers.yaml",
        "--json", "judged.json", "--run-dir", str(judge),
    )  # fmt: skip
    _arbitrage(directory, "run", "pipeline.yaml", "--local", "--run-dir", str(directory / "reviewed"), "--json")
    return {
        "judge": judged(open_run(judge)) | {"alarms": _alarms_of_judge(directory)},
        "reviewers": reviews_of(open_run(directory / "reviewed")),
        "alarms": _alarms_of_run(directory),
    }


def write_data(directory: Path, data: Path, per_language: int) -> None:
    """Write prompts, and the two sides' answers to them, where both are short."""
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
    kept = [row for tag in LANGUAGES for row in [p for p in prompts if p["lang"] == tag][:per_language]]
    for side, model in zip("ab", SIDES.values(), strict=True):
        rows = [_row(row) | {"answer": answers[row["lang"], row["qid"], model]} for row in kept]
        _write(directory / f"{side}.jsonl", rows)
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
    (directory / "judge.yaml").write_text(yaml.safe_dump({"kind": "teacher", "teacher": JUDGE, "max_tokens": 80}))
    pipeline = {
        "kind": "sft", "name": "reviewed", "teachers": str(directory / "teachers.yaml"), "pool": list(SIDES),
        "prompts": {"kind": "jsonl", "paths": str(directory / "prompts.jsonl"),
                    "columns": {"prompt": "prompt", "language": "language", "id": "id"}},
        "router": {"kind": "reward"}, "sampling": {"n": 1}, "num_shards": 1, "max_rejected": 1.0, "export": [],
        "committee": {"reviewers": list(MEMBERS), "max_spread": None, "accept": None, "max_tokens": 80},
    }  # fmt: skip
    (directory / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))


def _arbitrage(directory: Path, *arguments: str) -> None:
    command = [sys.executable, "-c", "from arbitrage.cli.main import main; main()", *arguments]
    done = subprocess.run(command, cwd=directory, check=False, capture_output=True, text=True)
    (directory / f"{arguments[0]}.out").write_text(done.stdout)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-2000:]}")


def judged(run: Run) -> Found:
    """Count replies that could be read, and what they say."""
    [step] = [each.name for each in run.plan.steps if each.name.startswith("verdicts-")]
    rows = [row for table in run.tables(step) for row in from_table(table, Verdict) if row.how != "identical"]
    said = [choice for row in rows for choice in (row.a_first, row.b_first)]
    return {
        "replies": 2 * len(rows),
        "readable": sum(choice is not None for choice in said),
        "errors": dict(Counter(error.partition(":")[2] for row in rows for error in row.errors).most_common()),
        "positions": dict(Counter(_position(row) for row in rows for _ in [0]).most_common()),
        "ties": sum(choice == "tie" for choice in said),
        "how": dict(Counter(row.how for row in rows).most_common()),
        "echoes": _echoes(run),
    }


def _echoes(run: Run) -> int:
    """Count replies that repeat the form they were shown, an old one or the present one."""
    [step] = [each.name for each in run.plan.steps if each.name.startswith("judge-")]
    texts = [text for table in run.tables(step) for text in table["text"].to_pylist()]
    return sum(any(form in text.casefold() for form in FORMS) for text in texts)


def _position(row: Verdict) -> str:
    first = {"a": "first", "b": "second", "tie": "tie", None: "none"}[row.a_first]
    second = {"a": "second", "b": "first", "tie": "tie", None: "none"}[row.b_first]
    return f"{first}, {second}"


def reviews_of(run: Run) -> Found:
    """Count, for each reviewer, reviews that could be read and the different scores among them."""
    reviewed = _reader()
    scores: dict[str, list[float]] = {name: [] for name in MEMBERS}
    errors: dict[str, Counter[str]] = {name: Counter() for name in MEMBERS}
    for inputs in _reviewed_shards(run):
        for each in reviewed(inputs):
            for found in each.reviews:
                if found.score is None:
                    errors[found.reviewer][str(found.error)] += 1
                else:
                    scores[found.reviewer].append(found.score)
    return {
        name: {
            "replies": len(scores[name]) + errors[name].total(),
            "readable": len(scores[name]),
            "distinct": len(set(scores[name])),
            "scores": {f"{score:g}": count for score, count in Counter(scores[name]).most_common()},
            "errors": dict(errors[name].most_common()),
        }
        for name in MEMBERS
    }


def _reader() -> Callable[[Inputs], Sequence[Any]]:
    """Return what joins answers to their reviews and reads them."""
    try:
        from arbitrage.judging.reviewed import reviewed
    except ImportError:  # an earlier version
        from arbitrage.judging.committee import reviewed
    return reviewed


def _reviewed_shards(run: Run) -> Iterator[Inputs]:
    for step in run.plan.steps:
        if step.name.startswith("score-"):
            for shard in run.shards(step.name):
                sharded = {role: names for role, names in step.inputs.items() if role != "levels"}
                yield Inputs(
                    {role: tuple(run.shard(name, shard) for name in names) for role, names in sharded.items()}
                )


def _alarms_of_judge(directory: Path) -> list[str]:
    path = directory / "judged.json"
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    return [alarm["kind"] for alarm in found.get("alarms", ())]


def _alarms_of_run(directory: Path) -> list[str]:
    try:
        from arbitrage.report.run_alarms import run_alarms
    except ImportError:  # an earlier version
        return []
    return [alarm.kind for alarm in run_alarms(open_run(directory / "reviewed"))]


def render(found: Mapping[str, Found]) -> None:
    """Write the table into the document."""
    from benchmarks.documents import between

    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(between(text, "real models", "benchmarks/real_judges.py", table_of(found)), encoding="utf-8")


def table_of(found: Mapping[str, Found]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| version | who | replies | taken for a verdict | repeat the form | values | what they say | alarms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label, figures in found.items():
        judge = figures["judge"]
        said = ", ".join(f"{pair}: {count}" for pair, count in judge["positions"].items())
        lines.append(_line(label, f"judge {JUDGE}", judge, "", f"(A first, B first) {said}", judge["alarms"]))
        for name, reviewer in figures.get("reviewers", {}).items():
            scores = ", ".join(f"{score}: {count}" for score, count in reviewer["scores"].items())
            lines.append(
                _line(label, f"reviewer {name}", reviewer, reviewer["distinct"], scores, figures.get("alarms", ()))
            )
    return "\n".join(lines) + "\n"


def _line(label: str, who: str, found: Found, distinct: object, said: str, alarms: Sequence[str]) -> str:
    readable = f"{found['readable']} ({found['readable'] / max(found['replies'], 1):.0%})"
    names = ", ".join(dict.fromkeys(alarms)) or "none"
    echoes = found.get("echoes", "–")
    return f"| {label} | {who} | {found['replies']} | {readable} | {echoes} | {distinct} | {said or '–'} | {names} |"


if __name__ == "__main__":
    main()
