"""Do a shard of an answering worker as a backend would, with a real journal in a temporary folder."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from arbitrage.contracts.steps import Resources, StepConfig
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.execution.counters import LiveCounters
from arbitrage.execution.item_task import settle
from arbitrage.execution.plan import Job
from arbitrage.records import Record
from arbitrage.runs.journal import open_journal


def settle_shard(worker: Any, inputs: Inputs, record: type[Record]) -> Output:
    """Request every item of the shard, then close the worker."""

    async def run() -> Output:
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder)
            job = Job("step", StepConfig(), record, "shard", {}, directory, Resources(), "step", 1, (0,))
            live_counters = LiveCounters()
            with (
                open_journal(directory, 0, record, {}, died=False) as journal,
                live_counters.counting("step", 0) as counters,
            ):
                output = await settle(job, worker.begin(inputs), journal, counters, live_counters)
        await worker.close()
        return output

    return asyncio.run(run())
