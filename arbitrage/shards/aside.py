"""Set damaged files aside: moved below `<run>/_damaged/`, never deleted, so that the next run makes them again."""

from pathlib import Path

from arbitrage.shards.place import Place, StorePath, require_no_links
from arbitrage.shards.store import storage_errors

DAMAGED = "_damaged"


def set_aside(run_dir: Place, path: Place) -> str:
    """Move a file of a run aside; return its new name below the run directory.

    Raises:
        StorageError: it cannot be moved.
    """
    below = str(path).removeprefix(str(run_dir)).lstrip("/")
    if isinstance(path, StorePath):
        return _copy_aside(run_dir, path, below)
    assert isinstance(run_dir, Path)
    require_no_links(run_dir, [DAMAGED, *below.split("/")[:-1]])
    with storage_errors(path):
        target = _free(run_dir / DAMAGED / below)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    return str(target.relative_to(run_dir))


def _copy_aside(run_dir: Place, path: StorePath, below: str) -> str:
    """A store cannot move: copy, then remove."""
    assert isinstance(run_dir, StorePath)
    target, number = run_dir / DAMAGED / below, 1
    while target.exists():
        number += 1
        target = run_dir / DAMAGED / f"{below}.{number}"
    target.write_bytes(path.read_bytes())
    path.unlink()
    return str(target).removeprefix(f"{run_dir}/")


def _free(path: Path) -> Path:
    """Return a name that nothing has yet: what was set aside earlier stays."""
    target, number = path, 1
    while target.exists() or target.is_symlink():
        number += 1
        target = path.with_name(f"{path.name}.{number}")
    return target
