"""A command that runs steps works inside its run directory."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arbitrage.errors import RunDirectoryError
from arbitrage.shards.place import Place


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
