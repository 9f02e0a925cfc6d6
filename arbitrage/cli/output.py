"""Where a command writes what `--json OUT` and `--html OUT` ask for."""

from pathlib import Path

from arbitrage.errors import DataError


def write_out(out: str, text: str) -> None:
    """Write JSON (`screen.to_json`) or a page to a file, or print it where the file is called `-`.

    Raises:
        DataError: it cannot be written.
    """
    if out == "-":
        print(text)
        return
    try:
        Path(out).write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error
