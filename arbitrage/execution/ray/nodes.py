"""The usable nodes of a Ray cluster: alive, and running the same code as the driver."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from arbitrage.errors import ExecutionError
from arbitrage.execution.environment import environment_digest, require_same
from arbitrage.execution.progress import Progress
from arbitrage.execution.ray.cluster import Node
from arbitrage.models.references import is_here

ACCELERATOR_PREFIX = "accelerator_type:"

PROBE_TIMEOUT_S = 120.0
"""Time limit for a node to start a worker, import our code and report."""


class Nodes:
    """Compares nodes with the driver, and remembers the results."""

    def __init__(self, progress: Progress, models: Collection[str] = ()) -> None:
        self._progress, self._models = progress, tuple(models)
        self._held: dict[str, frozenset[str]] = {}  # node id → models
        self._digest = environment_digest()
        self._same: set[str] = set()
        self._asked: dict[str, Any] = {}  # node id → its pending report
        self._other: set[str] = set()

    def first(self) -> list[Node]:
        """Return the nodes a run starts with.

        Raises:
            ExecutionError: one runs other code; the message names every difference.
        """
        nodes = _alive()
        reports = {node["NodeID"]: _probe(node["NodeID"], self._models) for node in nodes}
        found = {_name(node): _answer(_name(node), reports[node["NodeID"]]) for node in nodes}
        self._held = {node["NodeID"]: found[_name(node)].models for node in nodes}
        require_same(self._digest, {name: report.digest for name, report in found.items()})
        _require_token([name for name, report in found.items() if not report.asks_for_token])
        self._same = {node["NodeID"] for node in nodes}
        return [self._node(node) for node in nodes]

    def alive(self) -> list[Node]:
        """Return the usable nodes. A node that has joined is checked first, and left out if it differs."""
        nodes = _alive()
        for node in nodes:
            if node["NodeID"] not in self._same | self._other:
                self._meet(node)
        return [self._node(node) for node in nodes if node["NodeID"] in self._same]

    def _node(self, node: dict[str, Any]) -> Node:
        import ray

        has, node_id = node["Resources"], node["NodeID"]
        return Node(
            node_id,
            has.get("CPU", 0.0),
            has.get("GPU", 0.0),
            frozenset(name.removeprefix(ACCELERATOR_PREFIX) for name in has if name.startswith(ACCELERATOR_PREFIX)),
            is_drivers=node_id == ray.get_runtime_context().get_node_id(),
            name=_name(node),
            models=self._held.get(node_id, frozenset()),
        )

    def _meet(self, node: dict[str, Any]) -> None:
        import ray

        node_id = node["NodeID"]
        if node_id not in self._asked:
            self._asked[node_id] = _probe(node_id, self._models)
        done, _ = ray.wait([self._asked[node_id]], timeout=0)
        if not done:
            return
        try:
            report = _answer(_name(node), self._asked.pop(node_id))
            require_same(self._digest, {_name(node): report.digest})
        except ExecutionError as error:
            self._other.add(node_id)
            self._progress.note(f"a node that joined is not used: {error}")
        else:
            self._same.add(node_id)
            self._held[node_id] = report.models


def num_alive() -> int:
    """Return how many nodes are alive."""
    return len(_alive())


def _alive() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']}/{node['NodeID'][:8]}"


@dataclass(frozen=True, slots=True)
class _Report:
    """Report of a worker: its versions and files, whether its Ray requires a token, and the models on its disk."""

    digest: dict[str, str]
    asks_for_token: bool
    models: frozenset[str]


def _report(models: Sequence[str] = ()) -> _Report:
    held = frozenset(model for model in models if is_here(model))
    return _Report(environment_digest(), os.environ.get("RAY_AUTH_MODE", "").lower() == "token", held)


def _require_token(open_to_all: list[str]) -> None:
    """Refuse a cluster that requires no token: anyone who can reach its ports can run code as its user."""
    if open_to_all and os.environ.get("RAY_AUTH_MODE", "").lower() != "disabled":
        raise ExecutionError(
            f"this Ray requires no token ({', '.join(sorted(open_to_all)[:3])}), so anyone who reaches its ports can"
            "run any code there; start its nodes with RAY_AUTH_MODE=token and a token (docs/cluster.md), "
            "or set RAY_AUTH_MODE=disabled to use it as it is"
        )


def _probe(node_id: str, models: Sequence[str]) -> Any:
    """Let a worker on the node report."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return ray.remote(_report).options(num_cpus=0, scheduling_strategy=there).remote(models)


def _answer(node: str, ref: Any) -> _Report:
    import ray

    try:
        report: _Report = ray.get(ref, timeout=PROBE_TIMEOUT_S)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ExecutionError(f"node {node} cannot run this version of arbitrage: {reason}") from error
    return report
