"""How long a run with a million done rows takes to resume, and to find out that nothing is left to do.

    python -m benchmarks.resume                    1,000,000 rows; building them takes minutes
    python -m benchmarks.resume --rows 50000

The rows are built with an engine that answers at once; then one shard of the answers, and what depends on it, is
removed. `first_call_s`: from the start of `arbitrage run --local` to the first call at the server: imports,
planning, reading what is done. `nothing_to_do_s`: planning and balancing the books of a finished run, in a process
that has imported everything. `second_run_s`: the whole command over a finished run, which exports and reports
again.
"""

import json
import sys
import time
from pathlib import Path

from arbitrage.runs.layout import rejects_path, shard_path, stats_path
from arbitrage.runs.run import open_run
from benchmarks.harness import openai_engine, read_calls, run_cli, run_process, scratch, serve, write_run
from benchmarks.measuring import emit, parser, say, spread


def forget_shard(run_dir: Path, shard: int) -> int:
    """Remove a shard of the answers and of all that depends on them; return the rows it held."""
    run = open_run(run_dir)
    rows = 0
    for step in run.plan.steps:
        if step.facts.verb in ("prompts", "route"):
            continue
        directory = run_dir / step.directory
        stats = stats_path(directory, shard)
        if step.name == "generate-mock":
            rows = json.loads(stats.read_text())["num_rows"]
        for place in (shard_path, rejects_path, stats_path):
            place(directory, shard).unlink(missing_ok=True)
    (run_dir / "manifest.json").unlink(missing_ok=True)
    return rows


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--rows", type=int, default=1_000_000)
    parse.add_argument("--shards", type=int, default=0, help="0: one for each 4,096 rows")
    parse.add_argument("--repeats", type=int, default=3)
    parse.add_argument("--with-report", action="store_true", help="measure `second_run_s` too")
    options = parse.parse_args()
    num_shards = options.shards or max(2, options.rows // 4096)
    first, nothing, second = [], [], []
    with scratch() as directory, serve(latency_s=0.01) as server:
        path = write_run(directory, options.rows, openai_engine(server.base_url), num_shards)
        run_dir = directory / "run"
        instant = [sys.executable, "-m", "benchmarks.instant", str(path), str(run_dir)]
        build = json.loads(run_process(instant).stdout)
        say(f"built: {json.dumps(build)}")
        for repeat in range(options.repeats):
            nothing.append(json.loads(run_process(instant).stdout)["seconds"])
            missing = forget_shard(run_dir, repeat % num_shards)
            since = time.monotonic()
            done = run_process(resume_command(path, run_dir))
            calls = read_calls(server).since(since)
            if calls.num != missing:
                raise SystemExit(f"{calls.num} calls for {missing} missing rows")
            first.append(float(calls.start.min()) - done.started)
            if options.with_report:
                second.append(run_cli(path, run_dir, "local").seconds)
            say(f"{repeat}: first call {first[-1]:.2f} s, nothing to do {nothing[-1]:.2f} s")
    result = {
        "rows": options.rows,
        "shards": num_shards,
        "build_s": build["seconds"],
        "first_call_s": spread(first),
        "nothing_to_do_s": spread(nothing),
        "missing_rows": missing,
        "extra_calls": 0,
    }
    emit("resume", result | ({"second_run_s": spread(second)} if second else {}))


def resume_command(path: Path, run_dir: Path) -> list[str]:
    """Return a command that resumes without export and report, asking the server."""
    return [sys.executable, "-m", "benchmarks.instant", "--ask", str(path), str(run_dir)]


if __name__ == "__main__":
    main()
