"""Do a run with an engine that answers at once, without export and report; and say what the driver's memory was.

    python -m benchmarks.instant PIPELINE.yaml RUN_DIR [--backend ray]

For building large runs quickly (the `openai` engine is replaced, in this process, by one that sends no requests; on
Ray use a pipeline with the `fake` engine). Prints one JSON line: seconds, and the process's largest resident set
after each phase.
"""

import json
import time
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

from arbitrage.cli.options import chosen_shards
from arbitrage.contracts.engines import Completion, Engine, GenerationRequest
from arbitrage.execution.environment import collect_seldom
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.execution.progress import NoProgress
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.execution.run import execute
from arbitrage.records import FinishReason
from arbitrage.runs.manifest import ShardStats
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from benchmarks.measuring import parser, say
from pipelines.loading import load_pipeline


class Instant:
    """Answers without asking."""

    async def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Completion, None]:
        for request in requests:
            yield Completion(
                candidate_id=request.candidate_id,
                text=f"the answer to {request.source_id} is a river of {request.seed} bends",
                finish_reason=FinishReason.STOP,
                prompt_tokens=12,
                completion_tokens=10,
            )

    async def close(self) -> None:
        return None


def build_instant(_: OpenAIConfig, __: ModelSpec) -> Engine:
    return Instant()


def peak_rss_mb() -> float:
    """Return the largest resident set this process ever had, from the kernel's high-water mark."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024, 1)


class Watched(NoProgress):
    """Notes memory when a step's shard is done."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.peaks: dict[str, float] = {}

    def planned(self, execution: ExecutionPlan) -> None:
        self.peaks["planned"] = peak_rss_mb()

    def shard_done(self, step: PlannedStep, shard: int, stats: ShardStats) -> None:
        self.peaks[step.step.name] = peak_rss_mb()
        say(f"{time.monotonic() - self.started:6.1f} s {step.step.name} {shard}: {stats.num_rows} rows")


def do_run(pipeline: Path, run_dir: Path, backend: str) -> dict[str, object]:
    """Run a pipeline to its manifest."""
    loaded = load_pipeline(pipeline)
    request = loaded.request(run_dir.absolute(), chosen_shards(loaded.config.num_shards, None))
    watched = Watched()
    before = peak_rss_mb()
    execute(request, LocalBackend() if backend == "local" else RayBackend(), watched)
    seconds = round(time.monotonic() - watched.started, 3)
    return {"seconds": seconds, "imported_mb": before, "peaks_mb": watched.peaks, "peak_mb": peak_rss_mb()}


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("pipeline", type=Path)
    parse.add_argument("run_dir", type=Path)
    parse.add_argument("--backend", default="local", choices=["local", "ray"])
    parse.add_argument("--ask", action="store_true", help="leave the engine as it is")
    options = parse.parse_args()
    collect_seldom()  # as the command line does
    if not options.ask:
        OpenAIConfig.build = build_instant  # type: ignore[method-assign]
    print(json.dumps(do_run(options.pipeline, options.run_dir, options.backend)))


if __name__ == "__main__":
    main()
