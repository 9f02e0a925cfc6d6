"""Exactness over seeded kills: what a killed and resumed run has doubled, lost, spoiled or paid for twice.

    python -m benchmarks.kills                                200 kills of driver, worker and endpoint, local and Ray
    python -m benchmarks.kills --kills 40 --backends local    a minute
    python -m benchmarks.kills --seed 7 --kills 10 --points random    one seed again

A run is started, killed with SIGKILL, and started again until it ends by itself; then its files are compared with
those of an uninterrupted run. What dies, and when, comes from the seed:

  call       the driver, when the server has got its n-th call since the start (the server kills it)
  random     the driver, after a part of the time an unkilled run takes
  named      whoever comes first, by its own hand: ARBITRAGE_CRASH_AT=<name>:<n>:<file>, at a named point
  worker     Ray's actor process, when the server has got its n-th call (on Ray only)
  endpoint   everything under way at the server, which stays away for a moment

Driver kills on `local` fork a process that has imported everything: the same code as the command line, without its
start. `duplicates`, `missing`, `unreadable`: rows and files of all steps. `changed`: shards that are not byte-
identical. `left_over`: temporary files and journals. `wasted`: calls for a key that had been answered in full before.
`journaled_wasted`: those whose answer had left the server `--settle-s` or more before the kill, which a journal
must have kept. `beyond_window`: wasted calls above one in-flight window per kill. `points`: kills by what died;
`not_reached`: named points that were never passed.
"""

import hashlib
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.harness import Calls, MockServer, openai_engine, read_calls, scratch, serve, write_run
from benchmarks.killing import CRASH_POINTS, Forked, Series, Spawned, wait
from benchmarks.measuring import emit, parser_with, say

DYING_S = 0.05
"""What a killed process had sent may reach the server so much later; its successor takes longer to start."""


