"""The step `look_like`: the distribution of metrics, by language, in the target data set of a run.

Read as `arbitrage profile` reads: Parquet or JSON Lines, ours or foreign, the language identified where absent.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from arbitrage.config import Config, LanguageTag, Operational, Paths, Raw
from arbitrage.contracts.steps import PureCorpusStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.errors import DataError
from arbitrage.inputs.columns import ProfileColumns
from arbitrage.inputs.tables import find_tables
from arbitrage.metrics import MetricConfig
from arbitrage.profile.entries import EntryBuilder
from arbitrage.profile.measuring import measure_all
from arbitrage.profile.reading import ProfileReader
from arbitrage.records import TargetQuantiles
from arbitrage.rewards.shrinkage import Sample
from arbitrage.steering.scale import quantiles_of
from arbitrage.tables import to_table


class TargetData(Config):
    """The target data set.

    Attributes:
        paths: files, globs or directories of Parquet or JSON Lines.
        columns: which column holds what, if it has no usual name.
        language: language of rows without one; null identifies it.
        min_texts: languages with fewer values of a metric have no target, and are not steered by it.
    """

    paths: Annotated[Paths, Operational]  # identified by the files' content
    columns: ProfileColumns = ProfileColumns()
    language: LanguageTag | None = None
    min_texts: int = Field(default=20, ge=2)

    def identity(self) -> Raw:
        """Identify the files by their content instead of their paths."""
        return super().identity() | {
            "files": [file.identity[1:] for file in find_tables(self.paths, "like.paths").files]
        }

    def reader(self) -> ProfileReader:
        """Return a reader of its texts."""
        return ProfileReader(self.paths, EntryBuilder(self.columns, language=self.language))


class TargetStep(PureCorpusStep):
    """Measures the target; independent of its inputs."""

    step_kind: ClassVar[str] = "profile_target"

    data: TargetData
    metrics: tuple[MetricConfig, ...]

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Return rows sorted by metric and language.

        Raises:
            DataError: no language has enough texts.
        """
        del shards  # the target is not part of the run
        names = [metric.metric_name for metric in self.metrics]
        samples: dict[tuple[str, str], Sample] = defaultdict(Sample)
        counts: dict[tuple[str, str], int] = defaultdict(int)
        entries = self.data.reader().entries()
        for batch, found in measure_all(entries, self.metrics, (), 1):
            for entry, language, values in zip(batch, found.languages, found.values_NM.tolist(), strict=True):
                for name, value in zip(names, values, strict=True):
                    if value == value:  # not NaN: there is a value
                        samples[name, language].add(entry.key, value)
                        counts[name, language] += 1
        rows = [
            TargetQuantiles(
                metric=name,
                language=language,
                num_values=counts[name, language],
                quantiles=quantiles_of(samples[name, language].values()),
            )
            for name, language in sorted(samples)
            if counts[name, language] >= self.data.min_texts
        ]
        if not rows:
            raise DataError(
                f"like: no language of {', '.join(self.data.paths)} has {self.data.min_texts} texts "
                f"with a value of {', '.join(names)}"
            )
        return Output(to_table(rows, TargetQuantiles))


def look_like(data: TargetData, metrics: Sequence[MetricConfig]) -> Step:
    """Compute the quantiles of metrics in a data set, by language."""
    return Step(
        facts=StepFacts(verb="target", label="profile"),
        config=TargetStep(data=data, metrics=tuple(metrics)),
        produces=TargetQuantiles,
        scope="corpus",
    )
