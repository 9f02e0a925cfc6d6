"""How busy a slow endpoint is kept: calls in flight over the cap, between the first and the last call's start.

    python -m benchmarks.occupancy
    python -m benchmarks.occupancy --rows 4000 --in-flight 64 --latency-s 0.5

Latency is long-tailed: lognormal, and one call in 100 takes ten times as long. From the server's log: `occupancy`
is calls under way, averaged over time, ÷ cap, while there is still something to ask (first call's start to last
call's start): a barrier between batches or shards shows as a dent here. `with_drain` goes on to the last answer,
where even a perfect client runs dry (`ideal_with_drain`: the same calls, started whenever a place is free). The
limiter starts below the cap; `after_ramp` leaves the time out until the cap is first reached.
"""

import heapq

import numpy as np

from benchmarks.harness import (
    Calls,
    emit,
    openai_engine,
    parser,
    read_calls,
    run_cli,
    say,
    scratch,
    serve,
    spread,
    write_run,
)


def ideal_end(durations: np.ndarray, cap: int) -> float:
    """Return when the last of these calls ends if each starts, in order, as soon as one of `cap` places is free."""
    places = [0.0] * cap
    for duration in durations:
        heapq.heapreplace(places, places[0] + float(duration))
    return max(places)


def reached_at(calls: Calls, cap: int) -> float:
    """Return when `cap` calls were first under way; the first start if they never were."""
    moments = np.concatenate([calls.start, calls.end])
    steps = np.concatenate([np.ones(calls.num), -np.ones(calls.num)])
    order = np.argsort(moments, kind="stable")
    full = np.flatnonzero(np.cumsum(steps[order]) >= cap)
    return float(moments[order][full[0]]) if len(full) else float(calls.start.min())


def summarise(calls: Calls, cap: int) -> dict[str, float]:
    first, last_start, last_end = calls.start.min(), calls.start.max(), calls.end.max()
    durations = calls.end - calls.start
    ramped = reached_at(calls, cap)
    best = ideal_end(durations, cap)
    return {
        "occupancy": calls.in_flight_seconds(first, last_start) / (cap * (last_start - first)),
        "after_ramp": calls.in_flight_seconds(ramped, last_start) / (cap * max(1e-9, last_start - ramped)),
        "ramp_s": ramped - first,
        "with_drain": durations.sum() / (cap * (last_end - first)),
        "ideal_with_drain": durations.sum() / (cap * best),
        "makespan_over_ideal": (last_end - first) / best,
        "makespan_over_bound": (last_end - first) / max(durations.sum() / cap, durations.max()),
        "makespan_s": last_end - first,
    }


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--rows", type=int, default=6000)
    parse.add_argument("--in-flight", type=int, default=128)
    parse.add_argument("--latency-s", type=float, default=0.4)
    parse.add_argument("--shards", type=int, default=8)
    parse.add_argument("--repeats", type=int, default=3)
    parse.add_argument("--backends", nargs="+", default=["local", "ray"], choices=["local", "ray"])
    options = parse.parse_args()
    result: dict[str, object] = {
        "rows": options.rows,
        "in_flight": options.in_flight,
        "latency_s": options.latency_s,
        "shards": options.shards,
        "stragglers": 0.01,
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.backends}
    with scratch() as directory, serve(latency_s=options.latency_s, latency="lognormal", stragglers=0.01) as server:
        engine = openai_engine(server.base_url, options.in_flight)
        path = write_run(directory, options.rows, engine, options.shards)
        for repeat in range(options.repeats):
            for backend in options.backends:
                done = run_cli(path, directory / f"{backend}-{repeat}", backend)
                calls = read_calls(server).since(done.started)
                if calls.num_answers != options.rows:
                    raise SystemExit(f"{backend}: {calls.num_answers} answers, wanted {options.rows}")
                found[backend].append(summarise(calls, options.in_flight))
                say(f"{repeat} {backend}: " + ", ".join(f"{k} {v:.3f}" for k, v in found[backend][-1].items()))
    for backend, measures in found.items():
        result[backend] = {name: spread([m[name] for m in measures]) for name in measures[0]}
    emit("occupancy", result)


if __name__ == "__main__":
    main()
