"""Test hook: a process kills itself at a named point: `ARBITRAGE_CRASH_AT=<point>:<n>[:<file>]`.

At its n-th pass of the point the process kills itself with SIGKILL. If a file is named, the first process creates it
before it dies and writes the time into it (`time.monotonic`); while it exists, no other process dies (workers inherit
the variable). `benchmarks/kills.py` uses it to kill runs anywhere.
"""

import os
import signal
import time
from collections import Counter
from typing import Literal

CrashPoint = Literal[
    "journal.append",
    "journal.sync",
    "shard.staged",
    "stats.committed",
    "shard.published",
    "journal.removed",
    "manifest",
]

VARIABLE = "ARBITRAGE_CRASH_AT"

_passes: Counter[str] = Counter()
_wanted = os.environ.get(VARIABLE, "")  # looked up once, because each result passes a point


def arm(wanted: str) -> None:
    """Set the point at which this process dies, like the environment variable; empty: none."""
    global _wanted
    _wanted = wanted


def crash_point(name: CrashPoint) -> None:
    """Kill this process here if the environment variable says so."""
    if not _wanted:
        return
    point, number, marker = (*_wanted.split(":", 2), "", "")[:3]
    if point == name:
        _passes[name] += 1
        if _passes[name] == int(number or 1) and _is_first(marker):
            os.kill(os.getpid(), signal.SIGKILL)


def _is_first(marker: str) -> bool:
    if not marker:
        return True
    try:
        with open(marker, "x", encoding="utf-8") as file:
            file.write(str(time.monotonic()))
    except FileExistsError:
        return False
    return True
