"""The driver's time for one turn of the Ray scheduler, with a stub in place of Ray: our own loop alone is measured.

    python -m benchmarks.scheduler_turn                        1,000 shards, 35 steps, 8 teachers
    python -m benchmarks.scheduler_turn --shards 10000 --against /another/checkout

Each call to a worker ends at once and each turn is told of one of them, the worst case: as many turns as shards. The
pipeline has a source, a router, 8 teachers and light steps that read their shards. Where another checkout is named,
its scheduler is measured in turn with this one.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

from arbitrage.contracts.steps import Resources, Step, StepConfig, StepFacts
from arbitrage.execution.plan import ExecutionPlan, plan
from arbitrage.execution.progress import NoProgress, RunMonitor, StopFlag
from arbitrage.execution.ray.cluster import Node
from arbitrage.execution.ray.demand import Demand
from arbitrage.execution.ray.pools import Cluster
from arbitrage.execution.ray.scheduler import Scheduler
from arbitrage.records import Candidate, Prompt, Score
from arbitrage.runs.manifest import ShardStats
from benchmarks.harness import ROOT, run_process
from benchmarks.measuring import Measures, emit, parser, spreads, take_turns

NUM_TEACHERS = 8
REPLICAS = 8
COUNTS = ShardStats(num_in=0, num_rows=0, accounts=(), seconds=0.1).model_dump_json()


class Nothing(StepConfig):
    """A step that is never built."""

    step_kind: ClassVar[str] = "benchmark_nothing"

    number: int
    remote: bool = False

    @property
    def is_remote(self) -> bool:
        """Whether its workers would share a process."""
        return self.remote


def pipeline(num_steps: int) -> list[Step]:
    """Return the steps: a source, a router, then for each teacher one that generates and light ones that read it."""
    source = Step(StepFacts(verb="prompts"), Nothing(number=0), Prompt, scope="source")
    route = Step(StepFacts(verb="route"), Nothing(number=1), Prompt, {"prompts": (source,)})
    steps = [source, route]
    generators: list[Step] = []
    while len(steps) < num_steps:
        number = len(steps)
        if len(generators) < NUM_TEACHERS:
            facts = StepFacts(verb="generate", label=f"t{number}")
            resources = Resources(gpus=1, replicas=REPLICAS) if number % 2 else Resources()
            config = Nothing(number=number, remote=not number % 2)
            generators.append(Step(facts, config, Candidate, {"prompts": (route,)}, resources, pool=facts.name))
            steps.append(generators[-1])
        else:
            facts = StepFacts(verb="score", label=f"s{number}")
            upstream = (source, generators[number % NUM_TEACHERS])
            steps.append(Step(facts, Nothing(number=number), Score, {"candidates": upstream}))
    return steps


class _Answer:
    """A reference to a result."""

    def __init__(self, value: Any = None) -> None:
        self.value = value


class _Method:
    def __init__(self, call: Any) -> None:
        self.remote = call

    def options(self, **_: Any) -> "_Method":
        """Return itself."""
        return self


class _Actor:
    """An actor that has done everything at once."""

    def __init__(self, _: Any = None) -> None:
        self.do = _Method(lambda *_: _Answer(COUNTS))
        self.prepare = self.leave = self.stop = _Method(lambda *_: _Answer())
        self.report = _Method(lambda *_: _Answer({}))

    @classmethod
    def remote(cls) -> "_Actor":
        """Start it."""
        return cls()


def _light(_: Any, attempts: Sequence[Any], *chain: Any) -> _Answer:
    return _Answer([[COUNTS] * (1 + len(chain)) for _ in attempts])


def _remote(*called: Any, **_: Any) -> Any:
    """Return what `ray.remote` would: an actor class where it is given options, a function otherwise."""
    return _Method(_light) if called else lambda _: _Actor


def _wait(refs: Sequence[Any], num_returns: int = 1, timeout: float | None = None) -> tuple[list[Any], list[Any]]:
    """Return the first reference, and the others: as if one shard ended in each turn."""
    del num_returns, timeout
    return list(refs[:1]), list(refs[1:])


STUB: Mapping[str, Any] = {
    "ray.wait": _wait,
    "ray.get": lambda ref, **_: ref.value,
    "ray.put": lambda value: value,
    "ray.remote": _remote,
    "ray.kill": lambda _: None,
    "ray.util.placement_group.placement_group": lambda *_, **__: None,
    "ray.util.remove_placement_group": lambda _: None,
}


def turns_of(execution: ExecutionPlan, num_nodes: int) -> tuple[int, float]:
    """Return the number of turns of a whole run, and the seconds they took."""
    nodes = [Node(f"{n:056x}", 64, 8) for n in range(num_nodes)]
    watch = RunMonitor(execution, NoProgress(), StopFlag(), 0.0)
    scheduler = Scheduler(execution, Cluster(nodes), watch, lambda: nodes, Demand(is_signalled=False))
    turn, num_turns = scheduler._turn, 0  # counted, not changed

    def counted() -> None:
        nonlocal num_turns
        num_turns += 1
        turn()

    scheduler._turn = counted  # type: ignore[method-assign]
    started = time.perf_counter()
    scheduler.run()
    return num_turns, time.perf_counter() - started


def measure(num_shards: int, num_steps: int, num_nodes: int) -> Measures:
    """Return the milliseconds of a turn, the mean over a whole run."""
    import ray  # noqa: F401  # before it is replaced

    with tempfile.TemporaryDirectory() as directory, stubbed():
        execution = plan(Path(directory), pipeline(num_steps), num_shards, range(num_shards))
        steps = tuple(_without_source(s) for s in execution.steps)
        execution = ExecutionPlan(execution.run_dir, num_shards, execution.shards, steps)
        num_turns, seconds = turns_of(execution, num_nodes)
    num_done = num_shards * (num_steps - 1)
    return {
        "turn_ms": seconds * 1000 / num_turns,
        "turns": num_turns,
        "shard_ms": seconds * 1000 / num_done,
        "run_s": seconds,
    }


def _without_source(step: Any) -> Any:
    from dataclasses import replace

    return replace(step, missing=()) if step.step.scope == "source" else step


def stubbed() -> Any:
    """Return a context in which Ray is replaced."""
    from contextlib import ExitStack

    import ray.util.placement_group  # noqa: F401

    stack = ExitStack()
    for name, value in STUB.items():
        stack.enter_context(patch(name, value))
    return stack


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--shards", type=int, default=1000)
    parse.add_argument("--steps", type=int, default=35)
    parse.add_argument("--nodes", type=int, default=8)
    parse.add_argument("--repeats", type=int, default=3)
    parse.add_argument("--against", default="", help="another checkout, measured in turn")
    parse.add_argument("--once", action="store_true", help="print one measurement of this process")
    options = parse.parse_args()
    if options.once:
        print(json.dumps(measure(options.shards, options.steps, options.nodes)))
        return
    checkouts = {"this": str(ROOT), **({"other": options.against} if options.against else {})}

    def one(who: str, _: int) -> Measures:
        script = [sys.executable, __file__, "--once"]
        for name in ("shards", "steps", "nodes"):
            script += [f"--{name}", str(getattr(options, name))]
        path = f"{checkouts[who]}{os.pathsep}{ROOT}"  # the benchmark is this one, the scheduler the checkout's
        found: Measures = json.loads(run_process(script, os.environ | {"PYTHONPATH": path}).stdout)
        return found

    found = {who: spreads(turns) for who, turns in take_turns(checkouts, options.repeats, one).items()}
    emit("scheduler_turn", {"shards": options.shards, "steps": options.steps, "nodes": options.nodes} | found)


if __name__ == "__main__":
    main()
