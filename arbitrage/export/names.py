"""Names that become file names: nothing is written outside an export's directory, whatever a run contains.

A run directory may be untrusted. Names of data sets come from its `run.json`, languages from its rows.
"""

import re
from pathlib import Path

from arbitrage.errors import DataError, UserError
from arbitrage.runs.paths import AnyPath

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TAG = re.compile(r"[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8}){0,9}")


def require_name(dataset: str) -> str:
    """Return the name of a data set if it can be the name of a directory.

    Raises:
        DataError: it cannot.
    """
    if not _NAME.fullmatch(dataset):
        raise DataError(
            f"data set {dataset!r}: cannot be the name of a directory; allowed are at most 100 letters, digits, '.', "
            "'_' and '-', the first a letter or a digit"
        )
    return dataset


def require_tag(language: str, prompt_id: str) -> str:
    """Return the language of a row if it can be part of a file name.

    Raises:
        DataError: it is not a language tag.
    """
    if not _TAG.fullmatch(language):
        raise DataError(
            f"the row of prompt {prompt_id!r}: language {language!r} is not a BCP-47 tag; files are named after it"
        )
    return language


def require_no_link(place: AnyPath) -> None:
    """Refuse a directory that is a symbolic link, because files would be written elsewhere.

    Raises:
        UserError: it is one.
    """
    if isinstance(place, Path) and place.is_symlink():
        raise UserError(f"{place}: is a link; remove it, or give its target by --out")
