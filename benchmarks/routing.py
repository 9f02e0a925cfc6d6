"""What routers reach on real reward matrices, and at what speed; writes all figures of docs/routing.md.

    python -m benchmarks.routing --data DIR                  everything: about two hours on two cores
    python -m benchmarks.routing --data DIR --only pools     one part; see --help
    python -m benchmarks.routing --render                    the document again from the JSON

DIR holds `wmt25_teacher_matrix.parquet`, `textclass_policy_matrix.parquet` and `pools.json`, which names each pool's
models.
"""

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from arbitrage.candidates.matrix import RewardMatrix
from arbitrage.candidates.matrix_file import MatrixColumns, read_matrix
from arbitrage.candidates.queries import Queries
from benchmarks.drawn_pools import measure_drawn_pools
from benchmarks.router_baselines import ROUTER_BASELINES
from benchmarks.routing_document import RESULTS, render
from routers.evaluation.evaluate import evaluate
from routers.evaluation.frontier import count_generations, trace_frontier
from routers.evaluation.new_models import study_new_models
from routers.evaluation.samples import trace_samples
from routers.evaluation.validity import select_by_each_reward
from routers.learning.blend import BlendLearner
from routers.learning.crossval import predict_held_out
from routers.learning.folds import deal_folds
from routers.learning.learned import LearnedLearner

JUDGES = ("gemba_cmda", "xcomet_xl", "cometkiwi_xl", "metricx24_hybrid_xl")
SHOWN = ("random", "best_single", "per_language", "per_language_task", "oracle", "auto", "learned", "blend")
MATRICES: Mapping[str, str] = {
    "wmt25": "wmt25_teacher_matrix.parquet",
    "policy": "textclass_policy_matrix.parquet",
}
"""Pools are named after their matrix."""
TIMED: Mapping[str, Sequence[str]] = {"wmt25": (), "policy": ("policy_mixed", "policy_small")}
"""What is timed: all 26 systems of WMT25, and the models of both pools of the other matrix."""
JOBS = min(5, os.cpu_count() or 1)
DEALS = 4
"""How often prompts are dealt to folds where new models are studied."""
Found = dict[str, Any]


def load(data: Path, pool: str, rewards: Sequence[str] = ("reward",), cost: str | None = None) -> RewardMatrix:
    """Read the matrix of one pool."""
    models = json.loads((data / "pools.json").read_text())[pool]
    path = data / MATRICES[pool.partition("_")[0]]
    return read_matrix([path], MatrixColumns(rewards=tuple(rewards), cost=cost), models).matrix


def measure_pool(data: Path, pool: str) -> Found:
    """Evaluate all routers on one pool."""
    started = time.perf_counter()
    matrix = load(data, pool)
    found = evaluate(matrix, more_baselines=ROUTER_BASELINES, jobs=JOBS)
    rows = {
        f.name: {
            "mean_reward": f.mean_reward,
            "gap_closed": f.gap_closed.value if f.gap_closed else None,
            "ci": [f.gap_closed.interval.low, f.gap_closed.interval.high]
            if f.gap_closed and f.gap_closed.interval
            else None,
        }
        for f in found.routers
    }
    comparison = asdict(found.comparison) if found.comparison else None
    chose = [choice.learner.label for choice in found.choices]
    seconds = time.perf_counter() - started
    return {
        "prompts": len(matrix),
        "models": len(matrix.teachers),
        "routers": rows,
        "comparison": comparison,
        "chose": chose,
        "seconds": seconds,
    }


def measure_drawn(data: Path, name: str) -> list[Found]:
    """Evaluate `auto` on pools drawn from one matrix."""
    return measure_drawn_pools(data / MATRICES[name], JOBS)


def measure_judges(data: Path, pool: str) -> Found:
    """Hold each metric out in turn."""
    return {figures.judge: asdict(figures) for figures in select_by_each_reward(load(data, pool, JUDGES), jobs=JOBS)}


def measure_new_models(data: Path, pool: str) -> Found:
    """Let each teacher join in turn."""
    return asdict(study_new_models(load(data, pool), num_deals=DEALS))


def measure_samples(data: Path, pool: str) -> Found:
    """Learn from more and more prompts."""
    return asdict(trace_samples(LearnedLearner(), load(data, pool)))


