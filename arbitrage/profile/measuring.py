"""Measure batches of texts, here or in worker processes, which return numbers and small digests, no texts."""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from arbitrage.contracts.metrics import Metric, SetMetric
from arbitrage.metrics import MetricConfig, SetMetricConfig
from arbitrage.processes.pools import end_with_parent
from arbitrage.profile.entries import ProfileEntry
from arbitrage.text.identify import IDENTIFIED_CHARS, identify
from arbitrage.text.measured import Measured, Reason
from arbitrage.text.text import Text

BATCH_TEXTS = 128
IN_FLIGHT = 4
"""Batches queued for each worker process: enough to keep it busy, but at most 1,000 texts."""

REASONS: tuple[Reason, ...] = get_args(Reason)
_CODES = {reason: np.uint8(i + 1) for i, reason in enumerate(REASONS)}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measurements:
    """Results for N texts by M metrics and S set metrics.

    Attributes:
        languages: of each text, given or identified.
        values_NM: NaN if there is a reason.
        reasons_NM: 0, or 1 + the position in `REASONS`.
        digests_SN: digest of each text for each set metric.
    """

    languages: list[str]
    values_NM: Floats
    reasons_NM: NDArray[np.uint8]
    digests_SN: list[list[Any]]


class MetricRunner:
    """The built metrics."""

    def __init__(self, metrics: Sequence[MetricConfig], set_metrics: Sequence[SetMetricConfig]) -> None:
        self._metrics: list[Metric] = [config.build() for config in metrics]
        self._set_metrics: list[SetMetric] = [config.build() for config in set_metrics]

    def measure(self, entries: Sequence[ProfileEntry]) -> Measurements:
        """Measure texts."""
        texts = [Text(e.text, e.language or _identified(e.text), e.embedding, e.reasoning) for e in entries]
        values = np.full((len(texts), len(self._metrics)), np.nan)
        reasons = np.zeros(values.shape, dtype=np.uint8)
        for column, metric in enumerate(self._metrics):
            write_column(values, reasons, column, metric.measure(texts))
        digests = [[metric.digest(text) for text in texts] for metric in self._set_metrics]
        return Measurements([text.language for text in texts], values, reasons, digests)


def write_column(values: Floats, reasons: NDArray[np.uint8], column: int, found: Sequence[Measured]) -> None:
    """Write the results of one metric into its column."""
    for row, measured in enumerate(found):
        if measured.value is None:
            reasons[row, column] = _CODES[measured.reason or "not_finite"]
        else:
            values[row, column] = measured.value


def measure_all(
    entries: Iterator[ProfileEntry],
    metrics: Sequence[MetricConfig],
    set_metrics: Sequence[SetMetricConfig],
    num_processes: int,
) -> Iterator[tuple[list[ProfileEntry], Measurements]]:
    """Yield batches in order, measured: metrics without a model in worker processes, those with one here.

    Args:
        entries: texts; a few batches are read ahead.
        metrics: metrics of texts; columns are in this order.
        set_metrics: metrics of sets.
        num_processes: number of workers; with 1 everything runs in this process.
    """
    cheap = [i for i, config in enumerate(metrics) if not config.is_model]
    with_model = [i for i, config in enumerate(metrics) if config.is_model]
    models = [metrics[i].build() for i in with_model]
    found = _measure_cheap(entries, [metrics[i] for i in cheap], set_metrics, num_processes)
    with closing(found):
        for batch, measured in found:
            yield batch, _with_models(batch, measured, cheap, with_model, models)


def _measure_cheap(
    entries: Iterator[ProfileEntry],
    metrics: Sequence[MetricConfig],
    set_metrics: Sequence[SetMetricConfig],
    num_processes: int,
) -> Generator[tuple[list[ProfileEntry], Measurements], None, None]:
    batches = iter(lambda: list(islice(entries, BATCH_TEXTS)), [])
    first = list(islice(batches, 2 * IN_FLIGHT))
    if num_processes < 2 or len(first) < 2 * IN_FLIGHT:  # starting processes takes as long as 2,000 texts
        gauge = MetricRunner(metrics, set_metrics)
        for batch in (*first, *batches):
            yield batch, gauge.measure(batch)
        return
    with ProcessPoolExecutor(
        num_processes,
        mp_context=get_context("spawn"),
        initializer=_start,
        initargs=(tuple(metrics), tuple(set_metrics)),
    ) as pool:
        waiting: list[tuple[list[ProfileEntry], Future[Measurements]]] = []
        try:
            for source in (first, batches):
                for batch in source:
                    waiting.append((batch, pool.submit(_measure, batch)))
                    if len(waiting) >= IN_FLIGHT * num_processes:
                        done, future = waiting.pop(0)
                        yield done, future.result()
            for done, future in waiting:
                yield done, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _with_models(
    batch: Sequence[ProfileEntry],
    measured: Measurements,
    cheap: Sequence[int],
    with_model: Sequence[int],
    models: Sequence[Metric],
) -> Measurements:
    """Insert the columns of metrics with a model between the others."""
    if not with_model:
        return measured
    texts = [Text(e.text, tag, e.embedding, e.reasoning) for e, tag in zip(batch, measured.languages, strict=True)]
    values = np.full((len(batch), len(cheap) + len(with_model)), np.nan)
    reasons = np.zeros(values.shape, dtype=np.uint8)
    values[:, cheap], reasons[:, cheap] = measured.values_NM, measured.reasons_NM
    for column, model in zip(with_model, models, strict=True):
        write_column(values, reasons, column, model.measure(texts))
    return Measurements(measured.languages, values, reasons, measured.digests_SN)


def _identified(text: str) -> str:
    return identify(text[:IDENTIFIED_CHARS]).language


_gauge: MetricRunner | None = None


def _start(metrics: Sequence[MetricConfig], set_metrics: Sequence[SetMetricConfig]) -> None:
    """Build the metrics of a worker process."""
    end_with_parent()
    global _gauge
    _gauge = MetricRunner(metrics, set_metrics)


def _measure(batch: Sequence[ProfileEntry]) -> Measurements:
    assert _gauge is not None
    return _gauge.measure(batch)
