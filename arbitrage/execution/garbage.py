"""Python's cyclic garbage collector, told to look seldom: rows are many, and hold no cycles."""

import gc

THRESHOLDS = (50_000, 20, 100)
"""As Python sets it (700, 10, 10), collecting took two fifths of a run's time and found next to nothing."""


def collect_seldom() -> None:
    """Set this process's collector for work on rows, and spare it all that is loaded already."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
