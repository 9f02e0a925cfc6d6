"""Where replicas and light tasks go, what happens where an engine does not start, and who shares a process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from arbitrage.contracts.steps import LoadedModel, Resources
from arbitrage.errors import EngineStartError, PlacementError, TeacherError
from arbitrage.execution.loads import ModelPlacement
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.execution.ray.cluster import MOST_LIGHT_TASKS, MOST_SHARED_HOSTS, Inventory, Node
from tests.support.asked import asked_pipeline
from tests.support.clusters import running_cluster
from tests.support.runs import Notes, Watches, run
from tests.support.starting import Starting, starting_pipeline, starts


def test_parts_of_gpus_are_counted_by_card() -> None:
    node = Node("n", 8, 2)
    half, rest = Resources(gpus=0.5), Resources(gpus=0.4)
    assert node.take(half) == {0: 0.5}
    assert node.take(rest) == {0: 0.4}  # the fullest card that has room
    assert node.take(Resources(gpus=0.6)) == {1: 0.6}
    assert node.gpus_left == pytest.approx(0.5)
    assert not node.fits(half)  # 0.1 + 0.4 on two cards are no half
    assert node.fits(rest)
    assert not node.fits(Resources(gpus=1))
    node.give_back(Resources(gpus=0.6), {1: 0.6})
    assert node.fits(Resources(gpus=1))
    assert not node.fits(Resources(gpus=2))


def test_engines_that_share_a_gpu_start_one_after_the_other() -> None:
    node = Node("n", 8, 1)
    node.starting.add(1)
    assert not node.fits(Resources(gpus=0.5))
    assert node.fits(Resources(gpus=1))  # alone on its card
    node.starting.clear()
    assert node.fits(Resources(gpus=0.5))


def test_a_replica_goes_to_a_node_with_the_gpu_it_names() -> None:
    nodes = Inventory([Node("a", 8, 1, frozenset({"L4"})), Node("b", 8, 8, frozenset({"H100"})), Node("c", 8, 0)])
    assert nodes.best_for(Resources(gpus=1)).node_id == "a"
    assert nodes.best_for(Resources(gpus=1, accelerator="H100")).node_id == "b"
    assert nodes.best_for(Resources(gpus=2, accelerator="L4")) is None
    with pytest.raises(PlacementError, match=r"needs 0 CPUs, 2 GPUs \(L4\); the nodes have: 8 CPUs, 1 GPU \(L4\); "):
        nodes.require_possible("generate-x", Resources(gpus=2, accelerator="L4"))
    with pytest.raises(PlacementError, match=r"1 GPU \(A100\)"):
        nodes.require_possible("generate-x", Resources(gpus=1, accelerator="A100"))


def test_a_node_that_holds_the_weights_is_preferred() -> None:
    small, full = Node("a", 8, 1), Node("b", 8, 8, models=frozenset({"org/m"}))
    nodes = Inventory([small, full])
    assert nodes.best_for(Resources(gpus=1), model="org/other") is small
    assert nodes.best_for(Resources(gpus=1), model="org/m") is full
    assert nodes.best_for(Resources(gpus=1), avoid={"b"}, model="org/m") is small  # a preference, not a condition


def test_light_tasks_leave_the_drivers_node_and_are_bounded_on_each() -> None:
    nodes = Inventory([Node("head", 4, 0, is_drivers=True), *(Node(f"w{n}", 128, 8) for n in range(10))])
    placed = []
    while (node := nodes.light_node()) is not None:
        node.num_light += 1
        placed.append(node.node_id)
    assert "head" not in placed
    assert {placed.count(f"w{n}") for n in range(10)} == {MOST_LIGHT_TASKS}
    assert len(set(placed[:10])) == 10  # spread


def test_a_single_node_does_its_light_tasks_itself() -> None:
    nodes = Inventory([Node("only", 1, 0, is_drivers=True)])
    for _ in range(2):
        node = nodes.light_node()
        assert node is not None
        node.num_light += 1
    assert nodes.light_node() is None


def test_shared_actors_are_few_on_each_node() -> None:
    nodes = Inventory([Node("head", 0, 0, is_drivers=True), Node("a", 64, 0), Node("b", 1, 0)])
    placed = []
    while (node := nodes.host_node()) is not None:
        node.num_hosts += 1
        placed.append(node.node_id)
    assert (placed.count("a"), placed.count("b"), placed.count("head")) == (MOST_SHARED_HOSTS, 1, 0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores and two nodes of two cores and two GPUs each, every one a raylet of its own."""
    with running_cluster({"num_cpus": 0}, [{"num_cpus": 2, "num_gpus": 1}] * 2) as made:
        yield made


def other_node(cluster: Any, tmp_path: Path) -> str:
    """Return the node on which a replica would not start first: where the first one did is found by trying."""
    config = Starting(teacher="probe", log=str(tmp_path))
    run(tmp_path / "probe", starting_pipeline([config], cpus=1.0), RayBackend(cluster.address), shards=2)
    return starts(tmp_path, "probe")[0][0]


