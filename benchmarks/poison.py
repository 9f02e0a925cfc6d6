"""What a prompt costs that kills whatever answers it: rows lost beside it, and restarts until it is found.

    python -m benchmarks.poison
    python -m benchmarks.poison --rows 2000 --poisoned 3 --backends ray

Two kinds of death. `engine`: the `fake` engine ends its process (`poison` in its config) when it sees the prompt,
as a kernel bug does; on Ray that is a worker's death, so it is measured there alone. `endpoint`: the mock server
breaks off all calls under way and stays away for a moment, as `vllm serve` under a supervisor does.

`lost`: rows beside the poisoned ones that came out as Rejects or not at all. `is_rejected`: all poisoned ones are
Rejects. `restarts`: workers started again, as the run says; the bar is 3 + log2(in flight).
"""

import json
import math
from pathlib import Path
from typing import Any

from arbitrage.runs.run import open_run
from arbitrage.teachers.engines.fake import FakeConfig
from benchmarks.harness import CLI, openai_engine, read_calls, run_process, scratch, serve, write_prompts, write_run
from benchmarks.measuring import emit, parser_with, say

POISON_KEY = "poison"
"""Key of the `fake` engine's config: the substring of a prompt that ends the process by `os._exit`."""

MARK = "PLUTONIUM"
RESTART_NOTES = ("starting its worker again", "; starting again")


def run(path: Path, run_dir: Path, backend: str, num_rows: int) -> dict[str, Any]:
    """Run, and say what became of the poisoned rows and of the others."""
    local = ["--local"] if backend == "local" else []
    done = run_process([*CLI, "run", str(path), "--run-dir", str(run_dir), *local], expect=None)
    result: dict[str, Any] = {
        "exit_code": done.code,
        "seconds": round(done.seconds, 2),
        "restarts": sum(any(note in line for note in RESTART_NOTES) for line in done.stderr.splitlines()),
    }
    if done.code:
        return result | {"lost": None, "is_rejected": False, "said": done.stderr.strip().splitlines()[-1][:200]}
    found = open_run(run_dir)
    prompts = [row for table in found.tables("prompts") for row in table.to_pylist()]
    poisoned = {p["prompt_id"] for p in prompts if any(MARK in m["content"] for m in p["messages"])}
    answered = {row for table in found.tables("generate-mock") for row in table.column("prompt_id").to_pylist()}
    rejects = [row for table in found.rejects("generate-mock") for row in table.to_pylist()]
    return result | {
        "lost": num_rows - len(poisoned) - len(answered - poisoned),
        "is_rejected": len(rejects) >= len(poisoned) and not answered & poisoned,
        "reasons": sorted({row["reason"] for row in rejects}),
    }


def main() -> None:
    options = parser_with(__doc__, rows=400, poisoned=1, in_flight=64).parse_args()
    marked = {options.rows // 3 + 7 * n: MARK for n in range(options.poisoned)}
    result: dict[str, Any] = {
        "rows": options.rows,
        "poisoned": options.poisoned,
        "in_flight": options.in_flight,
        "restarts_allowed": options.poisoned * (3 + math.ceil(math.log2(options.in_flight))),
    }
    with scratch() as directory:
        fake = {"kind": "fake", "latency_s": 0.05, "max_in_flight": options.in_flight, POISON_KEY: MARK}
        if POISON_KEY not in FakeConfig.model_fields:
            result["engine"] = {"skipped": f"the fake engine has no '{POISON_KEY}' yet"}
        elif "ray" in options.backends:
            write_prompts((directory / "prompts.jsonl"), options.rows, marked)
            path = write_run(directory, 0, fake, num_shards=2)
            result["engine"] = {"ray": run(path, directory / "engine", "ray", options.rows)}
        for backend in options.backends:
            with serve(latency_s=0.05, poison=MARK, down_s=0.1) as server:
                write_prompts((directory / "prompts.jsonl"), options.rows, marked)
                path = write_run(directory, 0, openai_engine(server.base_url, options.in_flight), num_shards=2)
                got = run(path, directory / f"endpoint-{backend}", backend, options.rows)
                calls = read_calls(server)
                got |= {"calls": calls.num, "crashes": int(max(calls.attempt[calls.status == 0], default=-1)) + 1}
            result.setdefault("endpoint", {})[backend] = got
            say(f"endpoint {backend}: {json.dumps(got)}")
    emit("poison", result)


if __name__ == "__main__":
    main()
