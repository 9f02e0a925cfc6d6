"""Start Ray on this machine, or connect to a running cluster: files, token, time limits."""

import contextlib
import os
import resource
import secrets
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from arbitrage.errors import ArbitrageError, ExecutionError
from arbitrage.execution.progress import Progress
from arbitrage.processes.pools import num_cpus

MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path, without the closing zero (unix(7))."""

SOCKET_BELOW = "/session_2026-01-31_23-59-59_999999_4194304/sockets/plasma_store"
"""The longest socket path that Ray creates below its temporary directory."""

BELOW = "r"

LEAST_OPEN_FILES, WANTED_OPEN_FILES = 512, 8192

PORT_TIMEOUT_S = 15.0
"""Time to wait for a cluster's port: its head may have been started a moment ago."""

CONNECT_TIMEOUT_S = 40.0
"""Time to wait for the connection once the port is open."""

HINT = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to that of its head"

SHORT = "set RAY_TMPDIR to a short path that you may write, such as /tmp"


def start_ray(progress: Progress, object_store_bytes: int) -> None:
    """Start Ray on this machine, only for this process.

    Args:
        progress: receives notes.
        object_store_bytes: shared memory for objects.

    Raises:
        ExecutionError: it does not start; the message says what to change.
    """
    folder = ray_directory()
    progress.note("starting Ray on this machine")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _make_a_token()
    _allow_open_files()
    options = {
        "address": "local",
        "num_cpus": num_cpus(),
        "object_store_memory": object_store_bytes,
        "include_dashboard": False,
        "_temp_dir": str(folder),
    }
    try:
        _init(options)
    except OSError as error:
        raise ExecutionError(
            f"Ray cannot be started on this machine: {error.strerror or error}: {error.filename or folder}; {SHORT}"
        ) from error
    except Exception as error:
        raise ExecutionError(
            f"Ray cannot be started on this machine: {_first_line(error)}; {_way_out(folder)}"
        ) from error


def connect_ray(address: str, progress: Progress) -> None:
    """Connect to a running cluster, within a minute.

    Args:
        address: `host:port`, or `auto` for RAY_ADDRESS or the Ray of this machine.
        progress: receives notes.

    Raises:
        ExecutionError: nothing answers there, or it refuses.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _use_the_token_there_is()
    import ray

    place = _resolved(address)
    progress.note(f"connecting to Ray at {place}")
    _await_port(place)
    try:
        _within(CONNECT_TIMEOUT_S, place, {"address": address})
    except ray.exceptions.AuthenticationError as error:
        raise ExecutionError(f"Ray at {address} requires a token, and this process has none: {HINT}") from error
    except ExecutionError:
        raise
    except Exception as error:
        hint = f"; if it is up and requires a token, {HINT}"
        raise ExecutionError(f"Ray at {address} cannot be reached: {_first_line(error)}{hint}") from error


def _allow_open_files() -> None:
    """Raise the soft limit on open files, which Ray's processes inherit.

    Raises:
        ExecutionError: the hard limit is too low for Ray, whose processes would fail.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < LEAST_OPEN_FILES:
        raise ExecutionError(
            f"at most {hard} files may be open (ulimit -n), and Ray needs {LEAST_OPEN_FILES}; "
            "raise that limit, or use --local"
        )
    wanted = min(WANTED_OPEN_FILES, hard) if hard != resource.RLIM_INFINITY else WANTED_OPEN_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def ray_directory() -> Path:
    """Return the directory of our own Ray's files: private to this user, and short enough for its sockets.

    Ray's default, `/tmp/ray`, belongs to its first user, and every user of the machine can write to it.

    Raises:
        ExecutionError: there is none.
    """
    bases = [Path(os.environ["RAY_TMPDIR"])] if os.environ.get("RAY_TMPDIR") else _usual_bases()
    problems = []
    for base in bases:
        folder = base.absolute() / f"ray-{os.getuid()}"
        length = len(os.fsencode(str(folder / BELOW))) + len(SOCKET_BELOW)
        if length > MAX_SOCKET_PATH:
            problems.append(f"{base}: too long, a path of {length} bytes where {MAX_SOCKET_PATH} are allowed")
            continue
        try:
            _make_private(folder)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}")
        else:
            return folder / BELOW  # Ray makes its own directory accessible to all users
    raise ExecutionError(f"no place for the sockets and logs of Ray ({'; '.join(problems)}); {SHORT}")


