"""How much a few slow answers hold everything up: makespan against the bound no schedule can beat.

    python -m benchmarks.stragglers
    python -m benchmarks.stragglers --rows 1000 --in-flight 64 --factor 30

Every call takes the same time but one in 100, which takes `factor` times as long. Bound (Graham 1969): no schedule
ends before the sum of durations ÷ places, nor before the longest call. `over_list_schedule` compares with the
schedule that starts calls in our order as soon as a place is free, which no client that does not know the future
can beat on average. `barrier_over_bound` is what batches as large as the cap would take: the state of the field.
"""

import numpy as np

from benchmarks.harness import (
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
from benchmarks.occupancy import ideal_end


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--rows", type=int, default=3000)
    parse.add_argument("--in-flight", type=int, default=128)
    parse.add_argument("--latency-s", type=float, default=0.2)
    parse.add_argument("--factor", type=float, default=10.0)
    parse.add_argument("--shards", type=int, default=8)
    parse.add_argument("--repeats", type=int, default=3)
    parse.add_argument("--backends", nargs="+", default=["local", "ray"], choices=["local", "ray"])
    options = parse.parse_args()
    cap = options.in_flight
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.backends}
    slow = {"stragglers": 0.01, "straggler_factor": options.factor}
    with scratch() as directory, serve(latency_s=options.latency_s, **slow) as server:
        path = write_run(directory, options.rows, openai_engine(server.base_url, cap), options.shards)
        for repeat in range(options.repeats):
            for backend in options.backends:
                done = run_cli(path, directory / f"{backend}-{repeat}", backend)
                calls = read_calls(server).since(done.started)
                durations = calls.end - calls.start
                bound = max(durations.sum() / cap, durations.max())
                batches = [durations[i : i + cap] for i in range(0, len(durations), cap)]
                found[backend].append(
                    {
                        "makespan_s": calls.span_s,
                        "bound_s": bound,
                        "over_bound": calls.span_s / bound,
                        "over_list_schedule": calls.span_s / ideal_end(durations, cap),
                        "barrier_over_bound": float(np.sum([b.max() for b in batches])) / bound,
                    }
                )
                say(f"{repeat} {backend}: " + ", ".join(f"{k} {v:.3f}" for k, v in found[backend][-1].items()))
    result: dict[str, object] = {
        "rows": options.rows,
        "in_flight": cap,
        "latency_s": options.latency_s,
        "factor": options.factor,
    }
    for backend, measures in found.items():
        result[backend] = {name: spread([m[name] for m in measures]) for name in measures[0]}
    emit("stragglers", result)


if __name__ == "__main__":
    main()
