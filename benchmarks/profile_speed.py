"""Texts a second that `arbitrage profile` reads, measures and sums up with every metric that needs no model.

Texts are made of the lines of real answers (six models in six languages), dealt anew within a language, so that they
are as long as real ones and all different. Prints one JSON line: texts/s of each repeat with the start of the worker
processes, the median, processor time for each text over all processes (which says what two cores to themselves would
give), and the peak memory of the process that reads, at a tenth of the rows and at all. Writes them into
docs/metrics.md.
Run: python -m benchmarks.profile_speed DATA/mtbench_multilingual/model_answers_6models.parquet
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.documents import between

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/metrics.md"


def write_texts(source: str, out: Path, num_texts: int) -> float:
    """Write texts of real lines; return their mean length in characters."""
    lines: dict[str, list[str]] = defaultdict(list)
    shapes = []
    for row in pq.read_table(source).to_pylist():
        for turn in filter(None, row["turns"]):
            found = turn.split("\n")
            lines[row["lang"]] += found
            shapes.append((row["lang"], row["model"], len(found)))
    random = np.random.default_rng(0)
    rows = []
    for i in range(num_texts):
        language, teacher, num_lines = shapes[i % len(shapes)]
        drawn = random.integers(0, len(lines[language]), num_lines)
        text = "\n".join(lines[language][k] for k in drawn)
        rows.append({"text": text, "language": language, "teacher": teacher, "prompt_id": str(i // 6)})
    pq.write_table(pa.Table.from_pylist(rows), out)
    return statistics.mean(len(row["text"]) for row in rows)


@dataclass(frozen=True)
class Measurement:
    """One profile of a file."""

    texts_per_s: float
    cpu_ms_per_text: float
    memory_mb: float


def measure(path: str, num_processes: int) -> Measurement:
    """Profile a file."""
    from arbitrage.inputs.columns import ProfileColumns
    from arbitrage.profile.entries import EntryBuilder
    from arbitrage.profile.profile import profile_data
    from arbitrage.profile.reading import ProfileReader
    from arbitrage.profile.settings import ProfileSettings
    from arbitrage.profile.summary import summarise

    start = time.perf_counter()
    reader = ProfileReader([path], EntryBuilder(ProfileColumns()))
    profile = profile_data("benchmark", reader, ProfileSettings(), num_processes=num_processes)
    summarise(profile)
    seconds = time.perf_counter() - start
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(each.ru_utime + each.ru_stime for each in used)
    return Measurement(profile.num_texts / seconds, 1000 * cpu / profile.num_texts, _peak_mb())


def _peak_mb() -> float:
    """Return the peak memory of this process; `ru_maxrss` would include that of its parent before `exec`."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def in_fresh_process(path: Path, num_processes: int) -> Measurement:
    """Measure in a process of its own: nothing is warm, and peak memory is its own."""
    receiving, sending = get_context("spawn").Pipe(duplex=False)
    process = get_context("spawn").Process(target=_send, args=(sending, str(path), num_processes))
    process.start()
    found: Measurement = receiving.recv()
    process.join()
    return found


def _send(sending: Any, path: str, num_processes: int) -> None:
    sending.send(measure(path, num_processes))


def sentence(found: Mapping[str, Any]) -> str:
    """Say what was measured."""
    rates = found["texts_per_s_repeats"]
    free = 1000 * found["cores"] / found["cpu_ms_per_text"]
    return (
        f"**{found['texts_per_s']:,} texts/s** ({min(rates):,}–{max(rates):,}, n = {len(rates)}) on {found['cores']} "
        f"cores with every metric that needs no model: {found['texts']:,} texts of {found['mean_characters']:,} "
        f"characters in six languages, start of the processes included; the machine's load average was "
        f"{found['load_average_before']:.1f} when it began. A text takes "
        f"{found['cpu_ms_per_text']:.2f} ms of processor time, all processes and their start together: "
        f"{free:,.0f} texts/s at most. Peak memory of the process that reads "
        f"{found['memory_mb']} MB, {found['memory_mb_tenth']} MB at a tenth of the texts.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        whole, tenth = Path(directory) / "whole.parquet", Path(directory) / "tenth.parquet"
        mean_characters = write_texts(options.data, whole, options.texts)
        pq.write_table(pq.read_table(whole).slice(0, options.texts // 10), tenth)
        small = in_fresh_process(tenth, options.processes)
        found = [in_fresh_process(whole, options.processes) for _ in range(options.repeats)]
    rates = [each.texts_per_s for each in found]
    result = {
        "benchmark": "profile_speed",
        "cores": os.cpu_count(),
        "processes": options.processes,
        "texts": options.texts,
        "mean_characters": round(mean_characters),
        "texts_per_s": round(statistics.median(rates)),
        "texts_per_s_repeats": [round(rate) for rate in rates],
        "cpu_ms_per_text": round(statistics.median(each.cpu_ms_per_text for each in found), 2),
        "memory_mb_tenth": round(small.memory_mb),
        "memory_mb": round(max(each.memory_mb for each in found)),
        "load_average_before": round(load_before, 2),
    }
    print(json.dumps(result))
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(between(text, "speed", "benchmarks/profile_speed.py", sentence(result)), encoding="utf-8")


if __name__ == "__main__":
    main()
