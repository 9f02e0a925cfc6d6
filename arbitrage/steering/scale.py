"""The step `scale`: the distribution of each metric, and of the final score, in each language, as a small table.

Only candidates with a final score count, because only they can be chosen. A language with few candidates is shrunk
toward its family and that toward all, as for rewards (`arbitrage.rewards.shrinkage`). Quantile functions are rising
tuples, evenly spaced from 0 to 1; `share_of` is their inverse.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import ClassVar

import pyarrow.compute as pc

from arbitrage.candidates.table import CandidateShard
from arbitrage.contracts.steps import PureCorpusStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.languages import UNKNOWN, family_of
from arbitrage.records import Measurement, MetricScale, content_id
from arbitrage.rewards.shrinkage import Level, Moments, Sample, level_of, merge, pool_within, shrink
from arbitrage.steering.objectives import REWARD
from arbitrage.tables import to_table

NUM_QUANTILES = 101
"""Number of quantiles stored for each distribution: one per cent apart."""


def quantiles_of(rising: Sequence[float]) -> tuple[float, ...]:
    """Return the quantiles of ascending values (linear between order statistics: type 7); empty if there are none."""
    if not rising:
        return ()
    top = len(rising) - 1
    return tuple(value_at(rising, i / (NUM_QUANTILES - 1)) for i in range(NUM_QUANTILES)) if top else (rising[0],)


def value_at(quantiles: Sequence[float], share: float) -> float:
    """Return the quantile: the value below which this share (0..1) of the values is."""
    place = min(max(share, 0.0), 1.0) * (len(quantiles) - 1)
    left = int(place)
    right = min(left + 1, len(quantiles) - 1)
    low, high = quantiles[left], quantiles[right]
    # equal ends first: a + t·(b − a) may round to another number
    return low if low == high else low + (place - left) * (high - low)


def share_of(quantiles: Sequence[float], value: float) -> float:
    """Return the share, 0..1, of values below a value; ties count half."""
    if len(quantiles) < 2:
        return 0.5
    first, last = bisect_left(quantiles, value), bisect_right(quantiles, value)
    top = len(quantiles) - 1
    if first < last:
        return (first + last - 1) / 2 / top
    if first in (0, len(quantiles)):
        return 0.0 if first == 0 else 1.0
    low, high = quantiles[first - 1], quantiles[first]
    return (first - 1 + (value - low) / (high - low)) / top


MIN_VALUES = 20
"""A language with fewer values gets the quantiles of all languages."""


@dataclass(slots=True)
class _Group:
    moments: Moments = field(default_factory=Moments)
    values: Sample = field(default_factory=Sample)
    prompt_means: Sample = field(default_factory=Sample)


class ScaleStep(PureCorpusStep):
    """Computes scales. `shrinkage`: number of values at which a group has the same weight as the level above.

    Attributes:
        shrinkage: number of values at which a group weighs as much as the level above.
    """

    step_kind: ClassVar[str] = "steering_scale"

    shrinkage: float

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Return rows sorted by metric and language; the row of 'und' is all languages."""
        groups: dict[str, dict[str, _Group]] = defaultdict(lambda: defaultdict(_Group))
        for shard in shards:
            _take_in(shard, groups)
        rows = [row for metric in sorted(groups) for row in self._rows(metric, groups[metric])]
        return Output(to_table(rows, MetricScale))

    def _rows(self, metric: str, groups: dict[str, _Group]) -> list[MetricScale]:
        k = self.shrinkage
        pooled = _Group(
            pool_within(groups[language].moments for language in sorted(groups)),
            merge(groups[language].values for language in sorted(groups)),
            merge(groups[language].prompt_means for language in sorted(groups)),
        )
        everything = level_of(pooled.moments)
        rows = {UNKNOWN: _row(metric, UNKNOWN, pooled, everything, pooled)}
        for language in sorted(set(groups) - {UNKNOWN}):
            family = family_of(language)
            relatives = [m for m in sorted(groups) if family != UNKNOWN and family_of(m) == family]
            kin = level_of(pool_within(groups[m].moments for m in relatives))
            above = shrink(kin, everything, k) if len(relatives) > 1 else everything
            shrunk = shrink(level_of(groups[language].moments), above, k)
            rows[language] = _row(metric, language, groups[language], shrunk, pooled)
        return [rows[language] for language in sorted(rows)]


def scale_metrics(shrinkage: float, prompts: Step, measures: Sequence[Step], final: Step) -> Step:
    """Compute moments and quantiles of all metrics and of the final score, by language."""
    return Step(
        facts=StepFacts(verb="scale", label="metrics"),
        config=ScaleStep(shrinkage=shrinkage),
        produces=MetricScale,
        inputs={"prompts": (prompts,), "measures": tuple(measures), "final": (final,)},
        scope="corpus",
    )


def _take_in(inputs: Inputs, groups: dict[str, dict[str, _Group]]) -> None:
    shard = CandidateShard(inputs)
    final = shard.final.filter(pc.is_valid(shard.final["value"]))
    measures = inputs.table("measures", Measurement)
    measures = measures.filter(pc.and_(shard.has_final_value(measures), pc.is_valid(measures["value"])))
    by_prompt: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    keys: dict[str, int] = {}
    for table, metrics in ((measures, measures["metric"].to_pylist()), (final, [REWARD] * final.num_rows)):
        columns = (table[name].to_pylist() for name in ("prompt_id", "candidate_id", "value"))
        for metric, language, prompt_id, candidate_id, value in zip(
            metrics, shard.languages_of(table).to_pylist(), *columns, strict=True
        ):
            if candidate_id not in keys:
                keys[candidate_id] = int(content_id("scale", candidate_id), 16)
            group = groups[metric][language]
            group.moments.add(value, 0.0)
            group.values.add(keys[candidate_id], value)
            by_prompt[metric, language, prompt_id].append(value)
    for (metric, language, prompt_id), values in by_prompt.items():
        key = int(content_id("scale", prompt_id), 16)
        groups[metric][language].prompt_means.add(key, sum(values) / len(values))


def _row(metric: str, language: str, own: _Group, shrunk: Level, pooled: _Group) -> MetricScale:
    quantile_source = own if own.moments.num >= MIN_VALUES else pooled
    return MetricScale(
        metric=metric,
        language=language,
        family=UNKNOWN if language == UNKNOWN else family_of(language),
        num_values=own.moments.num,
        raw_mean=own.moments.mean,
        raw_sd=sqrt(own.moments.variance),
        mean=shrunk.mean,
        sd=shrunk.sd,
        quantiles=quantiles_of(quantile_source.values.values()),
        prompt_quantiles=quantiles_of(quantile_source.prompt_means.values()),
    )


class ScaleTable:
    """The scales of a run, by metric and language."""

    def __init__(self, rows: Iterable[MetricScale]) -> None:
        self._rows = {(row.metric, row.language): row for row in rows}

    def row(self, metric: str, language: str) -> MetricScale | None:
        """Return the scale of a metric in a language (of all languages for an unseen one), or None."""
        return self._rows.get((metric, language)) or self._rows.get((metric, UNKNOWN))
