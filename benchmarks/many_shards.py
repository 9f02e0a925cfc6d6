"""What a shard costs beyond its rows: the same rows in few shards and in many; and a turn of the scheduler.

    python -m benchmarks.many_shards                          20,000 rows in 10 and in 400 shards, local
    python -m benchmarks.many_shards --rows 100000 --many 1000 --backends local ray

`ms_per_shard`: the time the many shards take longer, for each of them, over all steps. `turn_ms`: one finished shard
in a run of 1,000 shards and 35 steps, from its end to the next shards taken, without the cluster. Where another
checkout is named (`--against`), its runs are measured in turn with these.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from arbitrage.contracts.steps import Step, StepFacts
from arbitrage.execution.plan import plan
from arbitrage.execution.readiness import Readiness
from arbitrage.records import Candidate, Prompt
from benchmarks.harness import environment, run_process, scratch, write_run
from benchmarks.measuring import Measures, emit, parser_with, spreads, take_turns


def turn_ms(num_shards: int, num_steps: int) -> float:
    """Return the milliseconds from one shard's end to the next ones taken, the mean over a whole run."""
    from tests.support.toy import ToyAnswer, ToySource

    steps = [Step(StepFacts(verb="prompts"), ToySource(num_rows=1), Prompt, scope="source")]
    for number in range(num_steps - 1):
        upstream = steps[-1] if number % 5 else steps[0]
        facts = StepFacts(verb="generate", label=str(number))
        steps.append(Step(facts, ToyAnswer(teacher=str(number)), Candidate, {"prompts": (upstream,)}))
    execution = plan(Path("/nonexistent"), steps, num_shards, range(num_shards))
    readiness = Readiness(execution.steps)
    started, num_turns = time.perf_counter(), 0
    while any(readiness.undone.values()):
        for step in execution.steps:
            if (shard := readiness.take(step.step.name)) is not None:
                readiness.done(step.step.name, shard)
                num_turns += 1
    return (time.perf_counter() - started) * 1000 / num_turns


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
    turn = {"turn_ms": round(turn_ms(1000, 35), 4)}
    emit("many_shards", {"rows": options.rows, "few": options.few, "many": options.many} | turn | found)


if __name__ == "__main__":
    main()
