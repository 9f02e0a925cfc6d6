"""Find the prompt that crashes its engine, by bisection of the requests in flight at a crash.

All requests in flight at a crash are suspects. They are sent again in halves with no other request in flight: a half
that completes is cleared, a half that crashes the engine is split again, and a single one that crashes it is
confirmed. One such prompt among n in flight costs at most 2 + log2(n) engine starts, and no other item is lost.

Only observed crashes count: an engine that reports one, or a worker that ends while its driver runs. A driver that
ends was preempted, killed or lost power; this makes no request a suspect, however often it happens.
"""

from collections.abc import Container, Sequence


class Quarantine:
    """The state of the search, rebuilt by replaying a journal.

    Attributes:
        suspects: items to send alone, in order.
        confirmed: items that crashed their engine alone.
    """

    def __init__(self) -> None:
        self.suspects: list[str] = []
        self.confirmed: list[str] = []
        self._in_flight: dict[str, None] = {}
        self._group: frozenset[str] = frozenset()

    def begin(self, settled: Container[str], died: bool) -> None:
        """Evaluate how the last attempt ended, before the next one begins."""
        if died:
            open_ids = [item_id for item_id in self._in_flight if item_id not in settled]
            self._judge(open_ids, was_alone=bool(open_ids) and self._group.issuperset(open_ids))
        self.suspects = [i for i in self.suspects if i not in settled and i not in self.confirmed]
        self._in_flight, self._group = {}, frozenset()

    def alone(self, item_ids: Sequence[str]) -> None:
        """Note that from here on only these items are sent."""
        self._group = frozenset(item_ids)

    def take(self, item_id: str) -> None:
        """Note that an item is in flight."""
        self._in_flight[item_id] = None

    def next_group(self, settled: Container[str]) -> list[str]:
        """Return the suspects to send next, alone; empty if there are none."""
        left = [item_id for item_id in self.suspects if item_id not in settled]
        return left[: max(1, len(left) // 2)]

    def _judge(self, open_ids: list[str], was_alone: bool) -> None:
        if was_alone and len(open_ids) == 1:
            self.confirmed += open_ids
        elif open_ids:
            self.suspects = open_ids
