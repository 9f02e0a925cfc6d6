"""Processes that share the work end with the one that began them."""

import multiprocessing
import os
import threading
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.process import BaseProcess

from arbitrage.errors import InterruptedRunError


def end_with_parent(work: AbstractContextManager[object] | None = None) -> None:
    """End this process when the one that started it is gone, be it by SIGKILL.

    The initializer of a pool: its processes would wait for ever for what nobody sends.

    Args:
        work: entered before the end, so that who holds this lock while at work may finish; by default nobody may.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        waiting = threading.Thread(target=_end_after, args=(parent, work), name="end-with-parent", daemon=True)
        waiting.start()


def _end_after(parent: BaseProcess, work: AbstractContextManager[object] | None) -> None:
    parent.join()
    with work or nullcontext():
        os._exit(InterruptedRunError.exit_code)
