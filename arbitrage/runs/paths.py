"""Paths of files: on a disk, or in an object store (`s3://bucket/prefix`, `gs://…`) through pyarrow.fs.

`AnyPath` is a `pathlib.Path`, or a `StorePath` with the few methods of a path that runs need. Endpoint, region and
credentials of a store come from the usual environment variables of the process that opens it: a StorePath is only a
name, so it may be written down and sent to another machine.
https://arrow.apache.org/docs/python/filesystems.html
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from arbitrage.errors import RunDirectoryError, StorageError, UserError

SCHEMES = ("s3", "gs")

CONNECT_TIMEOUT_S, ATTEMPTS, GS_RETRY_S = 3.0, 4, 10
"""A silent store is given up after 12 to 25 s; pyarrow's defaults are 100 s on S3 and 15 minutes on GS."""

REQUESTS_AT_ONCE = 16
"""Concurrent requests to a store. One takes 10 to 50 ms, and a plan makes one for each shard of each step."""


@dataclass(frozen=True, order=True, slots=True)
class StorePath:
    """An object, or a prefix of objects. There are no directories: writing an object creates its parents.

    Every method raises StorageError where the store cannot be reached or refuses.
    """

    uri: str  # without a '/' at its end

    def __truediv__(self, name: str) -> "StorePath":
        return StorePath(f"{self.uri}/{name}")

    def __str__(self) -> str:
        return self.uri

    @property
    def name(self) -> str:
        """The last part of the name."""
        return self.uri.rpartition("/")[2]

    @property
    def parent(self) -> "StorePath":
        """The parent prefix."""
        return StorePath(self.uri.rpartition("/")[0])

    def exists(self) -> bool:
        """Whether there is an object of this name; an object is always complete."""
        with self._errors("read"):
            return bool(self._fs.get_file_info(self._key).type == fs.FileType.File)

    def read_bytes(self) -> bytes:
        """Return the object's content. Raises FileNotFoundError where there is none."""
        with self._errors("read"):
            try:
                return self._read_once()
            except FileNotFoundError:
                raise
            except OSError:
                # The body broke off, e.g. because the object was replaced: the SDK retries only requests.
                if not self.exists():
                    raise
                return self._read_once()

    def _read_once(self) -> bytes:
        with self._fs.open_input_stream(self._key) as stream:
            return bytes(stream.read())

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the object's content. Raises FileNotFoundError where there is none."""
        return self.read_bytes().decode(encoding, errors)

    def open_input(self) -> pa.NativeFile:
        """Open the object for reading at random. Raises FileNotFoundError where there is none."""
        with self._errors("read"):
            return self._fs.open_input_file(self._key)

    def write_bytes(self, data: "bytes | pa.Buffer") -> None:
        """Write or replace the object, atomically."""
        # In one write: closing a stream publishes what it has, so a partial object would be possible otherwise.
        with self._errors("written"), self._fs.open_output_stream(self._key) as stream:
            stream.write(data)

    def upload(self, path: Path) -> None:
        """Write the object from a local file, which is mapped, not read into memory."""
        if path.stat().st_size == 0:
            self.write_bytes(b"")
            return
        with pa.memory_map(str(path)) as file:
            self.write_bytes(file.read_buffer())

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        with self._errors("removed"):
            try:
                self._fs.delete_file(self._key)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def names(self) -> list[str]:
        """Return the names directly below this prefix, sorted."""
        return sorted(info.base_name for info in self._list(recursive=False) if info.path != f"{self._key}/")

    def size(self) -> int | None:
        """Return the object's size in bytes; None where there is none."""
        with self._errors("read"):
            info = self._fs.get_file_info(self._key)
            return info.size if info.type == fs.FileType.File else None

    def sizes(self) -> dict[str, int]:
        """Return name → size of the objects directly below this prefix."""
        found = self._list(recursive=False)
        return {info.base_name: info.size for info in found if info.type == fs.FileType.File}

    def files(self) -> list["StorePath"]:
        """Return all objects below this prefix, sorted."""
        root = self.uri.partition("://")[0]
        found = (info.path for info in self._list(recursive=True) if info.type == fs.FileType.File)
        return [StorePath(f"{root}://{path}") for path in sorted(found)]

    def require_bucket(self) -> None:
        """Check that the bucket exists.

        Raises:
            RunDirectoryError: it does not.
        """
        with self._errors("read"):
            found = self._fs.get_file_info(self._key.partition("/")[0]).type
        if found == fs.FileType.NotFound:
            raise RunDirectoryError(f"{self}: there is no such bucket, or not for these credentials")

    @property
    def _key(self) -> str:
        return self.uri.partition("://")[2]

    @property
    def _fs(self) -> fs.FileSystem:
        scheme, _, key = self.uri.partition("://")
        return _filesystem(scheme, key.partition("/")[0])

    def _list(self, recursive: bool) -> list[fs.FileInfo]:
        with self._errors("listed"):
            found: list[fs.FileInfo] = self._fs.get_file_info(
                fs.FileSelector(self._key, recursive=recursive, allow_not_found=True)
            )
            return found

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        """Translate pyarrow's errors; a missing object is left to the caller."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{self}: cannot be {done}: {' '.join(str(error).split())}") from error


AnyPath = Path | StorePath


def parse_path(text: str) -> AnyPath:
    """Parse a path or store name given by a user.

    Raises:
        UserError: the store name is invalid, or holds options or credentials.
    """
    scheme, separator, key = text.partition("://")
    if not separator:
        return Path(text)
    bucket = key.partition("/")[0]
    if scheme not in SCHEMES:
        raise UserError(f"{text}: places are paths or names in {', '.join(f'{s}://' for s in SCHEMES)}")
    if "@" in bucket or any(sign in text for sign in "?#"):
        # Not repeated: it may hold a secret, and whoever reads this may not be who typed it.
        raise UserError(
            f"{scheme}://: credentials and options come from the environment, not from the name of a place"
        )
    if not bucket or "//" in key:
        raise UserError(f"{text}: is not of the form {scheme}://bucket/prefix")
    return StorePath(text.rstrip("/"))


def read_bytes(place: AnyPath) -> bytes:
    """Return a file's content; never through a link that was put in its place.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it is a link, or cannot be read.
    """
    if isinstance(place, StorePath):
        return place.read_bytes()
    try:
        with open_unlinked(place, buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{place}: cannot be read: {why(error)}") from error


def open_unlinked(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file for reading; refuse links and special files. `buffering` as for `open`. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    file = os.fdopen(descriptor, "rb", buffering)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is not a file")
    return file


def why(error: OSError) -> str:
    """Return a readable reason for an error: a link in the place of a file is called a link."""
    if error.errno == errno.ELOOP:
        return "it is a link, and links in a run directory are not followed"
    return error.strerror or str(error)


def sizes_in(place: AnyPath) -> dict[str, int]:
    """Return name → size in bytes of the files directly below a path; empty if it does not exist."""
    if isinstance(place, StorePath):
        return place.sizes()
    try:
        with os.scandir(place) as entries:
            return {entry.name: _size(entry) for entry in entries if not entry.is_dir(follow_symlinks=False)}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def size_of(place: AnyPath) -> int | None:
    """Return the size of a file in bytes; None if there is none, -1 for a link or a directory."""
    if isinstance(place, StorePath):
        return place.size()
    try:
        found = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _size(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else -1
    except FileNotFoundError:  # removed since it was listed
        return -1


def require_no_links(root: Path, parts: Sequence[str]) -> None:
    """Refuse a directory below a root that is a link, because writing through it writes elsewhere.

    Raises:
        StorageError: it is one.
    """
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise StorageError(f"{path}: is a link, and links in a run directory are not followed; remove it")


MAX_NAME_BYTES = 200
"""File systems allow 255; the rest is for prefixes and suffixes."""


def path_component(text: str, what: str) -> str:
    """Return a text unchanged if it can be the name of a file or directory.

    Args:
        text: the name.
        what: what is named, for the message, such as "the data set".

    Raises:
        UserError: it would lead elsewhere ('..', '/', an absolute path), is empty, hidden, too long, or holds
            characters that a file system does not take.
    """
    problem = None
    if not text or text.strip() != text:
        problem = "is empty or begins or ends with a space"
    elif text.startswith((".", "-")):
        problem = f"begins with '{text[0]}'"
    elif any(sign in text for sign in "/\\") or any(ord(sign) < 32 or ord(sign) == 127 for sign in text):
        problem = "holds '/', '\\' or a control character"
    elif not _is_encodable(text):
        problem = "cannot be written as UTF-8"
    elif len(text.encode()) > MAX_NAME_BYTES:
        problem = f"is longer than {MAX_NAME_BYTES} bytes"
    if problem is not None:
        raise UserError(f"{what} {text[:60]!a}: {problem}, and so cannot be the name of a file")
    return text


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def names_in(place: AnyPath) -> list[str]:
    """Return the names directly below a path, sorted; empty if it does not exist."""
    if isinstance(place, StorePath):
        return place.names()
    try:
        return sorted(os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return []


def files_below(place: AnyPath) -> list[AnyPath]:
    """Return all files below a path, sorted."""
    if isinstance(place, StorePath):
        return list(place.files())
    return sorted(path for path in place.rglob("*") if path.is_file())


T = TypeVar("T")
R = TypeVar("R")


def for_each(place: AnyPath, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return the function's results in order; in a store, several calls run at once."""
    if isinstance(place, StorePath):
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="store") as threads:
            return list(threads.map(function, items))
    return [function(item) for item in items]


@cache
def _filesystem(scheme: str, bucket: str) -> Any:
    if scheme == "gs":
        return fs.FileSystem.from_uri(f"gs://{bucket}?retry_limit_seconds={GS_RETRY_S}")[0]
    # Not from a URI, which cannot set time limits. This constructor ignores AWS_ENDPOINT_URL, so it is passed on.
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return fs.S3FileSystem(
        scheme=endpoint.scheme or "https",
        endpoint_override=endpoint.netloc or None,
        region=region or (None if endpoint.netloc else fs.resolve_s3_region(bucket)),
        connect_timeout=CONNECT_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # a small object is one PUT, not an upload in parts
    )