@pytest.mark.ray
def test_an_engine_that_does_not_start_on_a_node_starts_on_another(cluster: Any, tmp_path: Path) -> None:
    bad = other_node(cluster, tmp_path)
    notes = Notes()
    config = Starting(teacher="picky", fails_on=(bad,), log=str(tmp_path))
    manifest = run(
        tmp_path / "r", starting_pipeline([config], cpus=1.0), RayBackend(cluster.address), progress=notes, shards=2
    )
    assert {s.name: s.num_rows for s in manifest.steps}["generate-picky"] == 24
    nodes = [node for node, *_ in starts(tmp_path, "picky")]
    assert nodes[0] == bad
    assert len(nodes) == 2
    assert nodes[1] != bad
    (said,) = [note for note in notes.notes if "no such device here" in note]
    assert said.startswith("generate-picky: teacher 'picky': no such device here; starting again")


@pytest.mark.ray
def test_shared_actors_are_on_the_nodes_that_they_are_counted_on(cluster: Any, tmp_path: Path) -> None:
    """Ray puts actors without resources anywhere where the affinity to a node is soft: on the head without cores, too."""
    configs = [Starting(teacher=f"t{n}", log=str(tmp_path), seconds=0.3, waits=True) for n in range(4)]
    run(tmp_path / "r", starting_pipeline(configs), RayBackend(cluster.address), shards=2)
    found = [starts(tmp_path, config.teacher)[0][0] for config in configs]
    assert {found.count(worker.node_id) for worker in cluster.workers} == {2}


@pytest.mark.ray
def test_steps_that_load_the_same_model_share_a_replica(cluster: Any, tmp_path: Path) -> None:
    keys = {"a": "model", "b": "model", "c": None}
    configs = [Starting(teacher=name, log=str(tmp_path), shares=key) for name, key in keys.items()]
    watches = Watches()
    manifest = run(
        tmp_path / "r", starting_pipeline(configs, cpus=1.0), RayBackend(cluster.address), progress=watches, shards=3
    )
    assert {s.num_rows for s in manifest.steps if s.name.startswith("generate")} == {24}
    assert sorted(watches.pools) == ["generate-a", "generate-c"]
    of_a, of_b, of_c = (starts(tmp_path, name) for name in keys)
    assert len(of_a) == len(of_b) == len(of_c) == 1
    assert of_a[0][:2] == of_b[0][:2] != of_c[0][:2]  # node and pid


@pytest.mark.ray
def test_steps_that_share_a_replica_are_given_up_together(cluster: Any, tmp_path: Path) -> None:
    configs = [
        Starting(teacher="a", log=str(tmp_path), shares="model", fails_on=("*",)),
        Starting(teacher="b", log=str(tmp_path), shares="model"),
        Starting(teacher="sound", log=str(tmp_path)),
    ]
    with pytest.raises(EngineStartError, match=r"teacher 'a': no such device here"):
        run(tmp_path / "r", starting_pipeline(configs, cpus=1.0), RayBackend(cluster.address), shards=2)
    assert len(list((tmp_path / "r").glob("generate-sound-*/shard-*.parquet"))) == 2


@pytest.mark.alone  # two nodes must be there in time
@pytest.mark.parametrize("resources", [{"cpus": 1.0}, {}], ids=["own-process", "shared"])
@pytest.mark.ray
def test_a_teacher_that_starts_nowhere_is_given_up_and_the_others_finish(
    cluster: Any, tmp_path: Path, resources: dict[str, float]
) -> None:
    waits = not resources
    configs = [
        Starting(teacher="broken", fails_on=("*",), log=str(tmp_path), waits=waits),
        Starting(teacher="sound", log=str(tmp_path), seconds=1.0, waits=waits),
    ]
    notes = Notes()
    with pytest.raises(EngineStartError, match=r"teacher 'broken': no such device here.*rerun the same command"):
        run(
            tmp_path / "r",
            starting_pipeline(configs, **resources),
            RayBackend(cluster.address),
            progress=notes,
            shards=2,
        )
    assert len({node for node, *_ in starts(tmp_path, "broken")}) == 2
    assert len(list((tmp_path / "r").glob("generate-sound-*/shard-*.parquet"))) > 0
    assert not list((tmp_path / "r").glob("generate-broken-*/shard-*.parquet"))


