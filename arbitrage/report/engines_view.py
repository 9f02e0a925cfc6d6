"""Speed and load of the engines, as the report shows them."""

from collections.abc import Sequence
from dataclasses import dataclass

from arbitrage.report.formatting import COUNT, WHOLE_SHARE
from arbitrage.report.rendering import Column, Figures, Row, ungrouped
from arbitrage.runs.manifest import Manifest

_COLUMNS = (
    Column("tokens per second", COUNT, short="tokens/s"),
    Column("key-value cache in use, most", WHOLE_SHARE, short="KV cache"),
    Column("requests at once, most", COUNT, short="running"),
    Column("requests queued, most", COUNT, short="queued"),
    Column("preempted", COUNT),
    Column("prompt tokens from the prefix cache", WHOLE_SHARE, short="prefix"),
)


@dataclass(frozen=True, slots=True)
class EngineRow:
    """Figures of a step's engines; see `EngineReport`."""

    step: str
    tokens_per_s: float
    peak_kv_use: float | None
    peak_running: int | None
    peak_waiting: int | None
    num_preemptions: int | None
    prefix_hits: float | None


def engine_rows(manifest: Manifest) -> tuple[EngineRow, ...]:
    """Return the figures of each step that generated tokens."""
    facts = manifest.plan.facts
    return tuple(
        EngineRow(step=facts[name].title, **engine.model_dump(exclude={"seconds"}))
        for name, engine in manifest.engines.items()
        if name in facts
    )


def engine_figures(rows: Sequence[EngineRow]) -> Figures:
    """Return the table, with the columns that some engine has figures for."""
    cells = [_cells(row) for row in rows]
    shown = [place for place in range(len(_COLUMNS)) if any(row[place] is not None for row in cells)]
    by_wall_clock = (
        "Completion tokens by the wall clock, over all replicas, in the last pass that generated for the step."
    )
    return Figures(
        title="Engines",
        corner="step",
        columns=tuple(_COLUMNS[place] for place in shown),
        groups=ungrouped(
            [Row(row.step, tuple(each[place] for place in shown)) for row, each in zip(rows, cells, strict=True)]
        ),
        notes=(by_wall_clock,),
        is_dense=True,
    )


def _cells(row: EngineRow) -> tuple[float | None, ...]:
    peaks = row.peak_kv_use, row.peak_running, row.peak_waiting
    return row.tokens_per_s, *peaks, row.num_preemptions, row.prefix_hits
