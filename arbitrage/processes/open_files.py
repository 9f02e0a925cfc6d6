"""The limit on open files: most Linux logins allow 1,024, and can raise it to a much higher hard limit."""

import os
import resource
import threading

SPARE = 256
"""Reserved for everything else: shards, journals, pipes, libraries."""

_lock = threading.Lock()
_reserved = 0


def reserve(wanted: int, least: int = 1) -> int:
    """Raise the soft limit so that this many more files can be open; return the number that is granted.

    Args:
        wanted: number of files or connections.
        least: granted in any case. If the hard limit is near, a caller gets at most half of the rest, so that others
            get some, too.
    """
    global _reserved
    with _lock:
        taken = max(_reserved, _num_open()) + SPARE
        left = _raised_to(taken + wanted) - taken
        granted = wanted if left >= wanted else max(least, min(wanted, left // 2))
        _reserved += granted
        return granted


def release(granted: int) -> None:
    """Release what `reserve` granted."""
    global _reserved
    with _lock:
        _reserved -= granted


def most_allowed() -> int:
    """Return how many files can be open once the soft limit is raised, minus the reserve."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE if _has_limit() else 2**31


def _has_limit() -> bool:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] != resource.RLIM_INFINITY


def _raised_to(wanted: int) -> int:
    """Raise the soft limit as wanted, as far as the hard limit allows; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 2**31
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (OSError, ValueError):  # macOS allows fewer than it reports
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft


def _num_open() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
