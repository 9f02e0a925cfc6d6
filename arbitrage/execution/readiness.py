"""Shards that can be done now, updated shard by shard, so that a turn costs nothing for waiting shards."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence, Set

from arbitrage.execution.plan import PlannedStep


class Readiness:
    """Unfinished shards of each step, and which of them are ready.

    Attributes:
        undone: step → shards that are not complete.
        fresh: (step, shard) that became ready since this was last emptied.
    """

    def __init__(self, steps: Sequence[PlannedStep]) -> None:
        self.undone: dict[str, set[int]] = {s.step.name: set(s.missing) for s in steps}
        self.fresh: list[tuple[str, int]] = []
        self._steps = {s.step.name: s for s in steps}
        self._readers: dict[str, list[PlannedStep]] = defaultdict(list)
        self._blockers: Counter[tuple[str, int]] = Counter()  # shards that it waits for
        self._heaps: dict[str, list[int]] = {s.step.name: [] for s in steps}
        self._ready: dict[str, set[int]] = {s.step.name: set() for s in steps}
        for step in steps:
            for name in dict.fromkeys(step.upstream):
                self._readers[name].append(step)
        for step in steps:
            for shard in step.missing:
                self._blockers[step.step.name, shard] = self._count_blockers(step, shard)
                if not self._blockers[step.step.name, shard]:
                    self._add(step.step.name, shard)

    def num_ready(self, step: str) -> int:
        """Return how many shards of a step can be done now."""
        return len(self._ready[step])

    def is_ready(self, step: str, shard: int) -> bool:
        """Whether a shard can be done now."""
        return shard in self._ready[step]

    def waits_only_for(self, step: str, shard: int, others: Set[str]) -> bool:
        """Whether a shard is unfinished and waits only for the same shard of some other steps."""
        names = {name for name in self._steps[step].upstream if self._blocks(name, step, shard)}
        return shard in self.undone[step] and names <= others

    def take(self, step: str, shard: int | None = None) -> int | None:
        """Take a ready shard, by default the first, and return it; None if there is none."""
        ready, heap = self._ready[step], self._heaps[step]
        while shard is None and heap:
            first = heapq.heappop(heap)
            shard = first if first in ready else None  # otherwise it was taken by number
        if shard is not None:
            ready.remove(shard)
        return shard

    def put_back(self, step: str, shard: int) -> None:
        """Make a shard that was taken ready again."""
        self._ready[step].add(shard)
        heapq.heappush(self._heaps[step], shard)

    def done(self, step: str, shard: int) -> None:
        """Note that a shard is complete, and which others became ready."""
        undone = self.undone[step]
        if shard not in undone:
            return
        undone.remove(shard)
        self._ready[step].discard(shard)
        scope = self._steps[step].step.scope
        for reader in self._readers[step]:
            name = reader.step.name
            for waiting in (0,) if reader.step.scope == "corpus" else (shard,):
                if scope != "corpus" or reader.step.scope == "corpus":
                    self._release(name, waiting)
            if scope == "corpus" and reader.step.scope != "corpus":
                for waiting in sorted(self.undone[name]):
                    self._release(name, waiting)

    def _release(self, step: str, shard: int) -> None:
        key = step, shard
        if shard in self.undone[step] and self._blockers[key]:
            self._blockers[key] -= 1
            if not self._blockers[key]:
                self._add(step, shard)

    def _add(self, step: str, shard: int) -> None:
        self.put_back(step, shard)
        self.fresh.append((step, shard))

    def _blocks(self, upstream: str, step: str, shard: int) -> bool:
        undone = self.undone[upstream]
        if "corpus" in (self._steps[upstream].step.scope, self._steps[step].step.scope):
            return bool(undone)
        return shard in undone

    def _count_blockers(self, step: PlannedStep, shard: int) -> int:
        count = 0
        for name in dict.fromkeys(step.upstream):
            undone = self.undone[name]
            if step.step.scope == "corpus":
                count += len(undone)
            elif self._steps[name].step.scope == "corpus":
                count += bool(undone)
            else:
                count += shard in undone
        return count
