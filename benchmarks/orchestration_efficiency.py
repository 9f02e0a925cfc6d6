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
    stats_of,
    write_prompts,
    write_run,
)

RIVALS = {"raw": "raw_asyncio.py", "jsonl_script": "asyncio_jsonl.py"}


def measure(
    who: str, repeat: int, rows: int, in_flight: int, directory: Path, server: MockServer
) -> dict[str, float]:
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
    parse = parser(__doc__)
    parse.add_argument("--rows", type=int, default=20_000)
    parse.add_argument("--repeats", type=int, default=5)
    parse.add_argument("--in-flight", type=int, default=256)
    parse.add_argument("--latency-s", type=float, default=0.05)
    parse.add_argument("--shards", type=int, default=4)
    parse.add_argument(
        "--replicas", type=int, default=2, help="processes that ask, on Ray; they share the in-flight cap"
    )
    parse.add_argument("--backends", nargs="+", default=["local", "ray"], choices=["local", "ray"])
    options = parse.parse_args()
    contenders = [*RIVALS, *options.backends]
    found: dict[str, list[dict[str, float]]] = {who: [] for who in contenders}
    with scratch() as directory, serve(latency_s=options.latency_s) as server:
        write_prompts(directory / "prompts.jsonl", options.rows)
        for who in options.backends:
            replicas = options.replicas if who == "ray" else 1
            engine = openai_engine(server.base_url, options.in_flight // replicas)
            write_run(directory / who, options.rows, engine, options.shards, replicas)
        for repeat in range(options.repeats):
            for who in contenders:
                got = measure(who, repeat, options.rows, options.in_flight, directory, server)
                found[who].append(got)
                say(f"{repeat} {who}: " + ", ".join(f"{k} {v:.2f}" for k, v in got.items()))
    result: dict[str, object] = {
        "rows": options.rows,
        "in_flight": options.in_flight,
        "latency_s": options.latency_s,
        "ceiling_rows_per_s": round(options.in_flight / options.latency_s),
    }
    for who in contenders:
        measures = {name: spread([m[name] for m in found[who]], 2) for name in found[who][0]}
        if who != "raw":
            for name in ("steady", "end_to_end"):
                ratios = [a[name] / b["steady"] for a, b in zip(found[who], found["raw"], strict=True)]
                measures[f"{name}_ratio"] = spread(ratios)
        result[who] = measures
    emit("orchestration_efficiency", result)


if __name__ == "__main__":
    main()
