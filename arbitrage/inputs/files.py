"""Find the files of paths, globs and folders: their order, names and content digests.

A file's name in rows and fingerprints is its path below the common folder of the source, so moving the whole source
changes nothing. Files of a folder that are not read are counted in the notes.
"""

import glob
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from arbitrage.errors import ConfigError, DataError
from arbitrage.inputs.rows import count_note, printable

UNREAD_FOLDERS = frozenset({".git", ".cache", "__pycache__", ".ipynb_checkpoints"})
"""Folders of tools, which hold no data: skipped without a note."""

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""The folder name that Hive and Spark give to a partition of nulls."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file.

    Attributes:
        name: within the source; printable as UTF-8.
        partitions: columns that the names of its folders hold, such as `language=de/part-0.parquet`.
    """

    name: str
    path: Path
    partitions: tuple[tuple[str, str | None], ...] = ()

    @property
    def shown(self) -> str:
        """The path, for messages."""
        return shown_path(self.path)

    @property
    def identity(self) -> list[Any]:
        """Part of the fingerprint: the name, the content, and the columns from folder names."""
        found: list[Any] = [self.name, digest_file(self.path)]
        return [*found, [list(pair) for pair in self.partitions]] if self.partitions else found


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a source, sorted by name, and notes about files beside them that are not read."""

    files: Sequence[SourceFile]
    notes: Counter[str] = field(default_factory=Counter)


def find_files(
    patterns: Sequence[str],
    suffixes: Sequence[str],
    where: str = "prompts.paths",
    is_data: Callable[[Path], bool] = lambda path: True,
) -> Found:
    """Return the files of paths, globs and folders.

    A path that exists is that file or folder, whatever characters it holds; only then is it a glob. Folders are
    searched to any depth, linked ones too, each once. Hidden files (`.` or `_`) must be named.

    Args:
        patterns: at least one.
        suffixes: suffixes of files to read from a folder, in lower case; case is ignored.
        where: name in error messages.
        is_data: called for files of a folder with one of the suffixes; whether to read them.

    Raises:
        ConfigError: a pattern matches no file, or a pipe or device.
        DataError: a folder cannot be listed.
    """
    search = _Search(tuple(suffixes), is_data)
    paths = sorted({path for pattern in patterns for path in _expand(pattern, search, where)}, key=os.fsencode)
    full = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in full])
    files = [
        SourceFile(_printable_name(os.path.relpath(at, shared)), path, _partitions(path))
        for path, at in zip(paths, full, strict=True)
    ]
    return Found(files, search.notes)


