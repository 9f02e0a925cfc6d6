"""What a command sets up for its process, taken back: in tests it shares the process with all that follow."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_process() -> Iterator[None]:
    """Restore the working directory, import paths, environment variables and umask at the end of the block.

    Ray's variables stay: a Ray that was started in the block may serve beyond it.
    """
    directory, path, environ = Path.cwd(), list(sys.path), dict(os.environ)
    umask = os.umask(0o022)
    os.umask(umask)
    try:
        yield
    finally:
        os.umask(umask)
        sys.path[:] = path
        for name in [*(os.environ.keys() - environ.keys()), *environ]:
            if name.startswith("RAY_") or os.environ.get(name) == environ.get(name):
                continue
            if name in environ:
                os.environ[name] = environ[name]
            else:
                del os.environ[name]
        os.chdir(directory)
