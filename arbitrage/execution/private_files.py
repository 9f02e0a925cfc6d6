"""Files that only their owner and group can read: prompts and completions may be nobody else's business."""

import os

OTHERS = 0o007
"""What others than owner and group may do with the files we make: nothing. A group that shares a run reads it."""


def make_private_files() -> None:
    """From now on this process and its children make files that others cannot read."""
    os.umask(os.umask(0o077) | OTHERS)
