"""Set up the process of a command: file permissions, import paths, working directory.

Python imports from directories that other users may have filled: a child process that is started with `-c` or `-m`,
such as those of a pool, searches its working directory first, and Ray puts the driver's working directory and the
entries of PYTHONPATH on every worker's path. A run directory may be a download, so no process imports from it.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from arbitrage.errors import ExecutionError, RunDirectoryError
from arbitrage.execution.environment import make_private_files

if TYPE_CHECKING:
    from arbitrage.runs.paths import AnyPath


def prepare_process() -> None:
    """Create files without permissions for others; keep working directories off all children's import paths."""
    make_private_files()
    _keep_off_the_path(Path.cwd() if _has_cwd() else None)


def _keep_off_the_path(cwd: Path | None) -> None:
    os.environ["PYTHONSAFEPATH"] = "1"
    if given := os.environ.get("PYTHONPATH"):
        named = [entry for entry in given.split(os.pathsep) if entry]  # an empty one means the working directory
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in named)
        kept = {os.path.abspath(entry) for entry in named}
    else:
        kept = set()
    ours = str(Path(__file__).resolve().parents[2])
    off = {"", str(cwd)} - kept - {ours}
    sys.path[:] = [entry for entry in sys.path if entry not in off]


def _has_cwd() -> bool:
    try:
        Path.cwd()
    except OSError:  # it was removed
        return False
    return True


@contextmanager
def working_in(run_dir: "AnyPath") -> Iterator[None]:
    """Work in an empty directory of this process, because Ray puts it first on every worker's `sys.path`.

    Raises:
        RunDirectoryError: the run directory cannot be written.
        ExecutionError: there is no directory for temporary files.
    """
    if isinstance(run_dir, Path):
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(f"{run_dir}: cannot be written: {error.strerror or error}") from error
    before = Path.cwd()
    with _empty_directory() as empty:
        os.chdir(empty)
        try:
            yield
        finally:
            os.chdir(before)


@contextmanager
def _empty_directory() -> Iterator[str]:
    try:
        empty = tempfile.TemporaryDirectory(prefix="arbitrage-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ExecutionError(
            f"no directory for temporary files can be written ({error.strerror or error}); "
            "set TMPDIR to one that can be"
        ) from error
    with empty as path:
        yield path
