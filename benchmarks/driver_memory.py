"""Whether the driver's memory grows with the number of rows: peak resident set, phase by phase.

    python -m benchmarks.driver_memory                            100,000 and 1,000,000 rows
    python -m benchmarks.driver_memory --rows 100000 1000000 10000000 --backend ray

The `fake` engine answers at once. On Ray the rows are in the workers and the driver should stay flat; the prompts
are read in the driver on either backend, where ten to twenty bytes of each are kept, to know doubles. `local` does
all the work in one process: its peak is that of a shard, so shards have the same number of rows whatever the total.
"""

import json
import sys

from benchmarks.harness import run_process, scratch, write_run
from benchmarks.measuring import emit, parser, say


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parse.add_argument("--shard-rows", type=int, default=8192)
    parse.add_argument("--backend", default="ray", choices=["local", "ray"])
    options = parse.parse_args()
    result: dict[str, object] = {"backend": options.backend, "shard_rows": options.shard_rows}
    by_rows: dict[str, object] = {}
    for rows in options.rows:
        with scratch() as directory:
            engine = {"kind": "fake", "max_in_flight": 1024}
            path = write_run(directory, rows, engine, max(1, rows // options.shard_rows))
            command = [sys.executable, "-m", "benchmarks.instant", "--backend", options.backend]
            by_rows[str(rows)] = json.loads(run_process([*command, str(path), str(directory / "run")]).stdout)
            say(f"{rows}: {json.dumps(by_rows[str(rows)])}")
    peaks = [found["peak_mb"] for found in by_rows.values()]  # type: ignore[index]
    growth = (peaks[-1] - peaks[0]) * 2**20 / max(1, options.rows[-1] - options.rows[0])
    emit("driver_memory", result | {"by_rows": by_rows, "bytes_per_row": round(growth, 1)})


if __name__ == "__main__":
    main()
