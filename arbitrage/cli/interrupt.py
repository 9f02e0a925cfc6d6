"""The first Ctrl-C or SIGTERM asks for an orderly end, the second ends at once; either way nothing done is lost."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from arbitrage.errors import DrainedError, InterruptedRunError

if TYPE_CHECKING:
    from arbitrage.execution.watch import Stop


@contextmanager
def interruptible(note: Callable[[str], None], meanwhile: str) -> "Iterator[Stop]":
    """Give a wish to stop that the signals utter.

    Args:
        note: tells a person that the signal was heard.
        meanwhile: what is waited for, such as 'waiting for the answers that are under way'.

    Raises:
        InterruptedRunError: the end came by a signal.
    """
    from arbitrage.execution.watch import Stop

    stop = Stop()

    def hear(number: int, _: object) -> None:
        if stop.is_asked:
            raise KeyboardInterrupt
        stop.is_asked = True
        note(f"{signal.Signals(number).name}: {meanwhile}; once more to stop at once")

    # A shell starts background jobs with SIGINT ignored; SIGTERM must work there all the same.
    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except (KeyboardInterrupt, DrainedError) as error:
        raise InterruptedRunError("interrupted; run the same command again to go on where it stood") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