@pytest.mark.parametrize("fault", ["access", "unreachable"])
@pytest.mark.parametrize("where", ["ray", "local"])
@pytest.mark.ray
def test_a_teacher_that_does_not_serve_leaves_the_others_their_work(
    cluster: Any, tmp_path: Path, fault: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.starting.node_here", lambda: "here")
    backend = RayBackend(cluster.address) if where == "ray" else LocalBackend()
    configs = [
        Starting(teacher="shut", fails_on=("*",), fault=fault, log=str(tmp_path), waits=True),
        Starting(teacher="sound", log=str(tmp_path), waits=True),
    ]
    with pytest.raises(TeacherError, match="teacher 'shut': does not serve"):
        run(tmp_path / "r", starting_pipeline(configs), backend, shards=2)
    done = sorted(path.name for path in (tmp_path / "r").glob("generate-sound-*/shard-*.parquet"))
    assert done
    fixed = [configs[0].model_copy(update={"fails_on": ()}), configs[1]]
    run(tmp_path / "whole", starting_pipeline(fixed), backend, shards=2)
    assert done == sorted(path.name for path in (tmp_path / "whole").glob("generate-sound-*/shard-*.parquet"))


@pytest.mark.ray
def test_endpoint_teachers_share_a_few_processes(cluster: Any, tmp_path: Path) -> None:
    configs = [Starting(teacher=f"t{n}", log=str(tmp_path), waits=True) for n in range(24)]
    manifest = run(tmp_path / "r", starting_pipeline(configs), RayBackend(cluster.address), shards=2)
    assert {s.num_rows for s in manifest.steps if s.name.startswith("generate")} == {24}
    pids = {(node, pid) for n in range(24) for node, pid, *_ in starts(tmp_path, f"t{n}")}
    assert len(pids) <= 2 * 2  # two nodes of two cores


@pytest.mark.ray
def test_half_gpus_start_one_after_the_other(cluster: Any, tmp_path: Path) -> None:
    configs = [Starting(teacher=f"h{n}", log=str(tmp_path), seconds=0.5) for n in range(4)]
    run(tmp_path / "r", starting_pipeline(configs, gpus=0.5), RayBackend(cluster.address), shards=2)
    by_node: dict[str, list[tuple[float, float]]] = {}
    for n in range(4):
        for node, _, begin, end in starts(tmp_path, f"h{n}"):
            by_node.setdefault(node, []).append((begin, end))
    for spans in by_node.values():
        spans.sort()
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize("kills", ["engine", "process"])
@pytest.mark.ray
def test_a_poisoned_prompt_in_a_shared_process_is_found(cluster: Any, tmp_path: Path, kills: str) -> None:
    """Three teachers in a few processes; one dies of a prompt, and only that prompt becomes a reject."""
    poison = {"a": {"poison": "question 7", "poison_kills": kills}}
    engine = {"latency_s": 0.01, "max_in_flight": 4}
    pipeline = asked_pipeline(24, engine, cpus=0.0, teachers=("a", "b", "c"), own=poison)
    manifest = run(tmp_path / "r", pipeline, RayBackend(cluster.address), shards=2)
    found = {s.name: (s.num_rows, s.num_rejected) for s in manifest.steps if s.name.startswith("generate")}
    assert found == {"generate-a": (23, 1), "generate-b": (24, 0), "generate-c": (24, 0)}


def test_a_run_says_what_it_will_load_and_where(tmp_path: Path) -> None:
    notes = Notes()
    run(tmp_path / "r", asked_pipeline(4, {}, teachers=("a", "b")), LocalBackend(), progress=notes, shards=2)
    assert "sends requests to a, b: no model is loaded for these" in notes.notes


@pytest.mark.parametrize(
    ("resources", "where"),
    [
        (Resources(cpus=1), "CPUs"),
        (Resources(gpus=1), "1 GPU"),
        (Resources(gpus=0.5), "part of a GPU"),
        (Resources(gpus=2, accelerator="H100"), "2 GPUs of one node (H100)"),
    ],
)
def test_the_kind_of_node_is_named(resources: Resources, where: str) -> None:
    assert (
        ModelPlacement("generate-x", "x", LoadedModel("vllm", "org/m", "bf16"), resources, is_remote=False).where
        == where
    )


@contextmanager
def holding_a_gpu(address: str) -> Iterator[None]:
    """Hold a GPU as another job would."""
    import ray

    class Idle:
        def is_there(self) -> bool:
            return True

    ray.init(address=address, namespace="another job", logging_level="ERROR", log_to_driver=False)
    holder = ray.remote(Idle).options(name="holder", lifetime="detached", num_cpus=0, num_gpus=1).remote()
    assert ray.get(holder.is_there.remote())
    ray.shutdown()
    yield


@pytest.mark.ray
def test_a_replica_whose_gpu_another_job_holds_is_given_up_and_the_others_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbitrage.execution.ray.failures.PLACED_WITHIN_S", 0.0)
    monkeypatch.setattr("arbitrage.execution.ray.failures.NODES_EVERY_S", 0.2)
    with running_cluster({"num_cpus": 2, "num_gpus": 1}) as cluster, holding_a_gpu(cluster.address):
        sound_one = Starting(teacher="sound", log=str(tmp_path), waits=True)
        configs = [Starting(teacher="waits", log=str(tmp_path)), sound_one]
        made = starting_pipeline(configs, gpus=1.0)
        waits, sound = made.table["candidates"]
        sound = replace(sound, resources=Resources())
        pipeline = replace(made, table={**made.table, "candidates": (waits, sound)})
        with pytest.raises(
            EngineStartError, match=r"generate-waits: .*, 1 GPU on node .* did not become free within"
        ):
            run(tmp_path / "r", pipeline, RayBackend(cluster.address), shards=2)
    assert len(list((tmp_path / "r").glob("generate-sound-*/shard-*.parquet"))) == 2
    assert not (tmp_path / "waits.starts").exists()
