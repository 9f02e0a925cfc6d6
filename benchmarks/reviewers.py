"""A committee and fusion beside plain best-of, on the same candidates of the demo world; writes docs/committee.md.

    python -m benchmarks.reviewers                  a few minutes on two cores
    python -m benchmarks.reviewers --render         the document again from the JSON

The candidates are those of the demo world's own models, and so is the reward model. Its models cannot read a review
form, so reviewers are simulated behind a real endpoint: each knows the right answer and errs, by the hash of its own
name and the answer, in a stated share of cases; one in fifty replies is garbled. The fuser assumes nothing: it writes
the answer that most of the answers shown to it agree on.
"""

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from aiohttp import web

from arbitrage.candidates.queries import cluster_key
from arbitrage.demo.tasks import LANGUAGES, items, stable_hash
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import NoProgress
from arbitrage.execution.run import RunRequest, execute
from arbitrage.judging.reviewed import reviewed
from arbitrage.languages import primary
from arbitrage.records import Candidate, Prompt, SftExample
from arbitrage.report.reviews import committee_inputs
from arbitrage.runs.run import Run, open_run
from arbitrage.statistics import Estimate, Floats, Ints, estimate, resample_ratios
from arbitrage.tables import from_table
from arbitrage.text.exact_match import is_correct, normalise_answer
from benchmarks.endpoint import serve_beside
from pipelines.loading import ADAPTER
from pipelines.preference import PreferenceConfig

DOCUMENT = Path("docs/committee.md")
RESULTS = Path("docs/committee.json")
START, END = "<!-- table: written by benchmarks/reviewers.py -->", "<!-- end of table -->"

REVIEWER_ERRS, ADJUDICATOR_ERRS, GARBLED = 0.25, 0.10, 0.02
QUOTED = re.compile(
    r"\[(request|answer(?: \d+(?:, given \d+ times)?)?) ([0-9a-f]{8})\]\n(.*?)\n\[end of \1 \2\]", re.DOTALL
)
GIVEN = re.compile(r", given (\d+) times")
LAST_LINE = re.compile(r"^(Score [a-z]{8}:) <", re.MULTILINE)
MEMBERS = ("ann", "bo", "cy", "dee")  # three reviewers and the adjudicator
Found = dict[str, Any]


def says(body: Mapping[str, Any]) -> str:
    """Answer as the reviewer, or the fuser, whose name is the model's."""
    question = body["messages"][-1]["content"]
    parts = QUOTED.findall(question)
    request = next(text for title, _, text in parts if title == "request")
    answers = [(title, text) for title, _, text in parts if title != "request"]
    if body["model"] == "vote":
        return plurality(request, answers)
    score = review(str(body["model"]), request, answers[0][1])
    return "I would rather not say." if score is None else f"{LAST_LINE.findall(question)[0]} {score}"


def review(name: str, request: str, answer: str) -> int | None:
    """Score an answer 8 or 9 if it is right and 2 or 3 if it is wrong, erring as often as the name does."""
    language, reference = known()[request]
    errs = ADJUDICATOR_ERRS if name == MEMBERS[-1] else REVIEWER_ERRS
    if share("garbled", name, request, answer) < GARBLED:
        return None
    is_right = is_correct(language, answer, reference) != (share("errs", name, request, answer) < errs)
    return (8 if is_right else 2) + round(share("jitter", name, request, answer))


def plurality(request: str, answers: Sequence[tuple[str, str]]) -> str:
    """Write what most of the answers say, counting how often each was given; of equally many, what stands first."""
    language, _ = known()[request]
    said: Counter[str] = Counter()
    for title, text in answers:
        times = GIVEN.search(title)
        said[normalise_answer(language, text)] += int(times[1]) if times else 1
    [(most, _)] = said.most_common(1)
    return next(text for _, text in answers if normalise_answer(language, text) == most)


def share(*parts: str) -> float:
    return stable_hash(*parts) / 2**64


_KNOWN: dict[str, tuple[str, str]] = {}


def known() -> Mapping[str, tuple[str, str]]:
    """Return question → language and right answer."""
    if not _KNOWN:
        for language in LANGUAGES:
            for item in items("heldout", language):
                _KNOWN[item.question] = (primary(item.language), item.answer)
    return _KNOWN