def fingerprint_files(run_dir: Path) -> dict[str, str]:
    """Return path → digest of every shard and reject file."""
    files = sorted(run_dir.glob("*/**/*.parquet"))
    return {str(f.relative_to(run_dir)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def rows_of(run_dir: Path) -> tuple[Counter[str], int]:
    """Return how often each row of each step is there, and the number of files that cannot be read."""
    rows: Counter[str] = Counter()
    unreadable = 0
    for file in sorted(run_dir.glob("*/*.parquet")):
        try:
            table = pq.read_table(file, partitioning=None)
        except Exception:  # noqa: BLE001 — whatever is wrong with it, it is unreadable
            unreadable += 1
            continue
        step = file.parent.name
        rows.update(f"{step} {sorted(row.items(), key=str)}" for row in table.to_pylist())
    return rows, unreadable


def count_waste(calls: Calls, moments: Sequence[float], window: int, settle_s: float) -> dict[str, int]:
    """Count calls for keys that had been answered already, against the kills their answers were lost in.

    An answer is lost in the first kill after its call began, or a moment before: a process takes some milliseconds to
    die, and the server's responses in the meantime are not read.
    """
    answered: dict[str, tuple[float, float]] = {}
    last_began: dict[str, float] = {}
    wasted = journaled = 0
    by_kill: Counter[float] = Counter()

    def kill_between(began: float, again: float) -> float:
        return next((kill for kill in sorted(moments) if began - DYING_S <= kill <= again), math.inf)

    for key, status, start, end in zip(calls.key, calls.status, calls.start, calls.end, strict=True):
        if key in answered:
            began, arrived = answered[key]
            wasted += 1
            journaled += bool(kill_between(began, start) - arrived > settle_s)
            by_kill[kill_between(last_began[key], start)] += 1
        last_began[key] = start
        if status == 200:
            answered[key] = start, end
    return {
        "calls": calls.num,
        "aborted": int(np.sum(calls.status == 499)),
        "wasted": wasted,
        "journaled_wasted": journaled,
        "beyond_window": sum(max(0, n - window) for n in by_kill.values()),
    }


def kinds_for(backend: str, wanted: list[str], draw: random.Random, num: int) -> list[str]:
    possible = [kind for kind in wanted if backend == "ray" or kind != "worker"]
    return [draw.choice(possible) for _ in range(num)]


def measure(backend: str, num_kills: int, options: Any, directory: Path, server: MockServer) -> dict[str, Any]:
    pipeline = directory / "pipeline.yaml"
    starter = Forked(pipeline) if backend == "local" else Spawned(pipeline)
    started = time.monotonic()
    plain = directory / f"{backend}-plain"
    if wait(starter.start(plain), plain):
        raise SystemExit(plain.with_suffix(".log").read_text()[-2000:])
    seconds = time.monotonic() - started
    wanted_files, (wanted_rows, _) = fingerprint_files(plain), rows_of(plain)
    total: Counter[str] = Counter()
    points: Counter[str] = Counter()
    series = 0
    while points.total() < num_kills and series < 4 * num_kills:
        draw = random.Random(f"{options.seed}-{backend}-{series}")
        run_dir = directory / f"{backend}-{series}"
        one = Series(starter, server, run_dir, draw)
        since = time.monotonic()
        one.run(kinds_for(backend, options.points, draw, options.per_run), seconds, options.rows)
        total.update(count_waste(read_calls(server).since(since), one.moments, options.in_flight, options.settle_s))
        total.update(compare(run_dir, wanted_files, wanted_rows))
        points.update(one.kills)
        series += 1
        say(f"{backend} {series}: {points.total()} kills, {dict(total)}")
    return {
        "kills": points.total(),
        "runs": series,
        "seconds": round(time.monotonic() - started, 1),
        **{
            name: total[name]
            for name in ("duplicates", "missing", "unreadable", "changed", "extra_files", "left_over")
        },
        **{name: total[name] for name in ("calls", "aborted", "wasted", "journaled_wasted", "beyond_window")},
        "wasted_per_kill": round(total["wasted"] / max(1, points.total()), 2),
        "points": dict(sorted(points.items())),
        "not_reached": sorted(set(CRASH_POINTS) - set(points)) if "named" in options.points else [],
    }


def compare(run_dir: Path, wanted_files: dict[str, str], wanted_rows: Counter[str]) -> dict[str, int]:
    """Compare a killed and resumed run with an uninterrupted one."""
    files = fingerprint_files(run_dir)
    rows, unreadable = rows_of(run_dir)
    strays = [f for f in run_dir.rglob("*") if f.is_file() and ("_journal" in f.parts or f.name.startswith("_tmp-"))]
    for stray in strays:
        say(f"left over: {stray}")
    return {
        "duplicates": sum((rows - wanted_rows).values()),
        "missing": sum((wanted_rows - rows).values()),
        "unreadable": unreadable,
        "changed": sum(files[name] != digest for name, digest in wanted_files.items() if name in files),
        "extra_files": len(files.keys() - wanted_files.keys()),
        "left_over": len(strays),
    }


def main() -> None:
    parse = parser_with(__doc__, kills=200, seed=0, rows=160, in_flight=8, shards=3, latency_s=0.02)
    parse.add_argument("--ray-share", type=float, default=0.1, help="share of the kills that is done on Ray")
    parse.add_argument("--per-run", type=int, default=5, help="kills of one run directory")
    parse.add_argument("--settle-s", type=float, default=0.25, help="an answer this old must be in the journal")
    kinds = ["call", "random", "named", "worker", "endpoint"]
    parse.add_argument("--points", nargs="+", default=kinds, choices=kinds)
    options = parse.parse_args()
    share = {"local": 1.0 - options.ray_share, "ray": options.ray_share}
    whole = sum(share[b] for b in options.backends)
    result: dict[str, Any] = {"seed": options.seed, "rows": options.rows, "in_flight": options.in_flight}
    with scratch() as directory, serve(latency_s=options.latency_s, latency="uniform", down_s=0.05) as server:
        write_run(directory, options.rows, openai_engine(server.base_url, options.in_flight), options.shards)
        for backend in options.backends:
            num = max(1, round(options.kills * share[backend] / whole))
            result[backend] = measure(backend, num, options, directory, server)
    for name in ("kills", "duplicates", "missing", "unreadable", "changed", "journaled_wasted", "beyond_window"):
        result[name] = sum(result[backend][name] for backend in options.backends)
    emit("kills", result)


if __name__ == "__main__":
    main()
