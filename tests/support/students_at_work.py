"""What the processes of a pool do that trains students."""

import os
import time
from pathlib import Path


def begin() -> None:
    """End with the parent, unless a student is being trained."""
    from arbitrage.processes.pools import end_with_parent
    from pipelines.students.students import LEARNING

    end_with_parent(LEARNING)


def work(name: str) -> None:
    """Say whose it is, take two seconds, and say that it is done."""
    from pipelines.students.students import LEARNING

    with LEARNING:
        Path(f"{name}.pid").write_text(str(os.getpid()))
        if name.endswith("slow"):
            time.sleep(2)
        Path(f"{name}.done").touch()