def _usual_bases() -> list[Path]:
    given = [Path(os.environ["TMPDIR"])] if os.environ.get("TMPDIR") else []
    return [*given, Path("/tmp"), Path("/var/tmp")]  # what is made there is private


def _make_private(folder: Path) -> None:
    """Create a directory that only this user can access; refuse one that another user has created."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(0, "belongs to another user")
    folder.chmod(0o700)
    probe = folder / f".probe-{os.getpid()}"
    probe.mkdir()
    probe.rmdir()


def _make_a_token() -> None:
    """Let the new Ray require a token that only this process and its children know."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"].lower() == "token" and not _has_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    _read_the_environment_again()


def _use_the_token_there_is() -> None:
    if "RAY_AUTH_MODE" not in os.environ and (_has_token() or _token_file() is not None):
        os.environ["RAY_AUTH_MODE"] = "token"
        _read_the_environment_again()


def _read_the_environment_again() -> None:
    """Ray reads the authentication settings when it is first imported."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _has_token() -> bool:
    return any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))


def _token_file() -> Path | None:
    """Return Ray's token file of this user, if it exists."""
    try:
        path = Path.home() / ".ray" / "auth_token"
    except RuntimeError:  # a user without a home
        return None
    return path if path.is_file() else None


def _resolved(address: str) -> str:
    """Return `host:port` of an address, or the address itself if unknown."""
    try:
        from ray._private.services import canonicalize_bootstrap_address

        return canonicalize_bootstrap_address(address) or address
    except ConnectionError as error:
        raise ExecutionError(
            f"no Ray is running on this machine, and RAY_ADDRESS is not set: {_first_line(error)}; "
            "start one with `ray start --head`, give --ray HOST:PORT, or leave --ray out to start one for this run"
        ) from error
    except (ImportError, AttributeError, ValueError, OSError):
        return address


def _await_port(place: str) -> None:
    host, _, port = place.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ExecutionError(f"--ray {place}: is not an address; give HOST:PORT or auto")
    deadline = time.monotonic() + PORT_TIMEOUT_S
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
        except (OSError, OverflowError) as error:
            is_final = isinstance(error, socket.gaierror | OverflowError)
            if is_final or time.monotonic() > deadline:
                given = f" (RAY_ADDRESS is {known})" if (known := os.environ.get("RAY_ADDRESS")) else ""
                raise ExecutionError(
                    f"Ray at {place}{given} cannot be reached: {error.args[-1] if error.args else error}; "
                    "is its head up, and is this the port of `ray start --head` (6379)?"
                ) from error
            time.sleep(0.5)
        else:
            return


def _within(timeout_s: float, place: str, options: dict[str, Any]) -> None:
    """Connect, or give up: Ray itself would retry for a quarter of an hour."""
    failures: list[BaseException] = []

    def connect() -> None:
        try:
            _init(options)
        except BaseException as error:  # noqa: BLE001  # raised below, in the calling thread
            failures.append(error)

    connecting = threading.Thread(target=connect, name="ray-connect", daemon=True)
    connecting.start()
    deadline = time.monotonic() + timeout_s
    while connecting.is_alive() and time.monotonic() < deadline:
        connecting.join(0.2)  # in steps, so that signals are handled
    if connecting.is_alive():
        raise ExecutionError(
            f"Ray at {place}: its port is open, but no Ray head accepted this driver within {timeout_s:.0f} s"
        )
    if failures:
        raise failures[0]


def _init(options: dict[str, Any]) -> None:
    import ray

    try:
        with _same_signal_handlers():
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except SystemExit as error:  # a signal came, and Ray's own handler ended what had started
        raise KeyboardInterrupt from error


@contextmanager
def _same_signal_handlers() -> Iterator[None]:
    """Keep our signal handlers: Ray's handler for SIGTERM ends the process instead of draining the run."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:  # None: not installed from Python
                    signal.signal(number, handler)


def _first_line(error: BaseException) -> str:
    if isinstance(error, ArbitrageError):
        return str(error)
    lines = str(error).strip().splitlines()
    return lines[0][:400].rstrip(".") if lines else type(error).__name__


def _way_out(folder: Path) -> str:
    return f"its logs are in {folder}/session_latest/logs; --local runs without Ray"
