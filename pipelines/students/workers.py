"""Make many students at once: each process makes one after the other, on one core."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from arbitrage.errors import ExecutionError, InterruptedRunError
from arbitrage.processes.pools import end_with_parent
from pipelines.students.students import LEARNING, StudentTask, train_students

THREADS = "OMP_NUM_THREADS"
POLL_S = 0.5

Note = Callable[[str], None]


def train_student(tasks: Sequence[StudentTask], workers: int, note: Note, is_stopped: Callable[[], bool]) -> None:
    """Make the students that are not there yet, in order.

    Args:
        tasks: the students.
        workers: processes; each holds one core.
        note: hears of every student that is done.
        is_stopped: asked all the time; on True nothing new is begun.

    Raises:
        InterruptedRunError: it was stopped; students that are done stay.
        ExecutionError: a process died, as for want of memory.
    """
    missing = [task for task in tasks if not task.is_done]
    note(f"{len(missing)} of {len(tasks)} students to train, {workers} at a time")
    if not missing:
        return
    # Fresh interpreters read it when they load PyTorch; on one thread the same sums come out every time.
    os.environ.setdefault(THREADS, "1")
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin) as pool:
        try:
            _work_off(pool, missing, workers, note, is_stopped)
        except BrokenProcessPool as error:
            raise ExecutionError("a process that trained a student died; run the same command again") from error
        except KeyboardInterrupt:  # asked for the second time
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin() -> None:
    """Leave Ctrl-C to the parent, which lets students finish that are under way; end with it, at a checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(LEARNING)


def _work_off(
    pool: ProcessPoolExecutor, tasks: Sequence[StudentTask], workers: int, note: Note, is_stopped: Callable[[], bool]
) -> None:
    started, waiting, done = time.monotonic(), list(tasks), 0
    running: dict[Future[None], StudentTask] = {}
    while waiting or running:
        while waiting and len(running) < workers and not is_stopped():
            task = waiting.pop(0)
            running[pool.submit(train_students, task.model_dump_json(), os.getpid())] = task
        if not running:
            raise InterruptedRunError(f"interrupted with {len(waiting)} students to go; run the same command again")
        finished, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
        for future in finished:
            task = running.pop(future)
            future.result()
            done += 1
            left_s = (time.monotonic() - started) / done * (len(tasks) - done)
            note(f"student {done} of {len(tasks)}: {task.directory.name}; about {left_s / 60:.0f} min left")