def digest_file(path: Path) -> str:
    """Return the BLAKE2 digest of a file's content (40 hex digits); cached while size and time stay the same.

    Raises:
        DataError: it cannot be read.
    """
    try:
        found = path.stat()
        return _digest(path, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{shown_path(path)}: cannot be read: {error.strerror or error}") from error


def shown_path(path: Path) -> str:
    """Return a path for messages: invalid UTF-8 and control characters are escaped."""
    return _printable_name(str(path))


def _expand(pattern: str, search: "_Search", where: str) -> list[Path]:
    path, shown = Path(pattern), shown_path(Path(pattern))
    matches = [path]
    try:
        mode = path.stat().st_mode
    except OSError as error:  # no such path; a name that is too long; no permission
        if isinstance(error, PermissionError):
            raise DataError(f"{where}: {shown}: cannot be read: {error.strerror}") from error
        if path.is_symlink():
            raise ConfigError(f"{where}: {shown}: is a link to {os.readlink(path)!r}, which is not there") from error
        matches = _globbed(pattern)
        if not matches:
            wanted = "matches no file" if glob.has_magic(pattern) else "no such file or directory"
            raise ConfigError(f"{where}: {shown}: {wanted}") from error
        mode = 0
    if mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ConfigError(f"{where}: {shown}: is {_kind(mode)}; give a file, a folder or a glob")
    if found := search.files(matches):
        return found
    if glob.has_magic(pattern) and not mode:
        raise ConfigError(f"{where}: {shown}: matches no file")
    beside = f"; not read: {_listed_notes(search.notes)}" if search.notes else ""
    raise ConfigError(f"{where}: {shown}: holds no file named {_listed_suffixes(search.suffixes)}{beside}")


def _globbed(pattern: str) -> list[Path]:
    """Return the matches of a glob; hidden names only if the pattern itself begins with a dot."""
    try:
        names = glob.glob(pattern, recursive=True)
    except (ValueError, OSError):  # a NUL byte, a name that is too long
        return []
    is_hidden_meant = _is_hidden(os.path.basename(pattern))
    return sorted(Path(name) for name in names if is_hidden_meant or not _is_hidden(os.path.basename(name)))


class _Search:
    """Collects files and counts those left out. Files and folders reached twice through links are used once."""

    def __init__(self, suffixes: tuple[str, ...], is_data: Callable[[Path], bool]) -> None:
        self.suffixes = suffixes
        self.notes: Counter[str] = Counter()
        self._is_data = is_data

    def files(self, matches: Sequence[Path]) -> list[Path]:
        """Return the files that matched, and those in the folders that matched."""
        seen: set[tuple[int, int]] = set()
        found = [path for path in matches if _is_regular(path) and _is_new(path, seen)]
        for folder in matches:
            if folder.is_dir():
                found += self._inside(folder, seen)
        return found

    def _inside(self, folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
        """Yield the files below a folder. Links come last, so that real files keep their names."""
        waiting, linked = [folder], list[Path]()
        while waiting or linked:
            at = waiting.pop() if waiting else linked.pop(0)
            if not _is_new(at, seen):
                count_note(self.notes, "folder_linked_twice")
                continue
            for entry in _listed(at):
                path = at / entry.name
                if entry.is_dir(follow_symlinks=False):
                    if self._is_searched(entry.name):
                        waiting.append(path)
                elif path.is_dir():
                    if self._is_searched(entry.name):
                        linked.append(path)
                elif self._is_taken(path, seen):
                    yield path

    def _is_searched(self, name: str) -> bool:
        if not _is_hidden(name):
            return True
        if name not in UNREAD_FOLDERS:
            count_note(self.notes, "hidden_folder_not_read")
        return False

    def _is_taken(self, path: Path, seen: set[tuple[int, int]]) -> bool:
        is_named = path.name.lower().endswith(self.suffixes)
        if _is_hidden(path.name):
            if is_named:
                count_note(self.notes, "hidden_file_not_read")
        elif not _is_regular(path):
            count_note(self.notes, "file_not_read:broken link" if path.is_symlink() else "file_not_read:no file")
        elif not is_named or not self._is_data(path):
            count_note(self.notes, f"file_not_read:{_suffix(path)}")
        elif not _is_new(path, seen):
            count_note(self.notes, "file_linked_twice")
        else:
            return True
        return False


def _listed(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise DataError(f"{shown_path(folder)}: cannot be listed: {error.strerror or error}") from error


def _is_new(path: Path, seen: set[tuple[int, int]]) -> bool:
    found = path.stat()
    key = (found.st_dev, found.st_ino)
    if key in seen:
        return False
    seen.add(key)
    return True


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _suffix(path: Path) -> str:
    """Return the ending of a name for a note: `.jsonl.xz`, `.md`, at most two parts."""
    return printable("".join(path.suffixes[-2:]).lower() or "without suffix", 30)


def _listed_notes(notes: Counter[str]) -> str:
    return ", ".join(f"{note.partition(':')[2] or note} ({count})" for note, count in notes.most_common(5))


def _listed_suffixes(suffixes: Sequence[str]) -> str:
    plain = [suffix for suffix in suffixes if suffix.count(".") == 1]
    return ", ".join(f"*{suffix}" for suffix in plain) + (" (also compressed)" if len(plain) < len(suffixes) else "")


def _printable_name(name: str) -> str:
    """Return a name that is valid UTF-8 and printable; different names stay different."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def _partitions(path: Path) -> tuple[tuple[str, str | None], ...]:
    """Return the columns of folders named `key=value`; the innermost of equal keys counts."""
    found: dict[str, str | None] = {}
    for part in path.parts[:-1]:
        key, separator, value = part.partition("=")
        if separator and key.isidentifier():
            found[key] = None if value == HIVE_NULL else unquote(value)
    return tuple(sorted(found.items()))


@lru_cache(maxsize=4096)
def _digest(path: Path, size_bytes: int, mtime_ns: int) -> str:
    with path.open("rb") as stream:
        digest = blake2b(digest_size=20)
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
