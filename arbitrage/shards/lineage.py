"""From which content a shard was made: what tells a shard that is merely there from one that is up to date."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from arbitrage.contracts import Scope
from arbitrage.shards.layout import digest_json, stats_path
from arbitrage.shards.manifest import ShardStats


def read_stats(directory: Path, shard: int) -> ShardStats | None:
    """Return a shard's counts and lineage, or None where they are missing or of an older format."""
    try:
        return ShardStats.model_validate_json(stats_path(directory, shard).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


class Lineage:
    """Looks up, and remembers, the digests of shards."""

    def __init__(self) -> None:
        self._digests: dict[tuple[Path, int], str] = {}

    def made_from(
        self, feeds: Mapping[Path, Scope], scope: Scope, shard: int, shards: Sequence[int]
    ) -> dict[str, str]:
        """Return directory name → digest of what a step reads there for its shard.

        Args:
            feeds: directory → scope of each upstream step.
            scope: of the reading step; a corpus step reads all shards.
            shard: the reading step's shard.
            shards: all shards of the run.
        """
        return {path.name: self._read(path, feed, scope, shard, shards) for path, feed in sorted(feeds.items())}

    def _read(self, path: Path, feed: Scope, scope: Scope, shard: int, shards: Sequence[int]) -> str:
        if feed == "corpus":
            return self._digest(path, 0)
        if scope == "corpus":
            return digest_json([self._digest(path, k) for k in sorted(shards)])
        return self._digest(path, shard)

    def _digest(self, path: Path, shard: int) -> str:
        if (path, shard) not in self._digests:
            stats = read_stats(path, shard)
            self._digests[path, shard] = stats.digest if stats else ""
        return self._digests[path, shard]
