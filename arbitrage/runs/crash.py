"""Named points at which a test makes a process die as if by power loss: `ARBITRAGE_CRASH_AT=<point>:<n>[:<file>]`.

At its n-th pass of the point the process kills itself with SIGKILL. Where a file is named, the first to die makes it
and writes the time into it (`time.monotonic`), and while it exists nobody else dies: workers inherit the variable.
`benchmarks/kills.py` uses them to show that a run survives its death anywhere.
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
_wanted = os.environ.get(VARIABLE, "")  # looked up once: each answer passes a point


def arm(wanted: str) -> None:
    """Set the point at which this process dies, as the variable does for a process that starts; empty: nowhere."""
    global _wanted
    _wanted = wanted


def crash_point(name: CrashPoint) -> None:
    """Die here if the environment says so."""
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
