"""Speed and load of engines: from the replicas' reports to `status`, the manifest and the report."""

from dataclasses import replace
from pathlib import Path

import pytest

from arbitrage.cli.progress import live_sentence
from arbitrage.contracts.workers import EngineStats
from arbitrage.execution.engine_figures import EngineFigures
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.pace import Pace
from arbitrage.execution.ray.metrics import COUNTERS, GAUGES
from arbitrage.report.engines_view import engine_figures, engine_rows
from arbitrage.runs.manifest import EngineReport, LiveStep
from tests.support.asked import asked_pipeline
from tests.support.runs import run

POOLS = {"generate-a": "generate-a", "generate-a-commit": "generate-a", "generate-b": "generate-b"}


def test_figures_of_replicas_are_added_up_and_peaks_kept() -> None:
    figures = EngineFigures(POOLS)
    figures.received("one", ["generate-a"], EngineStats(8, 2, 0.5, 1, 100, 50))
    figures.received("two", ["generate-a"], EngineStats(8, 0, 0.9, 0, 100, 0))
    figures.received("one", ["generate-a"], EngineStats(1, 0, 0.1, 3, 300, 150))
    figures.received("other", ["generate-b"], None)
    assert figures.live("generate-a", ["one", "two"]) == {
        "num_running": 9,
        "num_queued": 0,
        "kv_use": 0.9,
        "num_preemptions": 3,
        "prefix_hits": 0.375,
    }
    assert figures.live("generate-b", ["other"]) == {}
    paces = {"generate-a": Pace(10.0, 0, tokens_done=500, ended_at=15.0), "generate-b": Pace(0.0, 1)}
    assert figures.reports(paces) == {
        "generate-a": EngineReport(
            seconds=5.0,
            tokens_per_s=100.0,
            peak_kv_use=0.9,
            peak_running=16,
            peak_waiting=2,
            num_preemptions=3,
            prefix_hits=0.375,
        )
    }


def test_steps_of_one_pool_share_its_figures() -> None:
    figures = EngineFigures(POOLS)
    figures.received("one", ["generate-a", "generate-a-commit"], EngineStats(num_running=2))
    assert figures.live("generate-a-commit", ["one"])["num_running"] == 2


def test_an_engine_that_looks_nothing_up_has_no_hits() -> None:
    figures = EngineFigures(POOLS)
    figures.received("one", ["generate-a"], EngineStats(num_running=2))
    assert figures.live("generate-a", ["one"])["prefix_hits"] is None


def test_status_says_how_full_the_engine_is() -> None:
    step = LiveStep(num_in_flight=9, num_running=8, num_queued=1, kv_use=0.42, num_preemptions=3, prefix_hits=0.6)
    assert live_sentence(step) == (
        "9 in flight, 1 queued in the engine, KV cache 42% in use, 3 preempted, prefix cache hits 60%"
    )
    assert live_sentence(LiveStep(num_in_flight=9)) == "9 in flight"


def test_a_run_keeps_the_speed_of_each_engine(tmp_path: Path) -> None:
    pipeline = asked_pipeline(12, {"latency_s": 0.02}, cpus=0.0)
    first = run(tmp_path / "r", pipeline, LocalBackend(), shards=2)
    speed = first.engines["generate-fake"]
    assert set(first.engines) == {"generate-fake"}
    assert speed.tokens_per_s > 0
    assert speed.peak_kv_use is None
    again = run(tmp_path / "r", pipeline, LocalBackend(), shards=2)  # nothing is left to do
    assert again.engines == first.engines
    (row,) = engine_rows(again)
    assert row.step == "generate fake"
    table = engine_figures([row])
    assert [column.heading for column in table.columns] == ["tokens per second"]  # the fake engine reports no more
    assert table.rows[0].cells == (speed.tokens_per_s,)
    vllm = replace(row, step="generate v", peak_kv_use=0.5, prefix_hits=0.25)
    table = engine_figures([row, vllm])
    assert [column.short for column in table.columns] == ["tokens/s", "KV cache", "prefix"]
    assert [each.cells[1:] for each in table.rows] == [(None, None), (0.5, 0.25)]


@pytest.mark.parametrize("name", EngineStats.__dataclass_fields__)
def test_each_figure_has_a_metric(name: str) -> None:
    assert f"engine_{name.removeprefix('num_')}" in {**GAUGES, **COUNTERS}
