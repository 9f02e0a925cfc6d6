"""How busy a slow endpoint is kept: calls in flight over the cap, between the first and the last call's start.

    python -m benchmarks.occupancy
    python -m benchmarks.occupancy --rows 4000 --in-flight 64 --latency-s 0.5

Latency is long-tailed: lognormal, and one call in 100 takes ten times as long. From the server's log: `occupancy`
is calls under way, averaged over time, ÷ cap, while there is still something to ask (first call's start to last
call's start): a barrier between batches or shards shows as a dent here. `with_drain` continues to the last response,
where even a perfect client runs dry (`ideal_with_drain`: the same calls, started whenever a place is free). The
limiter starts below the cap; `after_ramp` leaves the time out until the cap is first reached.
"""

import heapq

import numpy as np

from benchmarks.harness import Calls, ask_all, openai_engine, scratch, serve, write_run
from benchmarks.measuring import Measures, emit, parser_with, spreads, take_turns


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


def summarise(calls: Calls, cap: int) -> Measures:
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
    options = parser_with(__doc__, rows=6000, in_flight=128, latency_s=0.4, shards=8, repeats=3).parse_args()
    with scratch() as directory, serve(latency_s=options.latency_s, latency="lognormal", stragglers=0.01) as server:
        engine = openai_engine(server.base_url, options.in_flight)
        path = write_run(directory, options.rows, engine, options.shards)

        def measure(backend: str, repeat: int) -> Measures:
            asked = ask_all(path, directory / f"{backend}-{repeat}", backend, server, options.rows)
            return summarise(asked.calls, options.in_flight)

        found = take_turns(options.backends, options.repeats, measure)
    about = {
        "rows": options.rows,
        "in_flight": options.in_flight,
        "latency_s": options.latency_s,
        "shards": options.shards,
        "stragglers": 0.01,
    }
    emit("occupancy", about | {backend: spreads(turns) for backend, turns in found.items()})


if __name__ == "__main__":
    main()
