"""Settings for all tests."""

import atexit
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from arbitrage.runs.paths import StorePath
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
def ray_backend() -> "Iterator[RayBackend]":
    """Ray of one node that all tests share who ask for it: a start takes longer than most of them."""
    from ray.cluster_utils import Cluster

    from arbitrage.execution.ray.backend import LOCAL_OBJECT_STORE_BYTES, RayBackend

    head = {
        "num_cpus": os.cpu_count(),
        "include_dashboard": False,
        "object_store_memory": LOCAL_OBJECT_STORE_BYTES,
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield RayBackend(cluster.address)
    cluster.shutdown()


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


@pytest.fixture
def arbitrage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Told]:
    """Call the command line as a user would, in an empty directory."""
    from arbitrage.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small pipeline, made by the command line."""
    from tests.support.pipelines import write_pipeline

    directory = tmp_path_factory.mktemp("finished")
    path = write_pipeline(directory)
    command = [sys.executable, "-m", "arbitrage.cli.main", "run", str(path), "--local"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "report: runs/small/report.html" in done.stdout
    assert "preference: " in done.stdout
    return directory / "runs" / "small"
