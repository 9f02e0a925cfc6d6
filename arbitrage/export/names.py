"""Names that become names of files: nothing is written outside an export's directory, whatever a run claims to hold.

A run directory may come from elsewhere. Names of data sets stand in its `run.json`, languages in its rows.
"""

import re
from pathlib import Path

from arbitrage.errors import DataError, UserError
from arbitrage.runs.paths import AnyPath

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TAG = re.compile(r"[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8}){0,9}")


def require_name(dataset: str) -> str:
    """Return the name of a data set that may become that of a directory.

    Raises:
        DataError: it may not.
    """
    if not _NAME.fullmatch(dataset):
        raise DataError(
            f"data set {dataset!r}: cannot be the name of a directory; allowed are at most 100 letters, digits, '.', "
            "'_' and '-', the first a letter or a digit"
        )
    return dataset


def require_tag(language: str, prompt_id: str) -> str:
    """Return the language of a row that may become the name of a file.

    Raises:
        DataError: it is no language tag.
    """
    if not _TAG.fullmatch(language):
        raise DataError(
            f"the row of prompt {prompt_id!r}: language {language!r} is not a BCP-47 tag; files are named after it"
        )
    return language


def require_no_link(place: AnyPath) -> None:
    """Refuse a directory that is a symbolic link: what is written there would lie somewhere else.

    Raises:
        UserError: it is one.
    """
    if isinstance(place, Path) and place.is_symlink():
        raise UserError(f"{place}: is a link; remove it, or name the place it leads to by --out")
