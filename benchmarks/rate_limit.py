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

from benchmarks.harness import Calls, ask_all, openai_engine, scratch, serve, write_run
from benchmarks.measuring import Measures, emit, parser_with, spreads, take_turns

STEP_S = 0.005


def summarise(calls: Calls, origin: float, limits: list[tuple[float, int]], period_s: float) -> Measures:
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
    parse = parser_with(__doc__, rows=8000, in_flight=256, latency_s=0.1, period_s=10.0, shards=4, repeats=3)
    parse.add_argument("--limits", type=json.loads, default=[[0, 64], [5, 32]])
    parse.add_argument("--retry-after-s", type=float, default=-1.0, help="sent with a 429; below 0, none is")
    options = parse.parse_args()
    limits = [(float(t), int(n)) for t, n in options.limits]
    moving = {"limits": limits, "limits_period_s": options.period_s, "retry_after_s": options.retry_after_s}
    with scratch() as directory:

        def measure(backend: str, repeat: int) -> Measures:
            with serve(latency_s=options.latency_s, latency="uniform", **moving) as server:
                engine = openai_engine(server.base_url, options.in_flight)
                path = write_run(directory, options.rows, engine, options.shards)
                calls = ask_all(path, directory / f"{backend}-{repeat}", backend, server, options.rows).calls
            return summarise(calls, float(calls.start.min()), limits, options.period_s)

        found = take_turns(options.backends, options.repeats, measure)
    about = {"rows": options.rows, "limits": limits, "period_s": options.period_s, "latency_s": options.latency_s}
    emit("rate_limit", about | {backend: spreads(turns) for backend, turns in found.items()})


if __name__ == "__main__":
    main()
