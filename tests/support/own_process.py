"""What a command sets up for its process, taken back: in tests it shares the process with all that follow."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("PYTHONSAFEPATH", "PYTHONPATH")


@contextmanager
def own_process() -> Iterator[None]:
    """Restore import paths, their environment variables and the umask at the end of the block."""
    before = {name: os.environ.get(name) for name in NAMES}
    path = list(sys.path)
    umask = os.umask(0o022)
    os.umask(umask)
    try:
        yield
    finally:
        os.umask(umask)
        sys.path[:] = path
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
