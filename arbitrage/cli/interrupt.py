"""Ctrl-C and SIGTERM.

While requests are in flight, the first signal waits for them and the second ends the command at once; otherwise the
first signal ends it at once. Finished work is kept, and the command ends with exit code 130 and one sentence.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from arbitrage.errors import DrainedError, InterruptedRunError

if TYPE_CHECKING:
    from arbitrage.execution.progress import StopFlag

WAITING = "waiting for requests in flight"

SENTENCE = "interrupted; rerun the same command to resume"


class Interrupted(SystemExit):
    """A signal arrived. A `SystemExit`, so that no library catches it as an ordinary error."""


@contextmanager
def interrupted_at_once() -> "Iterator[None]":
    """Within this context the first signal ends the command; used while nothing is in flight."""

    def end(number: int, _: object) -> None:
        raise Interrupted

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible(
    note: Callable[[str], None], meanwhile: str = WAITING, at_once: bool = False
) -> "Iterator[StopFlag]":
    """Provide the stop flag that the signals set.

    Args:
        note: prints a line that confirms the signal.
        meanwhile: what is waited for, such as 'waiting for requests in flight'.
        at_once: the first signal ends the command, until something is in flight (`Stop.draining`).

    Raises:
        InterruptedRunError: the end came by a signal.
    """
    from arbitrage.execution.progress import StopFlag

    stop = StopFlag()
    stop.is_at_once = at_once

    def handle(number: int, _: object) -> None:
        if stop.is_requested or stop.is_at_once:
            stop.is_requested = True
            raise KeyboardInterrupt
        stop.is_requested = True
        note(f"{signal.Signals(number).name}: {meanwhile}; press Ctrl-C again to stop immediately")

    # A shell starts background jobs with SIGINT ignored; SIGTERM must work there all the same.
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except (KeyboardInterrupt, DrainedError) as error:
        raise InterruptedRunError(SENTENCE) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
