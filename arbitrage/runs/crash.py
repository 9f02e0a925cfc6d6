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


def crash_point(name: CrashPoint) -> None:
    """Die here if the environment says so."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return
    point, number, marker = (*wanted.split(":", 2), "", "")[:3]
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
