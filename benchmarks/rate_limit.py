"""What of a server's true limit is used where the limit moves, and how many calls are refused on the way.

    python -m benchmarks.rate_limit
    python -m benchmarks.rate_limit --limits '[[0, 48], [4, 16], [8, 96]]' --period-s 12

The server has a concurrency limit that changes with time (by default 64, then 32, every 5 s); a call above it gets
429 at once. `goodput`: calls being answered, averaged over time, ÷ the limit, from the first call's start to the
last one's. `refused`: 429s ÷ all calls. A client that never goes above the lower limit has no refusals and a
goodput of 0.67.
"""

import json

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

STEP_S = 0.005


def summarise(calls: Calls, origin: float, limits: list[tuple[float, int]], period_s: float) -> dict[str, float]:
    """Compare accepted calls under way with the limit, moment by moment.

    Args:
        calls: of one run.
        origin: the server's time 0: the first call it ever got.
        limits: (from second, limit).
        period_s: of `limits`.
    """
    accepted = calls.where(calls.status != 429)
    moments = np.arange(calls.start.min(), calls.start.max(), STEP_S)
    starts, ends = np.sort(accepted.start), np.sort(accepted.end)
    under_way = np.searchsorted(starts, moments, "right") - np.searchsorted(ends, moments, "right")
    phase = (moments - origin) % period_s
    limit = np.array([n for _, n in limits])[np.searchsorted([t for t, _ in limits], phase, "right") - 1]
    return {
        "goodput": float(np.minimum(under_way, limit).sum() / limit.sum()),
        "refused": float(np.mean(calls.status == 429)),
        "answered": accepted.num_answers,
        "seconds": calls.span_s,
    }


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--rows", type=int, default=8000)
    parse.add_argument("--in-flight", type=int, default=256)
    parse.add_argument("--latency-s", type=float, default=0.1)
    parse.add_argument("--limits", type=json.loads, default=[[0, 64], [5, 32]])
    parse.add_argument("--period-s", type=float, default=10.0)
    parse.add_argument("--retry-after-s", type=float, default=-1.0, help="sent with a 429; below 0, none is")
    parse.add_argument("--shards", type=int, default=4)
    parse.add_argument("--repeats", type=int, default=3)
    parse.add_argument("--backends", nargs="+", default=["local", "ray"], choices=["local", "ray"])
    options = parse.parse_args()
    limits = [(float(t), int(n)) for t, n in options.limits]
    moving = {"limits": limits, "limits_period_s": options.period_s, "retry_after_s": options.retry_after_s}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.backends}
    with scratch() as directory:
        for repeat in range(options.repeats):
            for backend in options.backends:
                with serve(latency_s=options.latency_s, latency="uniform", **moving) as server:
                    engine = openai_engine(server.base_url, options.in_flight)
                    path = write_run(directory, options.rows, engine, options.shards)
                    run_cli(path, directory / f"{backend}-{repeat}", backend)
                    calls = read_calls(server)
                    got = summarise(calls, float(calls.start.min()), limits, options.period_s)
                if got["answered"] != options.rows:
                    raise SystemExit(f"{backend}: {got['answered']} answers, wanted {options.rows}")
                found[backend].append(got)
                say(f"{repeat} {backend}: " + ", ".join(f"{k} {v:.3f}" for k, v in got.items()))
    result: dict[str, object] = {
        "rows": options.rows,
        "limits": limits,
        "period_s": options.period_s,
        "latency_s": options.latency_s,
    }
    for backend, measures in found.items():
        result[backend] = {name: spread([m[name] for m in measures]) for name in measures[0]}
    emit("rate_limit", result)


if __name__ == "__main__":
    main()
