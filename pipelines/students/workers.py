"""Train students in parallel: each process trains one after the other, on one core."""

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from arbitrage.errors import ExecutionError, InterruptedRunError
from arbitrage.execution.context import RunContext
from arbitrage.processes.pools import end_with_parent
from pipelines.students.students import LEARNING, StudentTask, train_students

THREADS = "OMP_NUM_THREADS"
POLL_S = 0.5


def train_missing(tasks: Sequence[StudentTask], workers: int, context: RunContext) -> None:
    """Train and evaluate the students that are missing, in order.

    Args:
        tasks: the students.
        workers: number of processes, each on one core.
        context: gets a note for every finished student; once its stop flag is set, no further one is started.

    Raises:
        InterruptedRunError: it was stopped; finished students are kept.
        ExecutionError: a process died, for example out of memory.
    """
    missing = [task for task in tasks if not task.is_done]
    context.note(f"{len(missing)} of {len(tasks)} students to train, {workers} at a time")
    if not missing:
        return
    # New processes read it when they load PyTorch; with one thread results are reproducible.
    os.environ.setdefault(THREADS, "1")
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin) as pool:
        try:
            _train_all(pool, missing, workers, context)
        except BrokenProcessPool as error:
            raise ExecutionError("a process that trained a student died; rerun the same command to resume") from error
        except KeyboardInterrupt:  # the second signal
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin() -> None:
    """Leave Ctrl-C to the parent, which lets running students finish; end with the parent, at a checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(LEARNING)


def _train_all(pool: ProcessPoolExecutor, tasks: Sequence[StudentTask], workers: int, context: RunContext) -> None:
    started, waiting, done = time.monotonic(), list(tasks), 0
    running: dict[Future[None], StudentTask] = {}
    while waiting or running:
        while waiting and len(running) < workers and not context.stop.is_requested:
            task = waiting.pop(0)
            running[pool.submit(train_students, task.model_dump_json(), os.getpid())] = task
        if not running:
            raise InterruptedRunError(
                f"interrupted with {len(waiting)} students to go; rerun the same command to resume"
            )
        finished, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
        for future in finished:
            task = running.pop(future)
            future.result()
            done += 1
            left_s = (time.monotonic() - started) / done * (len(tasks) - done)
            context.note(f"student {done} of {len(tasks)}: {task.directory.name}; about {left_s / 60:.0f} min left")
