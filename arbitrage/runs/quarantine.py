"""Find the prompt that kills its engine: bisection of what was in flight when it died.

What was in flight at a death is suspected. Suspects are asked half by half with nothing else in flight; a half that
survives is cleared, a half that dies is suspected in turn, and one that dies alone is condemned. A poisonous prompt
among n in flight so costs at most 2 + log2(n) engines, and nobody else an answer.

Only a death that somebody saw counts: an engine that said so, or a worker that ended while its driver lived on. A
driver that ends without a word was preempted, killed or cut off from power, and that accuses no prompt, however
often it happens.
"""

from collections.abc import Container, Sequence


class Quarantine:
    """The state of the search, rebuilt by replaying a journal.

    Attributes:
        suspects: what to ask alone, in order.
        condemned: what killed its engine.
    """

    def __init__(self) -> None:
        self.suspects: list[str] = []
        self.condemned: list[str] = []
        self._in_flight: dict[str, None] = {}
        self._group: frozenset[str] = frozenset()

    def begin(self, settled: Container[str], died: bool) -> None:
        """Judge how the last attempt ended, before the next begins."""
        if died:
            open_ids = [item_id for item_id in self._in_flight if item_id not in settled]
            self._judge(open_ids, was_alone=bool(open_ids) and self._group.issuperset(open_ids))
        self.suspects = [i for i in self.suspects if i not in settled and i not in self.condemned]
        self._in_flight, self._group = {}, frozenset()

    def alone(self, item_ids: Sequence[str]) -> None:
        """Note that from here on these items alone are asked."""
        self._group = frozenset(item_ids)

    def take(self, item_id: str) -> None:
        """Note that an item is in flight."""
        self._in_flight[item_id] = None

    def next_group(self, settled: Container[str]) -> list[str]:
        """Return the suspects to ask next, alone; none if nobody is suspected."""
        left = [item_id for item_id in self.suspects if item_id not in settled]
        return left[: max(1, len(left) // 2)]

    def _judge(self, open_ids: list[str], was_alone: bool) -> None:
        if was_alone and len(open_ids) == 1:
            self.condemned += open_ids
        elif open_ids:
            self.suspects = open_ids
