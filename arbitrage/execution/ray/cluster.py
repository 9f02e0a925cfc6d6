"""The nodes of a cluster: their free resources, and where a replica or a light task is placed."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field

from arbitrage.contracts.steps import Resources
from arbitrage.errors import PlacementError

MOST_LIGHT_TASKS = 16
"""Maximum number of concurrent light tasks per node: each is a process of about 250 MB."""

MOST_SHARED_HOSTS = 4
"""Number of shared actors per node for workers without resources: each is a process of 210 MB and handles thousands
of requests a second."""

_LEAST = 1e-6


@dataclass
class Node:
    """Resources of one node, in total and free.

    Attributes:
        node_id: Ray's id.
        cpus: free cores.
        gpus: number of GPUs.
        accelerators: models of its GPUs, by Ray's names.
        is_drivers: the driver runs here.
        name: name in messages.
        models: models whose weights it holds, of those that the run loads.
    """

    node_id: str
    cpus: float
    gpus: float
    accelerators: frozenset[str] = frozenset()
    is_drivers: bool = False
    name: str = ""
    models: frozenset[str] = frozenset()
    cards: list[float] = field(init=False)  # share left of each GPU
    num_cpus: float = field(init=False)
    num_light: int = field(default=0, init=False)
    num_hosts: int = field(default=0, init=False)
    max_light: int = field(init=False)  # most light tasks at once
    starting: set[int] = field(default_factory=set, init=False)  # replicas with part of a GPU that load their model

    def __post_init__(self) -> None:
        self.cards, self.num_cpus = [1.0] * int(self.gpus), self.cpus
        self.max_light = min(MOST_LIGHT_TASKS, max(2, int(self.cpus)))

    @property
    def gpus_left(self) -> float:
        """The sum of the free shares of its GPUs."""
        return sum(self.cards)

    def could_hold(self, wanted: Resources) -> bool:
        """Whether one replica would fit on the empty node."""
        has_kind = wanted.accelerator is None or wanted.accelerator in self.accelerators
        return has_kind and wanted.cpus <= self.num_cpus and wanted.gpus <= len(self.cards)

    def fits(self, wanted: Resources) -> bool:
        """Whether one replica fits now.

        Engines that share a GPU start one after the other, because each measures the free memory while it loads.
        """
        if not self.could_hold(wanted) or wanted.cpus > self.cpus + _LEAST:
            return False
        if 0 < wanted.gpus < 1:
            return not self.starting and any(left + _LEAST >= wanted.gpus for left in self.cards)
        return sum(left + _LEAST >= 1.0 for left in self.cards) >= wanted.gpus

    def take(self, wanted: Resources) -> dict[int, float]:
        """Reserve resources for one replica, shares of a GPU on the fullest card; return the share of each card."""
        self.cpus -= wanted.cpus
        if 0 < wanted.gpus < 1:
            fitting = [i for i, left in enumerate(self.cards) if left + _LEAST >= wanted.gpus]
            taken = {min(fitting, key=lambda i: (self.cards[i], i)): wanted.gpus}
        else:
            whole = [i for i, left in enumerate(self.cards) if left + _LEAST >= 1.0]
            taken = dict.fromkeys(whole[: int(wanted.gpus)], 1.0)
        for card, share in taken.items():
            self.cards[card] -= share
        return taken

    def give_back(self, wanted: Resources, taken: dict[int, float]) -> None:
        """Release what a replica reserved."""
        self.cpus += wanted.cpus
        for card, share in taken.items():
            self.cards[card] += share


class Inventory:
    """The live nodes, by id, and where there is room."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.by_id = {node.node_id: node for node in nodes}

    def require_possible(self, name: str, wanted: Resources) -> None:
        """Raise PlacementError if no node, even an empty one, could hold a replica."""
        if any(node.could_hold(wanted) for node in self.by_id.values()):
            return
        present = "; ".join(_has(node) for node in self.by_id.values()) or "nothing"
        raise PlacementError(
            f"{name}: a replica needs {wanted.each()}; the nodes have: {present} "
            "(if nodes are still to join, wait for them with --wait-for-nodes)"
        )

    def best_for(self, wanted: Resources, avoid: Set[str] = frozenset(), model: str = "") -> Node | None:
        """Return the node that one more replica fills best, first of those that hold its model; None: no room."""
        fitting = [n for n in self.by_id.values() if n.node_id not in avoid and n.fits(wanted)]
        return min(fitting, key=lambda n: (model not in n.models, n.gpus_left, n.cpus, n.node_id), default=None)

    def could_hold(self, wanted: Resources, avoid: Set[str]) -> bool:
        """Whether another node, empty, could hold a replica."""
        nodes = self._workers() if wanted.is_nothing else self.by_id.values()
        return any(n.could_hold(wanted) for n in nodes if n.node_id not in avoid)

    def light_node(self) -> Node | None:
        """Return the node with the most room for one more light task; None if all are full."""
        free = [n for n in self._workers() if n.num_light < n.max_light]
        return min(free, key=lambda n: (n.num_light / n.max_light, n.node_id), default=None)

    @property
    def num_light_places(self) -> int:
        """How many light tasks may run at once."""
        return sum(node.max_light for node in self._workers())

    def host_node(self, avoid: Set[str] = frozenset()) -> Node | None:
        """Return the node with the most room for one more shared actor; None if all are full."""
        free = [n for n in self._workers() if n.node_id not in avoid and n.num_hosts < _most_hosts(n)]
        return min(free, key=lambda n: (n.num_hosts, -n.num_cpus, n.node_id), default=None)

    def _workers(self) -> Sequence[Node]:
        """Return the nodes for work without resources: with cores, and not the driver's, if there are others."""
        with_cores = [n for n in self.by_id.values() if n.num_cpus >= 1] or list(self.by_id.values())
        return [n for n in with_cores if not n.is_drivers] or with_cores

    def refresh(self, alive: Sequence[Node]) -> tuple[list[str], list[str]]:
        """Update the nodes; return the ids of those that joined, and of those that died."""
        found = {node.node_id: node for node in alive}
        joined, died = sorted(found.keys() - self.by_id.keys()), sorted(self.by_id.keys() - found.keys())
        for node_id in died:
            del self.by_id[node_id]
        for node_id in joined:
            self.by_id[node_id] = found[node_id]
        return joined, died


def _most_hosts(node: Node) -> int:
    return min(MOST_SHARED_HOSTS, max(1, int(node.num_cpus)))


def _has(node: Node) -> str:
    kind = "/".join(sorted(node.accelerators)) or None
    return Resources(cpus=node.num_cpus, gpus=len(node.cards), accelerator=kind if node.cards else None).each()
