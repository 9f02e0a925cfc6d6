"""Two raylets of which one would run other code: found by name before any engine starts."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arbitrage.errors import DrainedError, ExecutionError
from arbitrage.execution.environment import package_versions
from arbitrage.execution.progress import StopFlag
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.runs.manifest import LiveStep
from tests.support.asked import asked_pipeline
from tests.support.clusters import running_cluster
from tests.support.paths import ROOT
from tests.support.runs import Watches, run
from tests.support.waiting import WITHIN_S, wait_until

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head whose workers find the pipelines of these tests wherever the driver's working directory is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        with running_cluster({"num_cpus": 1}) as made:
            yield made


@pytest.fixture
def join(cluster: Any) -> Iterator[Callable[[Path], None]]:
    """Start a node whose workers look for packages in `first` before anywhere else."""
    started = []

    def add(first: Path) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={cluster.address}"]
        command += ["--num-cpus=1", "--object-store-memory=80000000", "--block"]
        environ = os.environ | {"PYTHONPATH": f"{first}{os.pathsep}{ROOT}"}
        started.append(subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    yield add
    for process in started:
        process.terminate()
        process.wait(WITHIN_S)
    wait_for_nodes(cluster, 1)


def wait_for_nodes(cluster: Any, number: int) -> None:
    import ray

    ray.init(address=cluster.address, logging_level="ERROR")
    try:
        wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == number)
    finally:
        ray.shutdown()


@pytest.fixture
def other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that holds a changed copy of the package, and says that pydantic is of another version."""
    monkeypatch.chdir(tmp_path)  # like the command line: Ray puts it first on the path of workers
    other = tmp_path / "other"
    shutil.copytree(ROOT / "arbitrage", other / "arbitrage", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "arbitrage" / "errors.py").open("a") as changed:
        changed.write("\n# changed\n")
    described = other / "pydantic-9.9.9.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: pydantic\nVersion: 9.9.9\n")
    return other


def refused(cluster: Any, directory: Path) -> tuple[list[str], Watches]:
    watches = Watches()
    with pytest.raises(ExecutionError) as caught:
        run(directory, asked_pipeline(20, {}), RayBackend(cluster.address), progress=watches, shards=2)
    return str(caught.value).splitlines(), watches


def test_a_node_with_other_code_and_another_version_ends_the_run_by_name(
    cluster: Any, join: Callable[[Path], None], other_code: Path, tmp_path: Path
) -> None:
    join(other_code)
    wait_for_nodes(cluster, 2)

    lines, watches = refused(cluster, tmp_path / "r")
    assert lines[0] == "the nodes do not run the same code:"
    assert len(lines) == 3, lines
    nodes = {line.split(": ")[0] for line in lines[1:]}
    assert len(nodes) == 1
    assert "/" in nodes.pop()  # host name, and the beginning of the id that `ray list nodes` shows
    assert ": arbitrage files is " in lines[1]
    here = package_versions()["pydantic"]
    assert lines[2].endswith(f": pydantic is 9.9.9, on the driver {here}")
    assert watches.pools == []
    assert not list((tmp_path / "r").glob("generate-*/*"))


def test_a_node_with_other_code_that_joins_a_run_at_work_is_not_used(
    cluster: Any, join: Callable[[Path], None], other_code: Path, tmp_path: Path
) -> None:
    stop = StopFlag()

    class UntilNoted(Watches):
        def note(self, message: str) -> None:
            super().note(message)
            stop.is_requested = stop.is_requested or message.startswith("a node that joined")

        def live(self, steps: dict[str, LiveStep]) -> None:
            super().live(steps)
            if self.at_once[-1] and not joined:
                joined.append(join(other_code))

    joined: list[None] = []
    watches = UntilNoted()
    pipeline = asked_pipeline(3000, {"latency_s": 0.1, "max_in_flight": 4}, replicas=2)
    with pytest.raises(DrainedError):
        run(tmp_path / "r", pipeline, RayBackend(cluster.address), progress=watches, stop=stop, shards=2)
    (said,) = [note for note in watches.notes if note.startswith("a node that joined")]
    assert said.startswith("a node that joined is not used: the nodes do not run the same code:")
    assert ": pydantic is 9.9.9, on the driver " in said
    assert watches.most_replicas == 1
