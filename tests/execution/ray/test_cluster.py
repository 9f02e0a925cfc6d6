"""A cluster of several nodes on this machine: replicas spread over it, nodes that die and join, jobs that are submitted."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbitrage.errors import DrainedError
from arbitrage.execution.progress import StopFlag
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.runs.manifest import LiveStep, Manifest
from tests.support.asked import asked_pipeline
from tests.support.clusters import running_cluster
from tests.support.runs import Watches, journaled, run, shard_bytes
from tests.support.waiting import WITHIN_S, wait_until

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def head() -> Iterator[Any]:
    """A head without cores."""
    with running_cluster({"num_cpus": 0}) as made:
        yield made


@pytest.fixture
def cluster(head: Any) -> Iterator[Any]:
    """The head with two nodes of one core each, every one a raylet of its own, for a test to do away with."""
    head.workers = [head.add_node(num_cpus=1) for _ in range(2)]
    yield head
    for node in head.workers:
        if node in head.worker_nodes:
            head.remove_node(node)


ENGINE = {"latency_s": 0.1, "max_in_flight": 4}


def test_replicas_spread_over_nodes_and_one_may_die(cluster: Any, tmp_path: Path) -> None:
    directory, watches = tmp_path / "r", Watches()
    pipeline = asked_pipeline(300, ENGINE | {"latency_s": 0.3}, replicas=2)

    def kill_a_node() -> None:
        wait_until(lambda: journaled(directory) >= 40 and watches.most_replicas == 2)
        cluster.remove_node(cluster.workers[0], allow_graceful=False)

    killing = threading.Thread(target=kill_a_node)
    killing.start()
    manifest = run(directory, pipeline, RayBackend(cluster.address), shards=6, progress=watches)
    killing.join()
    step = next(s for s in manifest.steps if s.name == "generate-fake")
    assert (step.num_rows, step.num_rejected) == (300, 0)
    assert watches.most_replicas == 2
    assert any("its node died" in note or "1 died" in note for note in watches.notes)
    run(tmp_path / "whole", asked_pipeline(300, ENGINE), shards=6)
    assert shard_bytes(directory) == shard_bytes(tmp_path / "whole")


def test_a_run_waits_for_a_node_when_its_only_one_has_died(cluster: Any, tmp_path: Path) -> None:
    directory, started = tmp_path / "r", []
    cluster.remove_node(cluster.workers[1])

    def replace_the_node() -> None:
        wait_until(lambda: journaled(directory) >= 10)
        cluster.remove_node(cluster.workers[0], allow_graceful=False)
        ray = str(Path(sys.executable).with_name("ray"))
        command = [ray, "start", f"--address={cluster.address}", "--num-cpus=1", "--block"]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    replacing = threading.Thread(target=replace_the_node)
    replacing.start()
    try:
        manifest = run(directory, asked_pipeline(120, ENGINE), RayBackend(cluster.address), shards=2)
    finally:
        replacing.join()
        for process in started:
            process.terminate()
            process.wait(WITHIN_S)
    step = next(s for s in manifest.steps if s.name == "generate-fake")
    assert (step.num_rows, step.num_rejected) == (120, 0)


def test_what_a_replica_held_is_released(shared_ray: str, tmp_path: Path) -> None:
    before = placement_groups(shared_ray)
    run(tmp_path / "r", asked_pipeline(20, {}), RayBackend(shared_ray), shards=2)
    states = [state for name, state in placement_groups(shared_ray).items() if name not in before]
    assert states
    assert set(states) == {"REMOVED"}


def placement_groups(address: str) -> dict[str, str]:
    """Return the state of each placement group that the cluster knows, by its id."""
    import ray
    from ray.util import placement_group_table

    ray.init(address=address, logging_level="ERROR")
    try:
        return {name: group["state"] for name, group in placement_group_table().items()}
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def one_gpu() -> Iterator[Any]:
    with running_cluster({"num_cpus": 2, "num_gpus": 1}) as made:
        yield made


def rows_of(manifest: Manifest) -> dict[str, int]:
    return {step.name: step.num_rows for step in manifest.steps if step.name.startswith("generate")}


def test_teachers_that_fill_a_gpu_take_turns(one_gpu: Any, tmp_path: Path) -> None:
    watches = Watches()
    pipeline = asked_pipeline(40, {"latency_s": 0.5, "max_in_flight": 4}, gpus=1.0, teachers=("a", "b"))
    manifest = run(tmp_path / "r", pipeline, RayBackend(one_gpu.address), progress=watches, shards=2)
    assert rows_of(manifest) == {"generate-a": 40, "generate-b": 40}
    assert set(watches.pools) == {"generate-a", "generate-b"}
    assert max(len(steps) for steps in watches.at_once) == 1


def test_teachers_that_share_a_gpu_work_side_by_side(one_gpu: Any, tmp_path: Path) -> None:
    """There is work for half a minute, enough for the second to start; once both were seen at it, the run may end."""
    stop = StopFlag()

    class UntilBoth(Watches):
        def live(self, steps: dict[str, LiveStep]) -> None:
            super().live(steps)
            stop.is_requested = stop.is_requested or len(self.at_once[-1]) == 2

    watches, backend = UntilBoth(), RayBackend(one_gpu.address)
    slow = asked_pipeline(240, {"latency_s": 0.5, "max_in_flight": 4}, gpus=0.5, teachers=("a", "b"))
    with pytest.raises(DrainedError):
        run(tmp_path / "r", slow, backend, progress=watches, stop=stop, shards=2)
    assert set(watches.pools) == {"generate-a", "generate-b"}
    rest = asked_pipeline(240, {"max_in_flight": 4}, gpus=0.5, teachers=("a", "b"))
    assert rows_of(run(tmp_path / "r", rest, backend, shards=2)) == {"generate-a": 240, "generate-b": 240}
