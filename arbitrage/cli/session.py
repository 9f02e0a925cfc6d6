"""How a command that runs steps behaves: interruptible without loss, at work inside its run directory."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from arbitrage.errors import DrainedError, InterruptedRunError, RunDirectoryError
from arbitrage.execution.watch import Stop
from arbitrage.shards.place import Place


@contextmanager
def interruptible(note: Callable[[str], None]) -> Iterator[Stop]:
    """Let the first Ctrl-C or SIGTERM drain the run, the second end it at once; either way nothing done is lost."""
    stop = Stop()

    def hear(number: int, _: object) -> None:
        if stop.is_asked:
            raise KeyboardInterrupt
        stop.is_asked = True
        name = signal.Signals(number).name
        note(f"{name}: waiting for the answers that are under way; once more to stop at once")

    # A shell starts background jobs with SIGINT ignored; SIGTERM must work there all the same.
    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except (KeyboardInterrupt, DrainedError) as error:
        raise InterruptedRunError("interrupted; run the same command again to go on where it stood") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def working_in(run_dir: Place) -> Iterator[None]:
    """Work inside the run directory: Ray puts the driver's directory first on every worker's `sys.path`.

    For a run in an object store, inside an empty one of this process.
    """
    if not isinstance(run_dir, Path):
        with tempfile.TemporaryDirectory(prefix="arbitrage-") as empty, working_in(Path(empty)):
            yield
        return
    before = Path.cwd()
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        os.chdir(run_dir)
    except OSError as error:
        raise RunDirectoryError(f"{run_dir}: cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        os.chdir(before)
