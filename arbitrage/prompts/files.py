"""Sources that lie in files: which ones, in which order, called what, and what their content is.

A file's name in rows and fingerprints is its path below the folder that all files of the source share, so moving the
whole source changes nothing.
"""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

from arbitrage.config import Paths, Raw
from arbitrage.errors import ConfigError, DataError
from arbitrage.prompts.rows import Part
from arbitrage.prompts.source import SourceConfig


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file, and its name within the source."""

    name: str
    path: Path


class FileSourceConfig(SourceConfig):
    """A source in files.

    Attributes:
        paths: a file, a glob (`**` too), a directory (searched below for the kind's suffixes), or a list of them.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()

    paths: Paths

    def identity(self) -> Raw:
        """Return the options, and names and digests of the files instead of their paths."""
        found = super().identity()
        del found["paths"]
        return {**found, "files": [[file.name, digest_file(file.path)] for file in self.files()]}

    def files(self) -> list[SourceFile]:
        """Return the files, sorted by name.

        Raises:
            ConfigError: a path or glob matches none.
        """
        return find_files(self.paths, self.suffixes)

    def parts(self) -> Iterator[Part]:
        """Open one file after the other."""
        for file in self.files():
            yield self.open_file(file)

    def open_file(self, file: SourceFile) -> Part:
        """Open one file of this kind."""
        raise TypeError(f"{type(self).__name__} does not say how a file is read")


def find_files(patterns: Sequence[str], suffixes: Sequence[str], where: str = "prompts.paths") -> list[SourceFile]:
    """Return the files that paths, globs and directories stand for, sorted by name; a hidden file must be named.

    Args:
        patterns: at least one.
        suffixes: of the files that are taken from a directory.
        where: what an error names.

    Raises:
        ConfigError: one of the patterns matches no file.
    """
    paths = sorted({path for pattern in patterns for path in _expand(pattern, suffixes, where)})
    shared = os.path.commonpath([path.parent for path in paths])
    return [SourceFile(path.relative_to(shared).as_posix(), path) for path in paths]


def digest_file(path: Path) -> str:
    """Return the BLAKE2 digest of a file's content (40 hex digits); read once while size and time stay the same.

    Raises:
        DataError: it cannot be read.
    """
    try:
        stat = path.stat()
        return _digest(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _expand(pattern: str, suffixes: Sequence[str], where: str) -> list[Path]:
    path = Path(pattern)
    if path.is_file():
        return [path]
    if path.is_dir():
        inside = (p for p in path.rglob("*") if p.is_file() and p.name.endswith(tuple(suffixes)))
        found = [p for p in inside if not any(_is_hidden(part) for part in p.relative_to(path).parts)]
        wanted = f"holds no file named {', '.join('*' + suffix for suffix in suffixes)}"
    else:
        matches = (Path(match) for match in glob.glob(pattern, recursive=True))
        found = [p for p in matches if p.is_file() and not _is_hidden(p.name)]
        wanted = "matches no file" if glob.has_magic(pattern) else "no such file or directory"
    if not found:
        raise ConfigError(f"{where}: {pattern}: {wanted}")
    return found


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


@lru_cache(maxsize=4096)
def _digest(path: Path, size_bytes: int, mtime_ns: int) -> str:
    with path.open("rb") as stream:
        digest = blake2b(digest_size=20)
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
