"""500 rows at 200 ms: how long a small job takes, and what of it is starting up.

    python -m benchmarks.small_job
    python -m benchmarks.small_job --rows 500 --latency-s 0.2 --backends local

`first_call_s`: from the process's start to the first call at the server. `after_start_s`: from there to the end of
the process, everything included. `asking_s`: from the first call to the last answer. `help_s`: `arbitrage --help`.
With 256 in flight 500 rows need two rounds, so 0.4 s is the least.
"""

import math

from benchmarks.harness import (
    CLI,
    emit,
    openai_engine,
    parser,
    read_calls,
    run_cli,
    run_process,
    say,
    scratch,
    serve,
    spread,
    write_run,
)


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--rows", type=int, default=500)
    parse.add_argument("--latency-s", type=float, default=0.2)
    parse.add_argument("--in-flight", type=int, default=256)
    parse.add_argument("--repeats", type=int, default=5)
    parse.add_argument("--backends", nargs="+", default=["local", "ray"], choices=["local", "ray"])
    options = parse.parse_args()
    least_s = math.ceil(options.rows / options.in_flight) * options.latency_s
    result: dict[str, object] = {"rows": options.rows, "latency_s": options.latency_s, "least_s": least_s}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.backends}
    helps = []
    with scratch() as directory, serve(latency_s=options.latency_s) as server:
        path = write_run(directory, options.rows, openai_engine(server.base_url, options.in_flight), num_shards=2)
        for repeat in range(options.repeats):
            helps.append(run_process([*CLI, "--help"]).seconds)
            for backend in options.backends:
                done = run_cli(path, directory / f"{backend}-{repeat}", backend)
                calls = read_calls(server).since(done.started)
                if calls.num_answers != options.rows:
                    raise SystemExit(f"{backend}: {calls.num_answers} answers, wanted {options.rows}")
                first = calls.start.min()
                found[backend].append(
                    {
                        "total_s": done.seconds,
                        "first_call_s": first - done.started,
                        "asking_s": calls.span_s,
                        "after_start_s": done.ended - first,
                    }
                )
                say(f"{repeat} {backend}: " + ", ".join(f"{k} {v:.2f}" for k, v in found[backend][-1].items()))
    result["help_s"] = spread(helps)
    for backend, measures in found.items():
        result[backend] = {name: spread([m[name] for m in measures]) for name in measures[0]}
    emit("small_job", result)


if __name__ == "__main__":
    main()
