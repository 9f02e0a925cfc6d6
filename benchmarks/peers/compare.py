"""Peers beside us in the same run, on the same mock server: rows a second, and 500 rows at 200 ms.

    benchmarks/peers/install.sh                      once: a venv for each peer
    python -m benchmarks.peers.compare               whoever is installed, against the raw client, us local and on Ray

Every peer takes a turn in every repeat. `steady` and `end_to_end` are rows a second as in
orchestration_efficiency.py, ratios are to the raw client's steady rate of the same repeat. `small`: a job of 500
rows at 200 ms; `after_start_s` runs from the first call at the server to the end of the process, `total_s` from the
start of the process.
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    CLI,
    ROOT,
    MockServer,
    environment,
    openai_engine,
    read_calls,
    run_process,
    scratch,
    serve,
    write_run,
)
from benchmarks.measuring import emit, parser, say, spread

PEERS = {"ray_data": "ray_data.py", "datatrove": "with_datatrove.py", "data_designer": "with_data_designer.py"}
HERE = ROOT / "benchmarks/peers"


def python_of(peer: str) -> Path:
    return HERE / f".venv-{peer.replace('_', '-')}" / "bin" / "python"


def command(who: str, url: str, directory: Path, out: Path, in_flight: int) -> list[str]:
    prompts = str(directory / "prompts.jsonl")
    if who == "raw":
        return [sys.executable, str(ROOT / "benchmarks/rivals/raw_asyncio.py"), url, prompts, str(in_flight)]
    if who in PEERS:
        return [str(python_of(who)), str(HERE / PEERS[who]), url, prompts, str(out), str(in_flight)]
    local = ["--local"] if who == "local" else []
    return [*CLI, "run", str(directory / "pipeline.yaml"), "--run-dir", str(out), *local]


def measure(
    who: str, rows: int, in_flight: int, directory: Path, out: Path, server: MockServer
) -> dict[str, float] | None:
    """Give one contender its turn; None where it failed."""
    env = environment(NEMO_TELEMETRY_ENABLED="false")
    if who in PEERS:
        env.pop("PYTHONPATH")
    done = run_process(command(who, server.base_url, directory, out, in_flight), env, expect=None)
    if done.code:
        say(f"{who} failed: {done.stderr.strip().splitlines()[-1][:300]}")
        return None
    calls = read_calls(server).since(done.started)
    if calls.num_answers != rows:
        say(f"{who}: {calls.num_answers} answers in {calls.num} calls, wanted {rows}")
    return {
        "steady": calls.num_answers / calls.span_s,
        "end_to_end": calls.num_answers / done.seconds,
        "total_s": done.seconds,
        "after_start_s": done.ended - float(calls.start.min()),
        "extra_calls": calls.num - calls.num_answers,
    }


def compare(contenders: list[str], rows: int, latency_s: float, options: Any) -> dict[str, list[dict[str, float]]]:
    """Return each contender's measures, with the raw client's steady rate of the same repeat as `raw`."""
    found: dict[str, list[dict[str, float]]] = {who: [] for who in contenders}
    with scratch() as directory, serve(latency_s=latency_s) as server:
        write_run(directory, rows, openai_engine(server.base_url, options.in_flight), num_shards=4)
        for repeat in range(options.repeats):
            raw = 0.0
            for who in contenders:
                out = directory / f"{who}-{repeat}"
                got = measure(who, rows, options.in_flight, directory, out, server)
                if got is None:
                    continue
                raw = raw or got["steady"]  # it has the first turn
                found[who].append(got | {"steady_ratio": got["steady"] / raw, "whole_ratio": got["end_to_end"] / raw})
                say(f"{repeat} {who}: " + ", ".join(f"{k} {v:.2f}" for k, v in found[who][-1].items()))
    return found


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--rows", type=int, default=10_000)
    parse.add_argument("--small-rows", type=int, default=500)
    parse.add_argument("--in-flight", type=int, default=256)
    parse.add_argument("--repeats", type=int, default=3)
    parse.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parse.add_argument("--us", nargs="+", default=["local", "ray"], choices=["local", "ray"])
    options = parse.parse_args()
    peers = [peer for peer in options.peers if python_of(peer).exists()]
    contenders = ["raw", *options.us, *peers]
    absent = sorted(set(options.peers) - set(peers))
    many = compare(contenders, options.rows, 0.05, options)
    few = compare(contenders, options.small_rows, 0.2, options)
    result: dict[str, Any] = {"rows": options.rows, "small_rows": options.small_rows, "absent": absent}
    for who in contenders:
        if not many[who] or not few[who]:
            absent.append(who)
            continue
        names = {"steady": 1, "end_to_end": 1, "steady_ratio": 3, "whole_ratio": 3}
        result[who] = {name: spread([m[name] for m in many[who]], digits) for name, digits in names.items()}
        result[who]["failed"] = 2 * options.repeats - len(many[who]) - len(few[who])
        result[who]["small"] = {n: spread([m[n] for m in few[who]], 2) for n in ("total_s", "after_start_s")}
    emit("peers", result)


if __name__ == "__main__":
    main()
