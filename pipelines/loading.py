"""Read a pipeline's YAML, with overrides from the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pydantic import TypeAdapter

from arbitrage.config import Raw, override, parse_both, paths_beside, typed_texts
from arbitrage.execution.plan import ExecutionPlan
from arbitrage.execution.run import STALL_AFTER_S, RunRequest
from arbitrage.redaction import redact
from arbitrage.runs.paths import AnyPath
from arbitrage.teachers.check import require_ready
from arbitrage.teachers.generate import GenerateConfig
from arbitrage.yaml_text import load_yaml
from pipelines import PipelineConfig

ADAPTER: TypeAdapter[PipelineConfig] = TypeAdapter(PipelineConfig)


@dataclass(frozen=True, slots=True)
class LoadedPipeline:
    """A validated config, and the values that it was made from, without secrets."""

    config: PipelineConfig
    raw: Raw

    def request(
        self, run_dir: AnyPath, shards: Sequence[int] | None = None, stall_after_s: float = STALL_AFTER_S
    ) -> RunRequest:
        """Return a request for a run of it.

        Args:
            run_dir: the run directory.
            shards: the shards to do (default: all).
            stall_after_s: seconds without progress after which the run ends; 0: never.
        """
        return RunRequest(
            name=self.config.name,
            kind=self.config.kind,
            pipeline=self.config.build(),
            run_dir=run_dir,
            num_shards=self.config.num_shards,
            shards=range(self.config.num_shards) if shards is None else shards,
            max_rejected=self.config.max_rejected,
            config=self.raw,
            stall_after_s=stall_after_s,
        )


def require_teachers(execution: ExecutionPlan) -> None:
    """Check, for `execute`, that packages and keys of every teacher with work left are available. No network.

    Raises:
        UserError: a package or key is missing; names the first such teacher.
    """
    configs = [step.job.config for step in execution.steps if step.missing]
    teachers = {config.teacher.name: config.teacher for config in configs if isinstance(config, GenerateConfig)}
    require_ready(tuple(teachers.values()))


def load_pipeline(path: Path, assignments: Sequence[str] = ()) -> LoadedPipeline:
    """Read and validate a pipeline file. Its relative paths are looked for beside it, then in the working directory.

    Args:
        path: the YAML file.
        assignments: `key=value` overrides, applied before validation.

    Raises:
        ConfigError: file, key, value found and values allowed.
    """
    raw = override(load_yaml(path), assignments)
    with paths_beside(path, typed=typed_texts(assignments)):
        config, values = parse_both(raw, ADAPTER, str(path))
    return LoadedPipeline(config, redact(values))


def quickstart_file() -> Path:
    """Return the pipeline file of the embedded default."""
    return Path(str(files("pipelines") / "quickstart.yaml"))
