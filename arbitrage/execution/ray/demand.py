"""Resources that a run asks an autoscaler for, and the nodes it waits for before it starts.

Without an autoscaler a request has no effect (https://docs.ray.io/en/latest/cluster/running-applications/autoscaling/reference.html).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from arbitrage.contracts.steps import Resources
from arbitrage.errors import PlacementError
from arbitrage.execution.progress import Progress

ASK_EVERY_S = 5.0

LOOK_EVERY_S = 1.0

Bundle = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class NodesWanted:
    """Nodes that must be alive before a run starts.

    Attributes:
        num_nodes: number of nodes, the head included; 0: those that are there.
        timeout_s: time to wait for them.
    """

    num_nodes: int = 0
    timeout_s: float = 600.0


class Demand:
    """The request to the autoscaler of a cluster: replaced when what is needed changes, withdrawn at the end.

    Args:
        is_signalled: whether the cluster may have an autoscaler; one that this run starts has none.
    """

    def __init__(self, is_signalled: bool) -> None:
        self._is_signalled = is_signalled
        self._asked: list[Bundle] = []
        self._asked_at = -ASK_EVERY_S

    def ask(self, pools: Callable[[], Iterable[tuple[Resources, int]]], is_urgent: bool = False) -> None:
        """Ask for room, a few times a minute at most.

        Args:
            pools: returns, for each pool that has work, the resources of a replica and the number of replicas wanted.
            is_urgent: ask now.
        """
        now = time.monotonic()
        if self._is_signalled and (is_urgent or now - self._asked_at >= ASK_EVERY_S):
            self._asked_at = now
            self._request([bundle for wanted, number in pools() for bundle in [bundle_of(wanted)] * number if bundle])

    def withdraw(self) -> None:
        """Ask for nothing any more: otherwise the autoscaler would keep the nodes."""
        from ray.exceptions import RayError

        if self._asked:
            with suppress(RayError, RuntimeError, OSError):  # a cluster that has ended has no autoscaler either
                self._request([])

    def _request(self, bundles: list[Bundle]) -> None:
        if bundles != self._asked:
            from ray.autoscaler.sdk import request_resources

            request_resources(bundles=[dict(bundle) for bundle in bundles])
            self._asked = bundles


def bundle_of(wanted: Resources) -> dict[str, float]:
    """Return a replica's resources by Ray's names; empty if it reserves none."""
    held = {"CPU": wanted.cpus, "GPU": wanted.gpus}
    bundle = {name: amount for name, amount in held.items() if amount}
    if bundle and wanted.accelerator is not None:
        bundle[f"accelerator_type:{wanted.accelerator}"] = 0.001  # Ray's resource name of a GPU model
    return bundle


def await_nodes(
    wanted: NodesWanted, num_alive: Callable[[], int], progress: Progress, require_no_stop: Callable[[], None]
) -> None:
    """Wait until enough nodes are alive.

    Raises:
        PlacementError: too few have joined in time.
        DrainedError: a stop was requested.
    """
    deadline, noted = time.monotonic() + wanted.timeout_s, -1
    while (alive := num_alive()) < wanted.num_nodes:
        if alive != noted:
            progress.note(f"waiting for nodes: {alive} of {wanted.num_nodes} are alive")
            noted = alive
        if time.monotonic() > deadline:
            raise PlacementError(
                f"{alive} of {wanted.num_nodes} nodes (--wait-for-nodes) were there after {wanted.timeout_s:g} s: "
                "start the others and run again, or wait for fewer nodes, or longer (--wait-timeout)"
            )
        require_no_stop()
        time.sleep(min(LOOK_EVERY_S, wanted.timeout_s))
