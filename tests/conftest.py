"""Settings for all tests."""

import atexit
import io
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from hypothesis import settings

from arbitrage.processes.pools import num_cpus
from arbitrage.runs.paths import StorePath
from tests.support.kinds import GroupScheduling, Starts, arrange, mark
from tests.support.own_process import own_process

if TYPE_CHECKING:
    from arbitrage.execution.ray.backend import RayBackend
    from arbitrage.execution.run import Backend

# Tests assert on results, never on wall-clock time.
settings.register_profile("arbitrage", deadline=None)
settings.load_profile("arbitrage")

# Nothing is fetched at run time: a test that tries fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

# Every Ray of this process asks for one token. Otherwise the first that `ray.init` starts would turn that on, and
# clusters that already ran without would refuse what comes after.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

# Nothing is left in the user's caches.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="arbitrage-tests-")
atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)


STARTS = Starts()
GROUPS = pytest.StashKey[Path]()


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mark(items)
    if groups := getattr(config, "workerinput", {}).get("groups"):
        arrange(items, Path(groups))


def _groups_of(config: pytest.Config) -> Path:
    """Return the file in which workers tell the process that gives them their tests which stay together."""
    if GROUPS not in config.stash:
        config.stash[GROUPS] = Path(tempfile.mkdtemp(prefix="arbitrage-tests-"), "groups.json")
        atexit.register(shutil.rmtree, config.stash[GROUPS].parent, ignore_errors=True)
    return config.stash[GROUPS]


def pytest_configure_node(node: Any) -> None:
    node.workerinput["groups"] = str(_groups_of(node.config))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    return GroupScheduling(config, log, _groups_of(config)) if config.option.dist == "loadgroup" else None


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`logical`: one for each core. `auto`: two, for tests that wait, at most 8, as each may hold a Ray or a model."""
    return num_cpus() if config.option.numprocesses == "logical" else min(2 * num_cpus(), 8)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    with STARTS.none_of(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    with STARTS.none_of(item):
        return (yield)


@pytest.fixture(scope="module", autouse=True)
def _own_process_of_a_module() -> Iterator[None]:
    """Commands that run in this process change its import paths and umask; the next module starts without that."""
    with own_process():
        yield


@pytest.fixture(autouse=True)
def _own_process_of_a_test() -> Iterator[None]:
    with own_process():
        yield


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[str]:
    """The address of a Ray of one node that all tests share who ask for it: a start takes longer than most of them."""
    from arbitrage.execution.ray.backend import LOCAL_OBJECT_STORE_BYTES
    from tests.support.clusters import running_cluster

    head = {"num_cpus": os.cpu_count(), "object_store_memory": LOCAL_OBJECT_STORE_BYTES}
    with running_cluster(head) as cluster:
        yield cluster.address


@pytest.fixture
def ray_backend(shared_ray: str) -> "RayBackend":
    """The shared Ray as a backend."""
    from arbitrage.execution.ray.backend import RayBackend

    return RayBackend(shared_ray)


@pytest.fixture(params=["local", "ray"])
def backend(request: pytest.FixtureRequest) -> "Backend":
    """Each backend in turn."""
    from arbitrage.execution.local import LocalBackend

    return LocalBackend() if request.param == "local" else request.getfixturevalue("ray_backend")


@pytest.fixture(scope="module")
def store() -> Iterator[Path]:
    """A store with the bucket `bucket`; yields the log of its requests. Drivers do not wait before they start."""
    from arbitrage.execution import lock
    from tests.support.object_store import object_store

    with object_store("bucket") as log, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock, "SETTLE_S", 0.0)
        yield log


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> StorePath:
    """A place in the store that no other test uses."""
    return StorePath(f"s3://bucket/{abs(hash(request.node.name))}/run")


class Told:
    """What one command said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@cache
def _commands(app: typer.Typer) -> Any:
    """Make the thirty commands once: Typer does it for each call, which takes longer than most of them."""
    return typer.main.get_command(app)


@pytest.fixture
def arbitrage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Told]:
    """Call the command line as a user would, in an empty directory."""
    from arbitrage.cli.main import app, main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(type(app), "__call__", lambda called: _commands(called)())

    def call(*arguments: object) -> Told:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["arbitrage", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return Told(code, said.out, said.err)

    return call


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a small pipeline that the command line has run there; not to be changed."""
    from arbitrage.cli.main import main
    from tests.support.pipelines import write_pipeline

    directory = tmp_path_factory.mktemp("finished")
    arguments = ["arbitrage", "run", str(write_pipeline(directory)), "--local"]
    out, err = io.StringIO(), io.StringIO()
    with (
        own_process(),
        chdir(directory),
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", arguments)
        with suppress(SystemExit):
            main()
    assert "report: runs/small/report.html" in out.getvalue(), err.getvalue()
    assert "preference: " in out.getvalue()
    return directory


@pytest.fixture(scope="module")
def finished(finished_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the small pipeline, for a module to read and to change."""
    directory = tmp_path_factory.mktemp("finished")
    shutil.copytree(finished_once, directory, dirs_exist_ok=True)
    return directory / "runs" / "small"