@contextmanager
def simulated() -> Iterator[str]:
    async def behave(body: dict[str, Any]) -> web.Response:
        message = {"role": "assistant", "content": says(body)}
        return web.json_response(
            {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {}}
        )

    with serve_beside(behave) as url:
        yield url


def a_config(directory: Path, url: str, per_language: int, **changes: Any) -> PreferenceConfig:
    """Return the pipeline: every teacher sampled twice, no check is a filter."""
    pool_of_world = yaml.safe_load((Path("arbitrage/demo/teachers.yaml")).read_text())["teachers"]
    world = [teacher for teacher in pool_of_world if teacher["name"] != "scholar"]  # the table is of the other six
    engine = {"kind": "openai", "base_url": url}
    extra = [
        {"name": name, "model": name, "family": name, "engine": engine, "languages": list(LANGUAGES)}
        for name in (*MEMBERS, "vote")
    ]
    pool = directory / "teachers.yaml"
    pool.write_text(yaml.safe_dump({"teachers": [*world, *extra]}))
    raw = {
        "kind": "preference",
        "name": "reviewers",
        "prompts": {"kind": "demo", "split": "heldout", "per_language": per_language},
        "teachers": str(pool),
        "pool": [teacher["name"] for teacher in world],
        "router": {"kind": "all"},
        "sampling": {"n": 2, "temperature": 0.3},
        "checks": [{"kind": "exact"}],
        "num_shards": 2,
        **changes,
    }
    return ADAPTER.validate_json(json.dumps(raw))


def done(directory: Path, config: PreferenceConfig) -> Run:
    """Do what is missing: candidates are asked for once, whatever judges them."""
    request = RunRequest(
        name=config.name, kind=config.kind, pipeline=config.build(), run_dir=directory / "run",
        num_shards=config.num_shards, shards=range(config.num_shards), max_rejected=1.0, config={},
    )  # fmt: skip
    execute(request, LocalBackend(), NoProgress())
    return open_run(directory / "run")


def rows_of(run: Run, step: str, record: type[Any]) -> list[Any]:
    return [row for table in run.tables(step) for row in from_table(table, record)]


def selected(run: Run, prompts: Mapping[str, Prompt]) -> dict[str, bool]:
    """Return prompt → whether what was selected is right; a prompt without a row is missing."""
    rows = rows_of(run, "select-sft", SftExample)
    return {row.prompt_id: right(prompts[row.prompt_id], row.messages[-1].content) for row in rows}


def right(prompt: Prompt, text: str) -> bool:
    return is_correct(primary(prompt.language), text, prompt.reference or "")


def by_one_reviewer(run: Run, prompts: Mapping[str, Prompt]) -> dict[str, bool]:
    """Choose by one reviewer alone, from the reviews of the committee."""
    scores = {
        each.item.candidate.candidate_id: review.score
        for inputs in committee_inputs(run)
        for each in reviewed(inputs)
        for review in each.readable
        if review.reviewer == MEMBERS[0] and review.score is not None
    }
    candidates = [c for s in run.plan.table["candidates"] for c in rows_of(run, s, Candidate)]
    ranked = sorted(candidates, key=lambda c: (scores.get(c.candidate_id, 0.0), c.candidate_id))
    best = {candidate.prompt_id: candidate for candidate in ranked}
    return {prompt_id: right(prompts[prompt_id], c.text) for prompt_id, c in best.items()}