def measure_cost(data: Path, pool: str) -> Found:
    """Trace quality against seconds of answering, and against generations, on prompts `learned` has not seen."""
    matrix = load(data, pool, cost="latency_s")
    fold_P = deal_folds(matrix.cluster_P, 5, 0)
    [expected_PT] = predict_held_out([LearnedLearner()], matrix, fold_P)
    frontier = trace_frontier(expected_PT, matrix)
    if frontier is None:
        raise ValueError(f"{pool}: an answer has no cost")
    singles = {
        name: {"cost": float(np.mean(costs)), "mean_reward": float(np.mean(rewards))}
        for name, costs, rewards in zip(matrix.teachers, matrix.cost_PT.T, matrix.rewards_PT.T, strict=True)  # type: ignore[union-attr]
    }
    generations = [asdict(one) for one in count_generations(expected_PT, matrix)]
    return {"frontier": asdict(frontier), "singles": singles, "generations": generations}


def measure_speed(data: Path, name: str) -> Found:
    """Time training, and features with prediction, each text read anew; memory of the process."""
    named = json.loads((data / "pools.json").read_text())
    models = sorted({model for pool in TIMED[name] for model in named[pool]}) or None
    matrix = read_matrix([data / MATRICES[name]], models=models).matrix
    started = time.perf_counter()
    predictor = LearnedLearner().fit(matrix)
    trained_s = time.perf_counter() - started
    blend = BlendLearner().fit(matrix)
    texts = [matrix.queries.texts[code] for code in matrix.queries.text_P]
    languages = matrix.queries.languages.tolist()
    rates = {name: _rate(p.predict, texts, languages) for name, p in (("learned", predictor), ("blend", blend))}
    return {
        "teachers": len(matrix.teachers),
        "prompts": len(matrix),
        "mean_characters": statistics.fmean(map(len, texts)),
        "train_s": trained_s,
        "prompts_per_s": rates,
        "has_text_residual": predictor.text is not None,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _rate(
    predict: Callable[[Queries], Any], texts: Sequence[str], languages: Sequence[str], repeats: int = 5
) -> Found:
    """Return prompts/s over two threads: each prompt's text is made unique, so that nothing is read only once."""
    rates: list[float] = []
    for repeat in range(repeats):
        unique = [f"{text} {repeat} {number}" for number, text in enumerate(texts)]
        parts = [slice(start, start + 2048) for start in range(0, len(unique), 2048)]
        started = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            done = [pool.submit(lambda u, g: predict(Queries(u, g)), unique[p], languages[p]) for p in parts]
            rows = sum(len(np.asarray(each.result())) for each in done)
        rates.append(rows / (time.perf_counter() - started))
    return {"median": statistics.median(rates), "low": min(rates), "high": max(rates), "n": repeats}


WMT = ("wmt25_small", "wmt25_open_20b", "wmt25_frontier", "wmt25_21")
ALL = (*WMT, "policy_mixed", "policy_small")
PARTS: Mapping[str, tuple[Callable[[Path, str], Any], Sequence[str]]] = {
    "pools": (measure_pool, ALL),
    "drawn": (measure_drawn, tuple(MATRICES)),
    "judges": (measure_judges, WMT),
    "new_models": (measure_new_models, ALL),
    "samples": (measure_samples, ("wmt25_small", "policy_small")),
    "cost": (measure_cost, ("policy_mixed", "policy_small")),
    "speed": (measure_speed, tuple(TIMED)),
}


def main() -> None:
    """Measure, keep, render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="directory with the matrices and pools.json")
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--pools", nargs="+", help="only these")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    args = parser.parse_args()
    results: Found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not args.render:
        if args.data is None:
            parser.error("--data DIR is needed to measure")
        for part in args.only:
            measure, pools = PARTS[part]
            for pool in pools:
                if args.pools is None or pool in args.pools:
                    print(f"{part}: {pool}", flush=True)
                    results.setdefault(part, {})[pool] = measure(args.data, pool)
                    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    render(json.loads(RESULTS.read_text()))  # keys are text there, whatever was measured now


if __name__ == "__main__":
    main()
