"""From which content a shard was made: what tells a shard that is merely there from one that is up to date."""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from arbitrage.shards.layout import digest_json, stats_path
from arbitrage.shards.manifest import ShardStats
from arbitrage.shards.place import Place, for_each


def read_stats(directory: Place, shard: int) -> ShardStats | None:
    """Return a shard's counts and lineage, or None where they are missing or of an older format."""
    try:
        return ShardStats.model_validate_json(stats_path(directory, shard).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


class Lineage:
    """Looks up, and remembers, what is known of shards."""

    def __init__(self) -> None:
        self._stats: dict[tuple[Place, int], ShardStats | None] = {}

    def look_up(self, directory: Place, shards: Sequence[int]) -> None:
        """Read the counts of many shards of a step ahead of their use."""
        read = for_each(directory, lambda k: read_stats(directory, k), shards)
        self._stats.update({(directory, k): stats for k, stats in zip(shards, read, strict=True)})

    def stats(self, directory: Place, shard: int) -> ShardStats | None:
        """Return a shard's counts, as `read_stats` does."""
        if (directory, shard) not in self._stats:
            self._stats[directory, shard] = read_stats(directory, shard)
        return self._stats[directory, shard]

    def made_from(self, reads: Mapping[Place, int | Sequence[int]]) -> dict[str, str]:
        """Return directory name → digest of what a step reads there: of one shard, or of several together."""
        return {
            path.name: self._digest(path, read)
            if isinstance(read, int)
            else digest_json([self._digest(path, k) for k in sorted(read)])
            for path, read in sorted(reads.items())
        }

    def _digest(self, path: Place, shard: int) -> str:
        stats = self.stats(path, shard)
        return stats.digest if stats else ""
