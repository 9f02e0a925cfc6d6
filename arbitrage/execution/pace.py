"""Speed of a step in this pass of a run: rows and tokens per second by the wall clock, and the time left."""

import time
from dataclasses import dataclass

from arbitrage.runs.manifest import ShardStats


@dataclass(slots=True)
class Pace:
    """Progress of one step in this pass.

    Attributes:
        began_at: start of its first shard, by the monotonic clock.
        shards_left: shards left in this pass.
    """

    began_at: float
    shards_left: int
    shards_done: int = 0
    rows_done: int = 0
    tokens_done: int = 0
    ended_at: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall clock from the start of its first shard to the end of the last one done."""
        return self.ended_at - self.began_at

    def shard_done(self, stats: ShardStats) -> None:
        """Count a shard that is complete."""
        self.shards_done += 1
        self.ended_at = time.monotonic()
        self.shards_left -= 1
        self.rows_done += stats.num_rows
        self.tokens_done += stats.completion_tokens

    def figures(self) -> dict[str, float | int]:
        """Return the published figures."""
        return {
            "seconds": round(time.monotonic() - self.began_at, 3),
            "shards_left": self.shards_left,
            "shards_done": self.shards_done,
            "rows_done": self.rows_done,
            "tokens_done": self.tokens_done,
        }


def begun_at(stats: ShardStats) -> float:
    """Return when the first shard of a step was started, after it is done."""
    return time.monotonic() - stats.seconds
