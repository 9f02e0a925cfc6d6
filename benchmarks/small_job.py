"""500 rows at 200 ms: how long a small job takes, and what of it is starting up.

    python -m benchmarks.small_job
    python -m benchmarks.small_job --rows 500 --latency-s 0.2 --backends local

`first_call_s`: from the process's start to the first call at the server. `after_start_s`: from there to the end of
the process, everything included. `asking_s`: from the first call to the last answer; `report_s`: to the report, which
is the last file written; on Ray, its processes end meanwhile and after it. `help_s`: `arbitrage --help`.
With 256 in flight 500 rows need two rounds, so 0.4 s is the least.
"""

import math
import time
from pathlib import Path

from benchmarks.harness import CLI, ask_all, openai_engine, run_process, scratch, serve, write_run
from benchmarks.measuring import Measures, emit, parser_with, spreads, take_turns


def main() -> None:
    parse = parser_with(__doc__, rows=500, latency_s=0.2, in_flight=256, repeats=5)
    options = parse.parse_args()
    with scratch() as directory, serve(latency_s=options.latency_s) as server:
        path = write_run(directory, options.rows, openai_engine(server.base_url, options.in_flight), num_shards=2)

        def measure(who: str, repeat: int) -> Measures:
            if who == "help":
                return {"total_s": run_process([*CLI, "--help"]).seconds}
            run_dir = directory / f"{who}-{repeat}"
            asked = ask_all(path, run_dir, who, server, options.rows)
            first = float(asked.calls.start.min())
            return {
                "total_s": asked.done.seconds,
                "first_call_s": first - asked.done.started,
                "asking_s": asked.calls.span_s,
                "report_s": written_at(run_dir / "report.html") - first,
                "after_start_s": asked.done.ended - first,
            }

        found = take_turns(["help", *options.backends], options.repeats, measure)
    result: dict[str, object] = {name: spreads(turns) for name, turns in found.items()}
    help_s = spreads(found["help"])["total_s"]
    least_s = math.ceil(options.rows / options.in_flight) * options.latency_s
    about = {"rows": options.rows, "latency_s": options.latency_s, "least_s": least_s, "help_s": help_s}
    emit("small_job", about | {name: value for name, value in result.items() if name != "help"})


def written_at(path: Path) -> float:
    """Return when a file was last written, by CLOCK_MONOTONIC."""
    return path.stat().st_mtime - time.time() + time.monotonic()


if __name__ == "__main__":
    main()
