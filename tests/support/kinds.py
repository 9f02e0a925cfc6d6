"""Kinds of tests, by what they start beside themselves: which are fast, which go first, which share a worker.

A test says by a marker what it starts (`ray`, `vllm`, `model`, `trainer`, `process`, `browser`: see pyproject.toml),
or that it takes seconds of a core (`long`). One without any of these is marked `fast` here, and `Starts` holds it to
that: a fast test that starts something fails.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from multiprocessing import util
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

KINDS = ("vllm", "ray", "model", "trainer", "process", "browser", "long")
"""In the order in which they are begun: what takes long must not come last, when other workers have nothing left."""

SHARED_RAY = "shared_ray"
"""The fixture whose one Ray all tests share, and so a worker."""

STARTED_BY = {SHARED_RAY: "ray", "store": "process"}
"""Fixtures that start something, and the kind of a test that asks for one."""

PROCESS_EVENTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system")
UNCOUNTED = ("git", "lscpu")
"""Programs that take milliseconds: which commit of the code makes a run, how many cores scikit-learn finds."""

IMPORT_MACHINERY = "<frozen importlib._bootstrap>"

HEAVY = ("vllm",)
"""Packages that take ten seconds to import."""


def mark(items: list[pytest.Item]) -> None:
    """Mark what asks for a fixture that starts something, and as fast what starts nothing."""
    for item in items:
        for name in _fixtures(item) & STARTED_BY.keys():
            item.add_marker(STARTED_BY[name])
        if not kinds_of(item) and not item.get_closest_marker("alone"):
            item.add_marker("fast")


def arrange(items: list[pytest.Item], groups: Path) -> None:
    """In a worker of pytest-xdist: put what is slow first, and write down which tests are to stay together."""
    items.sort(key=_rank)
    written = groups.with_name(f"{groups.name}-{os.getpid()}")
    written.write_text(json.dumps({item.nodeid: group for item in items if (group := _group_of(item))}))
    written.replace(groups)  # each worker writes the same


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives tests that must stay together to one worker, any other to whichever is free, in order.

    pytest-xdist's own `loadgroup` hands groups over within names of tests, which pytest 9.2 does not let it change.
    """

    def __init__(self, config: pytest.Config, log: Any, groups: Path) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False
        self._path = groups

    @cached_property
    def _groups(self) -> dict[str, str]:
        return dict(json.loads(self._path.read_text()))

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)


def kinds_of(item: pytest.Item) -> list[str]:
    """Return the kinds that a test is marked with, in the order of `KINDS`."""
    return [kind for kind in KINDS if item.get_closest_marker(kind)]


def _rank(item: pytest.Item) -> int:
    kinds = kinds_of(item)
    return KINDS.index(kinds[0]) if kinds else len(KINDS)


def _group_of(item: pytest.Item) -> str | None:
    if SHARED_RAY in _fixtures(item):
        return SHARED_RAY
    if item.get_closest_marker("vllm"):  # ten seconds to import, and its engines take gigabytes
        return "vllm"
    return item.nodeid.partition("::")[0] if _shares_a_module(item) else None


def _fixtures(item: pytest.Item) -> set[str]:
    """Return the names of what a test asks for, directly or not; the backend `ray` asks for its own by its name."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    asked = {SHARED_RAY} if parameters.get("backend") == "ray" else set()
    return asked | set(getattr(item, "fixturenames", ()))


def _shares_a_module(item: pytest.Item) -> bool:
    """Say whether the test asks for a fixture that is made once for its module or class."""
    found = getattr(item, "_fixtureinfo", None)
    definitions = [each for several in found.name2fixturedefs.values() for each in several] if found else []
    return any(d.scope in ("module", "class") and not d.argname.startswith("_own_process") for d in definitions)


class Starts:
    """Hears what this process starts, whoever in it does so."""

    def __init__(self) -> None:
        self._is_listening = False
        self._heard: list[str] = []
        self._hears_models = False
        sys.addaudithook(self._hear)
        self._spawn, util.spawnv_passfds = util.spawnv_passfds, self._hear_spawn  # it raises no audit event

    @contextmanager
    def none_of(self, item: pytest.Item) -> Iterator[None]:
        """Fail a fast test that starts something in the block."""
        self._hear_models()  # PyTorch may have been imported before this began to listen
        self._heard, self._is_listening = [], item.get_closest_marker("fast") is not None
        try:
            yield
        finally:
            self._is_listening = False
        if self._heard:
            what = "; ".join(dict.fromkeys(self._heard))
            pytest.fail(
                f"this test has none of the markers {', '.join(KINDS)} and so counts as fast, but it starts {what}: "
                "mark it (pyproject.toml says what each marker means), or do without",
                pytrace=False,
            )

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import":
            self._hear_models()
        if not self._is_listening:
            return
        if event in PROCESS_EVENTS and not (event == "subprocess.Popen" and arguments[0] in UNCOUNTED):
            self._heard.append(f"a process ({_words(arguments[1] if len(arguments) > 1 else event)})")
        elif event == "import" and arguments[0] in HEAVY:
            self._heard.append(f"the import of {arguments[0]}")

    def _hear_spawn(self, path: Any, arguments: Sequence[bytes | str], descriptors: Any) -> int:
        if self._is_listening:
            self._heard.append(f"a process ({_words(arguments)})")
        return self._spawn(path, arguments, descriptors)

    def _hear_models(self) -> None:
        """Hear of models too, from the moment on that PyTorch is being imported."""
        module = None if self._hears_models else getattr(sys.modules.get("torch.nn.modules.module"), "Module", None)
        if module is None:
            return
        self._hears_models, init = True, module.__init__

        def heard(model: Any, *arguments: Any, **named: Any) -> None:
            if self._is_listening and not _is_importing():
                self._heard.append(f"a model ({type(model).__name__})")
            init(model, *arguments, **named)

        module.__init__ = heard


def _is_importing() -> bool:
    """Say whether a module is being imported: transformers makes its activations then, for whoever comes first."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename != IMPORT_MACHINERY:
        frame = frame.f_back
    return frame is not None


def _words(command: Any) -> str:
    words = command if isinstance(command, list | tuple) else [command]
    return " ".join(os.fsdecode(w) if isinstance(w, bytes) else str(w) for w in words)[:80]
