"""Writes the part of docs/results.md on preference training, and its picture, from docs/online.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from arbitrage.report.charts import Panel, PlotLine, axis_over, draw
from arbitrage.statistics import Estimate, Interval
from arbitrage.training.monitor.picture import BOUNDS, TITLES
from pipelines.online.record import judged_panel

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/online.json"
PICTURE = ROOT / "docs/online.svg"
DOCUMENT = ROOT / "docs/results.md"
START, END = "<!-- online: written by benchmarks/online_document.py -->", "<!-- end of online -->"
TITLE_OF = {"referee": "reward trained on, since {first}", "exact": "exact answers (never seen), since {first}"}
Found = Mapping[str, Any]


def render() -> None:
    """Write the picture, and the table between its marks."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    PICTURE.write_text(picture(results), encoding="utf-8")
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{START}\n\n{table(results)}\n{END}{after}", encoding="utf-8")


def table(results: Found) -> str:
    """Return a line for each student: what each judge gives, the gains, and the monitor's curves at its end."""
    judges = (*results["rewards"], *results["judges"])
    stages = results["stages"]
    heads = ["student", "pairs", *judges, *(f"{j} − {stages[0]['name']}" for j in judges)]
    heads += ["chosen / rejected, nats", "margin, nats", "entropy, bits", "mass", "confused"]
    lines = [_row(heads), _row(["---"] * len(heads))]
    lines += [_row(_cells(stage, judges, is_first=stage is stages[0])) for stage in stages]
    return "\n".join([*lines, "", *_notes(results)]) + "\n"


def picture(results: Found) -> str:
    """Return the picture: gains by each judge over stages, the monitor's curves over steps; a line for each seed."""
    stages, seeds = results["stages"], results["seeds"]
    names = [stage["name"] for stage in stages]
    judged = [
        judged_panel(
            TITLE_OF.get(judge, judge).format(first=names[0]),
            names,
            [PlotLine(f"seed {seed}", _gains(stages, judge, place)) for place, seed in enumerate(seeds)],
            [_as_estimate(stage[judge]["since_first"]) for stage in stages],
        )
        for judge in (*results["rewards"], *results["judges"])
    ]
    title = "The student over the rounds, and the monitor's curves over optimiser steps"
    return draw([*judged, *_watched(results)], title)


def _gains(stages: Sequence[Found], judge: str, place: int) -> list[tuple[float, float]]:
    levels = [stage[judge]["by_seed"][place] for stage in stages]
    return [(float(x), level - levels[0]) for x, level in enumerate(levels)]


def _watched(results: Found) -> list[Panel]:
    last = max(check["step"] for checks in results["checks"] for check in checks)
    steps = axis_over([0.0, float(last)], num_ticks=4)
    borders = {float(stage["steps"][0]): f"{stage['name']} ends" for stage in results["stages"][1:-1]}
    return [
        Panel(
            TITLES[curve],
            steps,
            [
                PlotLine(
                    f"seed {seed}", [(c["step"], c[curve]) for c in checks if c[curve] is not None], is_main=True
                )
                for seed, checks in zip(results["seeds"], results["checks"], strict=True)
            ],
            BOUNDS.get(curve),
            marks=borders,
        )
        for curve in TITLES
    ]


def _cells(stage: Found, judges: Sequence[str], *, is_first: bool) -> list[str]:
    checks = [check for check in stage["monitor"] if check]
    return [
        stage["name"],
        "–" if is_first else ", ".join(f"{rows:,}" for rows in sorted(set(stage["rows"]))),
        *(_told(judge, stage[judge]["mean"], "") for judge in judges),
        *("–" if is_first else _told(judge, stage[judge]["since_first"], "+") for judge in judges),
        f"{_mean(checks, 'chosen', '.1f')} / {_mean(checks, 'rejected', '.1f')}",
        _mean(checks, "margin", ".2f"),
        _mean(checks, "entropy", ".2f"),
        _mean(checks, "mass", ".3f"),
        _mean(checks, "confusion", ".0%"),
    ]


def _notes(results: Found) -> list[str]:
    stages = results["stages"]
    seeds = ", ".join(map(str, results["seeds"]))
    took = f" Took {results['seconds'] / 60:.0f} minutes." if results["seconds"] else ""
    prompts = stages[-1][results["judges"][0]]["prompts"]
    spread = [
        f"{judge} at the last round by seed: "
        + ", ".join(_number(judge, value, "") for value in stages[-1][judge]["by_seed"])
        for judge in (*results["rewards"], *results["judges"])
    ]
    alarms = [
        f"seed {seed}: {sentence}"
        for seed, sentences in zip(results["seeds"], results["alarms"], strict=True)
        for sentence in sentences
    ]
    return [
        f"Means over the seeds {seeds} on {prompts:,} held-out questions; 95 % intervals, differences paired, "
        f"clustered by the fact asked. {'; '.join(spread)}.{took}",
        "",
        f"Alarms by seed: {'; '.join(alarms) or 'none'}.",
        "",
        f"The evaluation's alarm on scores averaged over seeds: {'; '.join(results['alarms_over_seeds']) or 'none'}.",
    ]


def _told(judge: str, found: Sequence[float | None] | None, sign: str) -> str:
    if found is None or found[0] is None:
        return "–"
    value, low, high = found
    interval = "" if low is None or high is None else f" [{_number(judge, low, sign)}, {_number(judge, high, sign)}]"
    return f"{_number(judge, value, sign)}{interval}"


def _number(judge: str, value: float, sign: str) -> str:
    text = f"{value:{sign}.1%}" if judge == "exact" else f"{value:{sign}.2f}"
    return text.replace("-", "−")


def _mean(checks: Sequence[Found], curve: str, form: str) -> str:
    values = [check[curve] for check in checks if check[curve] is not None]
    return f"{fmean(values):{form}}".replace("-", "−") if values else "–"


def _as_estimate(found: Sequence[float | None] | None) -> Estimate | None:
    if found is None or found[0] is None:
        return None
    value, low, high = found
    return Estimate(value, None if low is None or high is None else Interval(low, high))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
