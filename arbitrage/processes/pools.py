"""Process pools: how many processes fit this machine; they end with their parent."""

import math
import multiprocessing
import os
import threading
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.process import BaseProcess
from pathlib import Path

from arbitrage.errors import InterruptedRunError

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
CPU_QUOTA_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def num_cpus() -> int:
    """Return the number of cores that this process may use, of its container or job; at least 1.

    A container of two cores on a host of 64 sees 64 with `os.cpu_count`.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota()
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def _cpu_quota() -> float | None:
    """Return the CPU limit of this process's control group, in cores; None: no limit."""
    try:
        quota, period = CPU_QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota, period = (path.read_text(encoding="ascii") for path in CPU_QUOTA_V1)
        except (OSError, ValueError):
            return None
    try:
        return float(quota) / float(period) if float(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max"
        return None


def end_with_parent(work: AbstractContextManager[object] | None = None) -> None:
    """End this process when its parent ends, even by SIGKILL.

    The initializer of a pool, whose processes would otherwise wait forever.

    Args:
        work: acquired before the end, so that a process that holds this lock can finish its work; by default it ends
            at once.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        waiting = threading.Thread(target=_end_after, args=(parent, work), name="end-with-parent", daemon=True)
        waiting.start()


def _end_after(parent: BaseProcess, work: AbstractContextManager[object] | None) -> None:
    parent.join()
    with work or nullcontext():
        os._exit(InterruptedRunError.exit_code)
