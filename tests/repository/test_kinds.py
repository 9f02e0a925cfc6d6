"""What `make fast` leaves out: tests that start something are marked, and an unmarked one that does fails."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.kinds import KINDS, Starts


@pytest.fixture(scope="module")
def starts() -> Starts:
    return Starts()


def an_item(*markers: str) -> Any:
    return SimpleNamespace(get_closest_marker=lambda name: name if name in markers else None)


def start_a_process() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def start_a_pool() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(abs, -1).result()


def build_a_model() -> None:
    from torch.nn import Linear

    Linear(2, 2)


@pytest.mark.process
@pytest.mark.model
@pytest.mark.parametrize(
    ("start", "said"),
    [
        (start_a_process, r"it starts a process \(.*python.* -c "),
        (start_a_pool, r"it starts a process \(.*multiprocessing"),
        (build_a_model, r"it starts a model \(Linear\)"),
    ],
)
def test_a_fast_test_that_starts_something_fails(starts: Starts, start: Callable[[], None], said: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=said), starts.none_of(an_item("fast")):
        start()
    with starts.none_of(an_item("process")):
        start()


@pytest.mark.model
def test_a_model_that_an_import_makes_is_not_counted(
    starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "makes_a_model.py").write_text("from torch.nn import Linear\nMADE = Linear(2, 2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with starts.none_of(an_item("fast")):
        assert import_module("makes_a_model").MADE.in_features == 2


def test_git_is_not_counted(starts: Starts) -> None:
    with starts.none_of(an_item("fast")):
        subprocess.run(["git", "--version"], check=False, capture_output=True)


def test_every_kind_is_declared(pytestconfig: pytest.Config) -> None:
    declared = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    assert declared >= {*KINDS, "fast", "alone"}


def test_this_test_is_fast(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("fast")
