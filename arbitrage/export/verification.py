"""Compare the files of an export with the digests in its `provenance.json`, before training on them."""

import hashlib
import json
from pathlib import Path

from arbitrage.errors import DamagedFileError, DataError
from arbitrage.export.provenance import PROVENANCE_FILE

Problems = dict[str, str]
"""Path below the export → what is wrong with the file."""


def damaged_files(directory: Path) -> Problems:
    """Return the data files of an export that are damaged, with the problem.

    Raises:
        DataError: `provenance.json` cannot be read, so nothing can be checked.
    """
    path = directory / PROVENANCE_FILE
    try:
        files = {file["path"]: (file["size_bytes"], file["sha256"]) for file in _read(path)["files"]}
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is damaged, and so the files beside it cannot be checked; export again") from error
    found = {name: _problem(directory, str(name), *wanted) for name, wanted in files.items()}
    return {str(name): problem for name, problem in found.items() if problem}


def require_sound(directory: Path) -> None:
    """Refuse an export with a damaged data file; directories without provenance are accepted.

    Raises:
        DamagedFileError: names the first such file.
    """
    if not (directory / PROVENANCE_FILE).is_file():
        return
    for name, problem in damaged_files(directory).items():
        raise DamagedFileError(
            f"{directory / name}: is damaged: {problem}; export again, or remove {PROVENANCE_FILE} to use it as it is"
        )


def _read(path: Path) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _problem(directory: Path, name: str, size_bytes: object, sha256: object) -> str | None:
    path = directory / name
    if not path.resolve().is_relative_to(directory.resolve()):
        return "leads out of the export"
    if not path.is_file():
        return "is missing"
    if (size := path.stat().st_size) != size_bytes:
        return f"expected {size_bytes} bytes, found {size}"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return None if found == sha256 else f"expected SHA-256 {sha256}, found {found}"
