"""Read a pipeline's YAML, with overrides from the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pydantic import TypeAdapter

from arbitrage.config import Raw, load_yaml, override, parse
from pipelines import PipelineConfig

ADAPTER: TypeAdapter[PipelineConfig] = TypeAdapter(PipelineConfig)


@dataclass(frozen=True, slots=True)
class LoadedPipeline:
    """A validated config beside the values it came from."""

    config: PipelineConfig
    raw: Raw


def load_pipeline(path: Path, assignments: Sequence[str] = ()) -> LoadedPipeline:
    """Read and validate a pipeline file.

    Args:
        path: the YAML file.
        assignments: `key=value` overrides, applied before validation.

    Raises:
        ConfigError: file, key, value found and values allowed.
    """
    raw = override(load_yaml(path), assignments)
    return LoadedPipeline(parse(raw, ADAPTER, str(path)), raw)


def quickstart_file() -> Path:
    """Return the pipeline file of the embedded default."""
    return Path(str(files("pipelines") / "quickstart.yaml"))
