"""Wait for what must happen, however slow the machine is."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WITHIN_S = 240.0
"""More than anything here takes on a machine with more to do than it can, less than the time that a test has."""


def wait_until(
    condition: Callable[[], object], process: "subprocess.Popen[Any] | None" = None, log: Path | None = None
) -> None:
    """Return once `condition` holds; fail when `process` ends before, or after `WITHIN_S`."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        if process is not None and process.poll() is not None and not condition():
            raise AssertionError(f"the process ended first, with {process.returncode}: {_said(process, log)}")
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {WITHIN_S:.0f} s: {_said(None, log)}")
        time.sleep(0.005)


def _said(process: "subprocess.Popen[Any] | None", log: Path | None) -> str:
    if log is not None:
        return log.read_text(errors="replace")[-5000:]
    if process is not None and process.stderr is not None:
        said = process.stderr.read()
        return (said.decode(errors="replace") if isinstance(said, bytes) else str(said))[-5000:]
    return "no log"
