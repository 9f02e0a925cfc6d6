"""Sources of training rows: runs are exported beside the student first, so that the training data is kept there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from arbitrage.errors import RunDirectoryError
from arbitrage.runs.paths import StorePath, parse_path
from arbitrage.runs.run import PLAN_FILE


def _absolute(source: str) -> str:
    return source if "://" in source else str(Path(source).expanduser().absolute())


Source = Annotated[str, AfterValidator(_absolute)]
"""A run directory (also `s3://…`), an export's directory, a file, or a glob."""


def local_sources(sources: Sequence[str], dataset: str, folder: Path, *, is_main: bool = True) -> list[Path]:
    """Return paths to read rows from, in order.

    Args:
        sources: runs, exports, files, globs.
        dataset: data set of each run.
        folder: runs are exported to `<folder>/<position>/<dataset>`.
        is_main: whether this process writes; the others use what the main process has written.

    Raises:
        RunDirectoryError: a path in a store is not a run, or a run has not finished.
        UserError: a run has no such data set.
        DataError: the data set has no rows.
    """
    from arbitrage.export.export import export_run
    from arbitrage.export.verification import require_sound

    found = []
    for position, source in enumerate(sources):
        place = parse_path(source)
        if (place / PLAN_FILE).exists():
            target = folder / str(position)
            if is_main:
                export_run(place, "trl", [dataset], target)
            found.append(target / dataset)
        elif isinstance(place, StorePath):
            raise RunDirectoryError(f"{place}: is not a run directory (no {PLAN_FILE})")
        else:
            require_sound(place)
            found.append(place)
    return found
