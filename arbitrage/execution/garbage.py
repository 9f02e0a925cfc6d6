"""Python's cyclic garbage collector, told to look seldom: rows are many, and hold no cycles."""

import atexit
import gc
import sys

THRESHOLDS = (50_000, 20, 10)
"""As Python sets it (700, 10, 10), collecting took two fifths of a run's time and found next to nothing."""

COUNTS_AT_EXIT = "triton"
"""A package whose objects count themselves when Python ends: nanobind prints 30 lines on stderr for what is left."""


def collect_seldom() -> None:
    """Set this process's collector for work on rows.

    At its end nothing is collected at all: going once more through all that was imported takes a third of a second.
    Where PyTorch has imported Triton the end is Python's usual one, for what was left would be called a leak.
    """
    gc.set_threshold(*THRESHOLDS)
    atexit.register(_leave_all)


def _leave_all() -> None:
    if COUNTS_AT_EXIT not in sys.modules:
        gc.freeze()
