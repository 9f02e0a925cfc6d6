"""How much a few slow answers hold everything up: makespan against the bound no schedule can beat.

    python -m benchmarks.stragglers
    python -m benchmarks.stragglers --rows 1000 --in-flight 64 --factor 30

Every call takes the same time but one in 100, which takes `factor` times as long. Bound (Graham 1969): no schedule
ends before the sum of durations ÷ places, nor before the longest call. `over_list_schedule` compares with the
schedule that starts calls in our order as soon as a place is free, which no client that does not know the future
can beat on average. `barrier_over_bound` is what batches as large as the cap would take: the state of the field.
"""

import numpy as np

from benchmarks.harness import Calls, ask_all, openai_engine, scratch, serve, write_run
from benchmarks.measuring import Measures, emit, parser_with, spreads, take_turns
from benchmarks.occupancy import ideal_end


def summarise(calls: Calls, cap: int) -> Measures:
    durations = calls.end - calls.start
    bound = max(durations.sum() / cap, durations.max())
    batches = [durations[i : i + cap] for i in range(0, len(durations), cap)]
    return {
        "makespan_s": calls.span_s,
        "bound_s": bound,
        "over_bound": calls.span_s / bound,
        "over_list_schedule": calls.span_s / ideal_end(durations, cap),
        "barrier_over_bound": float(np.sum([b.max() for b in batches])) / bound,
    }


def main() -> None:
    defaults = {"rows": 3000, "in_flight": 128, "latency_s": 0.2, "factor": 10.0, "shards": 8, "repeats": 3}
    options = parser_with(__doc__, **defaults).parse_args()
    slow = {"stragglers": 0.01, "straggler_factor": options.factor}
    with scratch() as directory, serve(latency_s=options.latency_s, **slow) as server:
        path = write_run(directory, options.rows, openai_engine(server.base_url, options.in_flight), options.shards)

        def measure(backend: str, repeat: int) -> Measures:
            asked = ask_all(path, directory / f"{backend}-{repeat}", backend, server, options.rows)
            return summarise(asked.calls, options.in_flight)

        found = take_turns(options.backends, options.repeats, measure)
    about = {name: getattr(options, name) for name in ("rows", "in_flight", "latency_s", "factor")}
    emit("stragglers", about | {backend: spreads(turns) for backend, turns in found.items()})


if __name__ == "__main__":
    main()
