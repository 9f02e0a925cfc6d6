"""Named points at which a test makes the process die as if by power loss: `ARBITRAGE_CRASH_AT=<point>:<n>`.

At its n-th pass of the point the process kills itself with SIGKILL. `benchmarks/kills.py` uses them to show that a
run survives its death anywhere.
"""

import os
import signal
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
    point, _, number = wanted.partition(":")
    if point == name:
        _passes[name] += 1
        if _passes[name] == int(number or 1):
            os.kill(os.getpid(), signal.SIGKILL)
