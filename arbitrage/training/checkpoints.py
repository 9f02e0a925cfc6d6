"""Resume a killed training run: find its newest complete checkpoint."""

import json
from pathlib import Path

PREFIX = "checkpoint-"
STATE_FILE = "trainer_state.json"
"""The last file of a checkpoint to be written (transformers, `Trainer._save_checkpoint`)."""


def checkpoints(directory: Path) -> list[Path]:
    """Return the complete checkpoints below a directory, oldest first."""
    found = [path for path in directory.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit()]
    return sorted((path for path in found if step_of(path) is not None), key=_number)


def newest_checkpoint(directory: Path) -> Path | None:
    """Return the checkpoint to resume from, or None."""
    return next(reversed(checkpoints(directory)), None)


def step_of(checkpoint: Path) -> int | None:
    """Return the optimiser steps taken before a checkpoint; None if it is not a complete one."""
    try:
        step = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))["global_step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None


def _number(path: Path) -> int:
    return int(path.name.removeprefix(PREFIX))
