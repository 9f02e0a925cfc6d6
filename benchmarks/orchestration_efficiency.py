"""Rows a second, end to end, against a raw asyncio client on the same mock server.

    python -m benchmarks.orchestration_efficiency                         20,000 rows, 5 repeats, local and Ray
    python -m benchmarks.orchestration_efficiency --rows 5000 --repeats 3 --backends local

Raw client, JSONL script, `arbitrage run --local` and `arbitrage run` on Ray take turns in every repeat, so that a
busy machine slows all of them alike; a ratio is taken within a repeat, and the median of repeats is the figure.

`steady`: rows a second between the first call's arrival at the server and the last answer, from the server's log.
`end_to_end`: rows a second of the whole process: start, imports, reading prompts, asking, checks, selection, report.
Ratios of `raw` are to the raw client's steady rate: its own start would flatter us.
"""

import sys
from pathlib import Path

from benchmarks.harness import (
    ROOT,
    MockServer,
    openai_engine,
    read_calls,
    run_cli,
    run_process,
    scratch,
    serve,
    stats_of,
    write_prompts,
    write_run,
)
from benchmarks.measuring import Measures, emit, parser_with, spread, spreads, take_turns

RIVALS = {"raw": "raw_asyncio.py", "jsonl_script": "asyncio_jsonl.py"}


def measure(who: str, repeat: int, rows: int, in_flight: int, directory: Path, server: MockServer) -> Measures:
    """Run one contender once; return its rates in rows a second."""
    before = read_calls(server).num
    cpu_before = stats_of(server)["cpu_s"]
    if who in RIVALS:
        script = [sys.executable, str(ROOT / "benchmarks/rivals" / RIVALS[who])]
        target = [] if who == "raw" else [str(directory / f"answers-{repeat}.jsonl")]
        done = run_process([*script, server.base_url, str(directory / "prompts.jsonl"), *target, str(in_flight)])
    else:
        done = run_cli(directory / who / "pipeline.yaml", directory / f"{who}-{repeat}", who)
    calls = read_calls(server).since(done.started)
    if calls.num_answers != rows or read_calls(server).num - before != rows:
        raise SystemExit(f"{who}: {calls.num_answers} answers, {calls.num} calls, wanted {rows}")
    first, last = calls.start.min(), calls.end.max()
    return {
        "steady": rows / calls.span_s,
        "end_to_end": rows / done.seconds,
        "start_s": first - done.started,
        "finish_s": done.ended - last,
        "server_cpu_share": (stats_of(server)["cpu_s"] - cpu_before) / calls.span_s,
    }


def main() -> None:
    parse = parser_with(__doc__, rows=20_000, repeats=5, in_flight=256, latency_s=0.05, shards=4)
    parse.add_argument(
        "--replicas", type=int, default=2, help="processes that ask, on Ray; they share the in-flight cap"
    )
    options = parse.parse_args()
    with scratch() as directory, serve(latency_s=options.latency_s) as server:
        write_prompts(directory / "prompts.jsonl", options.rows)
        for who in options.backends:
            replicas = options.replicas if who == "ray" else 1
            engine = openai_engine(server.base_url, options.in_flight // replicas)
            write_run(directory / who, options.rows, engine, options.shards, replicas)

        def turn(who: str, repeat: int) -> Measures:
            return measure(who, repeat, options.rows, options.in_flight, directory, server)

        found = take_turns([*RIVALS, *options.backends], options.repeats, turn)
    result: dict[str, object] = {
        "rows": options.rows,
        "in_flight": options.in_flight,
        "latency_s": options.latency_s,
        "ceiling_rows_per_s": round(options.in_flight / options.latency_s),
    }
    for who, turns in found.items():
        result[who] = measures = spreads(turns, 2)
        if who != "raw":
            for name in ("steady", "end_to_end"):
                ratios = [a[name] / b["steady"] for a, b in zip(turns, found["raw"], strict=True)]
                measures[f"{name}_ratio"] = spread(ratios)
    emit("orchestration_efficiency", result)


if __name__ == "__main__":
    main()
