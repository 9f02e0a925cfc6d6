"""How much rows that always fail hold up the others: time until the last healthy row is answered, beside a clean run.

    python -m benchmarks.starvation
    python -m benchmarks.starvation --rows 2000 --cases 16:0.1 256:0.06 --backends local

A case is `in flight:share of rows that fail at every try`. The same number of healthy rows is asked twice in each
repeat: alone, and with the failing ones among them. `over_clean`: first call to last healthy answer, with ÷ without
them. The failing rows are tried `num_tries` times, so that a client that does nothing but work takes
1 + share ÷ (1 − share) × num_tries times as long (`bound`, with errors as slow as answers); to end below it, it must
put the retries last. `calls_per_healthy`: calls until the last healthy row is sent ÷ healthy rows, which does not
depend on what else the machine does. `in_all_s`: until the run ends, their retries and pauses included.
"""

import numpy as np

from benchmarks.harness import openai_engine, read_calls, run_cli, scratch, serve, write_run
from benchmarks.measuring import Measures, emit, parser_with, spreads, take_turns

NUM_TRIES = 4


def measure(rows: int, in_flight: int, share: float, latency_s: float, shards: int, backend: str) -> Measures:
    """Run once with a share of rows that always fail; 0 is the clean run."""
    with scratch() as directory, serve(latency_s=latency_s, broken=share) as server:
        engine = openai_engine(server.base_url, in_flight, num_tries=NUM_TRIES)
        path = write_run(directory, rows, engine, shards)
        done = run_cli(path, directory / "run", backend)
        calls = read_calls(server).since(done.started)
        healthy = calls.where(calls.status == 200)
        broken = calls.where(calls.status == 500)
        return {
            "healthy_s": float(healthy.end.max() - calls.start.min()),
            "in_all_s": float(done.ended - calls.start.min()),
            "calls_per_healthy": float(np.sum(calls.start <= healthy.start.max())) / healthy.num_answers,
            "healthy": healthy.num_answers,
            "broken": len(np.unique(broken.key)),
            "calls": calls.num,
        }


def compare(rows: int, case: str, latency_s: float, shards: int, backend: str) -> Measures:
    """Run clean and with failing rows, with about the same number of healthy ones."""
    in_flight, share = int(case.split(":")[0]), float(case.split(":")[1])
    sick = measure(round(rows / (1.0 - share)), in_flight, share, latency_s, shards, backend)
    clean = measure(int(sick["healthy"]), in_flight, 0.0, latency_s, shards, backend)
    return {
        "over_clean": sick["healthy_s"] / clean["healthy_s"],
        "calls_per_healthy": sick["calls_per_healthy"],
        "bound": 1.0 + share / (1.0 - share) * NUM_TRIES,
        "healthy_s": sick["healthy_s"],
        "clean_s": clean["healthy_s"],
        "in_all_s": sick["in_all_s"],
        "broken": sick["broken"],
    }


def main() -> None:
    parse = parser_with(__doc__, rows=2000, latency_s=0.05, shards=4, repeats=3)
    parse.add_argument("--cases", nargs="+", default=["16:0.1", "256:0.01", "256:0.06"])
    options = parse.parse_args()
    found = {}
    for backend in options.backends:
        turns = take_turns(
            options.cases,
            options.repeats,
            lambda case, _, backend=backend: compare(options.rows, case, options.latency_s, options.shards, backend),
        )
        found[backend] = {case: spreads(each) for case, each in turns.items()}
    emit("starvation", {"rows": options.rows, "latency_s": options.latency_s, "shards": options.shards} | found)


if __name__ == "__main__":
    main()
