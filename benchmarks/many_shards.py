"""What a shard costs beyond its rows: the same rows in few shards and in many; and a turn of the scheduler.

    python -m benchmarks.many_shards                          20,000 rows in 10 and in 400 shards, local
    python -m benchmarks.many_shards --rows 100000 --many 1000 --backends local ray

`ms_per_shard`: the time the many shards take longer, for each of them, over all steps. `turn_ms`: see
`benchmarks/scheduler_turn.py`. Where another checkout is named (`--against`), its runs are measured in turn.
"""

import json
import os
import sys
from typing import Any

from benchmarks import scheduler_turn
from benchmarks.harness import environment, run_process, scratch, write_run
from benchmarks.measuring import Measures, emit, parser_with, spreads, take_turns


def measure(checkout: str, backend: str, rows: int, num_shards: int) -> float:
    """Return the seconds of a run with an engine that answers at once."""
    with scratch() as directory:
        path = write_run(directory, rows, {"kind": "fake"}, num_shards)
        env: dict[str, Any] = environment()
        if checkout:
            env["PYTHONPATH"] = checkout
        command = [
            sys.executable,
            "-m",
            "benchmarks.instant",
            str(path),
            str(directory / "run"),
            "--backend",
            backend,
        ]
        here = os.getcwd()
        os.chdir(checkout or here)
        try:
            return float(json.loads(run_process(command, env).stdout)["seconds"])
        finally:
            os.chdir(here)


def main() -> None:
    parse = parser_with(__doc__, rows=20_000, few=10, many=400, repeats=2)
    parse.add_argument("--against", default="", help="another checkout, measured in turn")
    options = parse.parse_args()
    checkouts = {"this": "", **({"other": options.against} if options.against else {})}

    def one(who: str, _: int) -> Measures:
        name, backend = who.split("/")
        few, many = (measure(checkouts[name], backend, options.rows, n) for n in (options.few, options.many))
        return {"few_s": few, "many_s": many, "ms_per_shard": (many - few) * 1000 / (options.many - options.few)}

    names = [f"{name}/{backend}" for backend in options.backends for name in checkouts]
    found = {who: spreads(turns) for who, turns in take_turns(names, options.repeats, one).items()}
    turn = {"turn_ms": round(scheduler_turn.measure(1000, 35, num_nodes=8)["turn_ms"], 4)}
    emit("many_shards", {"rows": options.rows, "few": options.few, "many": options.many} | turn | found)


if __name__ == "__main__":
    main()
