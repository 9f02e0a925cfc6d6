"""Room for open files: most Linux logins allow 1,024 of them, and raise that on demand to a far higher hard limit."""

import os
import resource
import threading

SPARE = 256
"""Kept for everything else: shards, journals, pipes, libraries."""

_lock = threading.Lock()
_reserved = 0


def reserve(wanted: int, least: int = 1) -> int:
    """Raise the soft limit so that this many files more can be open; return for how many there is room.

    Args:
        wanted: files, or connections.
        least: granted in any case. Where the hard limit is near, a caller gets at most half of what is left, so that
            others get something, too.
    """
    global _reserved
    with _lock:
        taken = max(_reserved, _num_open()) + SPARE
        left = _raised_to(taken + wanted) - taken
        granted = wanted if left >= wanted else max(least, min(wanted, left // 2))
        _reserved += granted
        return granted


def release(granted: int) -> None:
    """Give back what `reserve` granted."""
    global _reserved
    with _lock:
        _reserved -= granted


def most_allowed() -> int:
    """Return how many files may be open once the soft limit is raised, less the spare ones."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE if _has_limit() else 2**31


def _has_limit() -> bool:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] != resource.RLIM_INFINITY


def _raised_to(wanted: int) -> int:
    """Raise the soft limit to what is wanted, as far as the hard one allows; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 2**31
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (OSError, ValueError):  # macOS allows less than it says
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft


def _num_open() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