def measure(per_language: int) -> Found:
    """Run every way of choosing over the same candidates."""
    referee = [{"kind": "classifier", "name": "referee", "model": "demo:referee", "threads": 1, "batch_size": 256}]
    panel = {"reviewers": list(MEMBERS[:3]), "adjudicators": [MEMBERS[3]], "accept": None}
    ways: dict[str, Found] = {
        "best-of by the reward model": {"rewards": referee},
        "committee of three, mean": {"committee": panel | {"max_spread": None}},
        "committee, spread adjudicated": {"committee": panel},
        "committee, adjudicated, below 5 rejected": {"committee": panel | {"accept": 5.0}},
        "fusion by plurality": {"rewards": referee, "fusion": {"teacher": "vote", "max_candidates": 12}},
    }
    with tempfile.TemporaryDirectory() as folder, simulated() as url:
        directory, got, calls = Path(folder), {}, {}
        for name, changes in ways.items():
            run = done(directory, a_config(directory, url, per_language, **changes))
            prompts = {p.prompt_id: p for p in rows_of(run, "prompts", Prompt)}
            got[name] = selected(run, prompts)
            calls[name] = asked_besides(run)
            if name == "committee of three, mean":
                got["best-of by one reviewer"] = by_one_reviewer(run, prompts)
                calls["best-of by one reviewer"] = calls[name] / 3
        candidates = [c for s in run.plan.table["candidates"] for c in rows_of(run, s, Candidate)]
    got["oracle: any candidate right"] = {
        p: any(right(prompts[p], c.text) for c in candidates if c.prompt_id == p) for p in prompts
    }
    about = {"prompts": len(prompts), "candidates": len(candidates), "reviewer_errs": REVIEWER_ERRS,
             "adjudicator_errs": ADJUDICATOR_ERRS, "garbled": GARBLED}  # fmt: skip
    return about | {"ways": figures(got, calls, prompts)}


def asked_besides(run: Run) -> float:
    """Return the calls for each prompt, besides those that made the candidates."""
    reports = {step.name: step for step in run.manifest.steps}
    besides = [
        r.num_in for name, r in reports.items() if run.plan.facts[name].verb in ("review", "adjudicate", "fuse")
    ]
    return sum(besides) / reports["prompts"].num_rows


def figures(
    got: Mapping[str, Mapping[str, bool]], calls: Mapping[str, float], prompts: Mapping[str, Prompt]
) -> list[Found]:
    """Return the accuracy of what is kept, and over all prompts the paired difference from best-of by the reward."""
    ids = sorted(prompts)
    keys = [cluster_key(p, prompts[p].source_id, prompts[p].language) for p in ids]
    clusters = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    base = np.array([got["best-of by the reward model"].get(p, False) for p in ids], dtype=np.float64)
    found = []
    for name, answers in got.items():
        is_right = np.array([answers.get(p, False) for p in ids], dtype=np.float64)
        kept = np.array([p in answers for p in ids], dtype=np.float64)
        row = {
            "way": name,
            "kept": float(kept.mean()),
            "accuracy_of_kept": asdict(_mean(is_right, kept, clusters)),
            "all_prompts": asdict(_mean(is_right, np.ones(len(ids)), clusters)),
            "difference": asdict(_mean(is_right - base, np.ones(len(ids)), clusters)),
            "calls_besides": calls.get(name, 0.0),
        }
        found.append(row)
    return found


def _mean(values: Floats, weights: Floats, clusters: Ints) -> Estimate:
    draws = resample_ratios(values[:, None], weights[:, None], clusters, seed=5)[:, 0]
    found = estimate(float(values.sum() / weights.sum()), draws, len(np.unique(clusters)))
    assert found is not None
    return found


def table_of(found: Found) -> str:
    """Return the figures as Markdown."""
    errs, settles, garbled = (found[name] for name in ("reviewer_errs", "adjudicator_errs", "garbled"))
    lines = [
        f"{found['prompts']} prompts, {found['candidates']} candidates; reviewers err in {errs:.0%}, the adjudicator "
        f"in {settles:.0%}, and {garbled:.0%} of replies are garbled.",
        "",
        "| chosen by | kept | right, of what is kept | right, of all prompts − best-of by the reward model "
        "| further calls per prompt |",
        "|---|---|---|---|---|",
    ]
    for row in found["ways"]:
        accuracy, difference = _words(row["accuracy_of_kept"], ""), _words(row["difference"], "+")
        lines.append(f"| {row['way']} | {row['kept']:.0%} | {accuracy} | {difference} | {row['calls_besides']:.1f} |")
    return "\n".join(lines)


def _words(found: Found, sign: str) -> str:
    bounds = found["interval"]
    inside = f" [{100 * bounds['low']:{sign}.1f}, {100 * bounds['high']:{sign}.1f}]" if bounds else ""
    return f"{100 * found['value']:{sign}.1f}{inside}"


def render(found: Found) -> None:
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{START}\n\n{table_of(found)}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-language", type=int, default=40)
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    if not options.render:
        found = measure(options.per_language)
        RESULTS.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(found, ensure_ascii=False))
    render(json.loads(RESULTS.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
