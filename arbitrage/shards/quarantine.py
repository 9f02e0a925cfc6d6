"""Find the prompt that kills its engine: bisection of what was in flight when it died.

What was in flight at a death is suspected. Suspects are asked half by half with nothing else in flight; a half that
survives is cleared, a half that dies is suspected in turn, and one that dies alone is condemned. A poisonous prompt
among n in flight so costs at most 2 + log2(n) engines, and nobody else an answer.

A process that ends without a word (a kill, a power cut) accuses nobody at first; what was in flight at several such
ends in a row may be what ends it, and is suspected too.
"""

from collections import Counter
from collections.abc import Container, Sequence

SUDDEN_ENDS = 3
"""So many unexplained ends with the same item in flight make it a suspect; as many again, alone, condemn it."""


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
        self._ends: Counter[str] = Counter()
        self._ends_alone: Counter[str] = Counter()

    def begin(self, settled: Container[str], died: bool) -> None:
        """Judge how the last attempt ended, before the next begins."""
        open_ids = [item_id for item_id in self._in_flight if item_id not in settled]
        was_alone = bool(open_ids) and self._group.issuperset(open_ids)
        if died:
            self._judge(open_ids, was_alone)
        else:
            self._wonder(open_ids, was_alone)
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

    def _wonder(self, open_ids: list[str], was_alone: bool) -> None:
        self._ends.update(open_ids)
        if was_alone and len(open_ids) == 1:
            self._ends_alone.update(open_ids)
        self.condemned += [i for i in open_ids if self._ends_alone[i] >= SUDDEN_ENDS]
        wondrous = [i for i in open_ids if self._ends[i] >= SUDDEN_ENDS]
        self.suspects = wondrous if was_alone else [*self.suspects, *(i for i in wondrous if i not in self.suspects)]
