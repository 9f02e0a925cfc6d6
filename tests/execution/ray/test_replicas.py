"""How many replicas pools start, with a stub in place of Ray; and what an autoscaler is asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbitrage.contracts.steps import Resources, Step, StepFacts
from arbitrage.errors import DrainedError, PlacementError
from arbitrage.execution.plan import plan
from arbitrage.execution.progress import NoProgress, RunMonitor, StopFlag
from arbitrage.execution.ray.cluster import Node
from arbitrage.execution.ray.demand import Demand, NodesWanted, await_nodes, bundle_of
from arbitrage.execution.ray.feeding import Feeder
from arbitrage.execution.ray.pools import Cluster
from arbitrage.execution.ray.state import RunState
from arbitrage.records import Candidate
from benchmarks.scheduler_turn import Nothing, stubbed
from tests.support.runs import Notes

NUM_SHARDS = 40


@pytest.fixture
def stub() -> Iterator[None]:
    with stubbed():
        yield


def a_node(digit: str, gpus: int) -> Node:
    return Node(digit * 56, 64, gpus)


def fed(nodes: list[Node], tmp_path: Path, **teachers: Resources) -> RunState:
    """Return the state of a run after all shards of some teachers became ready at once."""
    steps = [
        Step(
            StepFacts(verb="generate", label=name), Nothing(number=n), Candidate, {}, wanted, pool=f"generate-{name}"
        )
        for n, (name, wanted) in enumerate(teachers.items())
    ]
    execution = plan(tmp_path, steps, NUM_SHARDS, range(NUM_SHARDS))
    watch = RunMonitor(execution, NoProgress(), StopFlag(), 0.0)
    state = RunState(execution, Cluster(nodes), watch)
    Feeder(state).feed({step.job.pool: [step] for step in execution.steps})
    return state


def sizes(state: RunState) -> dict[str, int]:
    return {name.removeprefix("generate-"): len(pool.in_hand) for name, pool in state.pools.items()}


def test_a_gpu_teacher_has_as_many_replicas_as_fit(stub: None, tmp_path: Path) -> None:
    nodes = [a_node("a", 4), a_node("b", 4)]
    assert sizes(fed(nodes, tmp_path, one=Resources(gpus=1))) == {"one": 8}


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        (Resources(gpus=1, replicas=3), 3),
        (Resources(gpus=4), 2),  # two nodes of four GPUs
        (Resources(gpus=0.5), 1),  # a share of a GPU is for others beside it
        (Resources(cpus=1), 1),
        (Resources(cpus=1, replicas=5), 5),
        (Resources(), 1),
    ],
)
def test_replicas_are_those_given_else_one_without_whole_gpus(
    stub: None, tmp_path: Path, wanted: Resources, number: int
) -> None:
    assert sizes(fed([a_node("a", 4), a_node("b", 4)], tmp_path, x=wanted)) == {"x": number}


def test_teachers_share_the_gpus(stub: None, tmp_path: Path) -> None:
    one = Resources(gpus=1)
    assert sizes(fed([a_node("a", 8)], tmp_path, a=one, b=one)) == {"a": 4, "b": 4}
    assert sizes(fed([a_node("a", 8)], tmp_path, a=one, b=one, c=one)) == {"a": 3, "b": 3, "c": 2}
    with_large = sizes(fed([a_node("a", 8)], tmp_path, a=one, large=Resources(gpus=4), b=one))
    assert with_large == {"a": 2, "large": 1, "b": 2}  # by GPUs, not by replicas
    given = sizes(fed([a_node("a", 8)], tmp_path, a=one, b=Resources(gpus=1, replicas=2)))
    assert given == {"a": 6, "b": 2}


def test_no_more_replicas_start_than_there_are_shards(stub: None, tmp_path: Path) -> None:
    state = fed([a_node(f"{n:x}", 8) for n in range(16)], tmp_path, a=Resources(gpus=1))
    assert sizes(state) == {"a": NUM_SHARDS}
    assert len(state.flights) == NUM_SHARDS


def test_the_replicas_of_a_step_are_said() -> None:
    assert Resources(gpus=1).all() == "as many as fit × (0 CPUs, 1 GPU)"
    assert Resources(gpus=2, cpus=4, replicas=3).all() == "3 × (4 CPUs, 2 GPUs)"
    assert Resources(cpus=2).all() == "1 × (2 CPUs)"


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Ray's autoscaler is asked for, in order."""
    found: list[Any] = []
    monkeypatch.setattr("ray.autoscaler.sdk.request_resources", lambda bundles: found.append(bundles))
    monkeypatch.setattr("arbitrage.execution.ray.demand.ASK_EVERY_S", 0.0)
    return found


def test_the_autoscaler_is_asked_when_needs_change_and_at_the_end_for_nothing(requests: list[Any]) -> None:
    demand = Demand(is_signalled=True)
    h100 = Resources(cpus=2, gpus=4, accelerator="H100")
    demand.ask(lambda: [(h100, 2), (Resources(), 3)])  # an endpoint teacher needs no node
    demand.ask(lambda: [(h100, 2)])
    demand.ask(lambda: [(h100, 1)])
    demand.withdraw()
    demand.withdraw()
    bundle = {"CPU": 2, "GPU": 4, "accelerator_type:H100": 0.001}
    assert bundle_of(h100) == bundle
    assert requests == [[bundle, bundle], [bundle], []]


def test_a_ray_of_this_run_has_no_autoscaler(requests: list[Any]) -> None:
    demand = Demand(is_signalled=False)
    demand.ask(lambda: [(Resources(gpus=1), 1)], is_urgent=True)
    demand.withdraw()
    assert requests == []


def test_a_pool_asks_for_its_replicas_until_it_is_finished(stub: None, tmp_path: Path) -> None:
    state = fed([a_node("a", 4)], tmp_path, few=Resources(gpus=1, replicas=6), any=Resources(gpus=1))
    feeder = Feeder(state)
    assert sizes(state) == {"few": 2, "any": 2}
    assert [number for _, number in feeder.wanted()] == [6, 2]  # those that fit, where no number is given
    for shard in range(NUM_SHARDS):
        state.readiness.done("generate-few", shard)
    assert [number for _, number in feeder.wanted()] == [2]


def test_a_run_waits_for_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbitrage.execution.ray.demand.LOOK_EVERY_S", 0.0)
    alive, notes = iter([1, 1, 2, 3]), Notes()
    await_nodes(NodesWanted(3), lambda: next(alive), notes, lambda: None)
    assert notes.notes == ["waiting for nodes: 1 of 3 are alive", "waiting for nodes: 2 of 3 are alive"]


def test_a_run_does_not_wait_for_nodes_for_ever() -> None:
    with pytest.raises(PlacementError, match=r"1 of 3 nodes \(--wait-for-nodes\) were there after 0 s: start ") as e:
        await_nodes(NodesWanted(3, timeout_s=0.0), lambda: 1, NoProgress(), lambda: None)
    assert e.value.exit_code == 4
    stop = StopFlag()
    stop.is_requested = True
    with pytest.raises(DrainedError):
        await_nodes(NodesWanted(3), lambda: 1, NoProgress(), stop.require_none)
