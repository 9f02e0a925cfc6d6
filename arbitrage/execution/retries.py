"""Retries of a shard whose worker died: as long as each attempt makes progress."""

from collections import Counter

from arbitrage.errors import ArbitrageError, ExecutionError
from arbitrage.execution.plan import Job
from arbitrage.runs.journal import Journal, has_journal
from arbitrage.runs.lineage import Lineage

MAX_FRUITLESS = 3
"""Maximum number of consecutive failures of one shard without a new result and without fewer suspects."""


class Retries:
    """Records the progress at each shard's last failure."""

    def __init__(self) -> None:
        self._fruitless: Counter[tuple[str, int]] = Counter()
        self._standing: dict[tuple[str, int], tuple[int, int]] = {}

    def failed(self, job: Job, shard: int, cause: Exception, died: bool) -> None:
        """Record a failure after which a retry may help.

        Raises:
            ArbitrageError: the cause itself, or an ExecutionError that names it, if retries have made no progress.
        """
        key = job.name, shard
        num_settled, num_suspects = journal_progress(job, shard, died)
        before = self._standing.get(key)
        has_settled = num_settled > (before[0] if before else 0)
        has_narrowed = before is not None and 0 < num_suspects < before[1]
        self._standing[key] = num_settled, num_suspects
        self._fruitless[key] = 0 if has_settled or has_narrowed else self._fruitless[key] + 1
        if self._fruitless[key] >= MAX_FRUITLESS:
            if isinstance(cause, ArbitrageError):
                raise cause
            raise ExecutionError(
                f"{job.name} shard {shard}: its worker died {MAX_FRUITLESS} times: {cause}"
            ) from cause


def has_suspects(job: Job, shard: int) -> bool:
    """Whether a shard's journal holds an item that may crash its engine."""
    if not has_journal(job.directory, shard):
        return False
    return journal_progress(job, shard, died=False)[1] > 0


def journal_progress(job: Job, shard: int, died: bool) -> tuple[int, int]:
    """Return the number of items that a shard's journal has settled, and the number of suspects."""
    if job.scope != "shard":
        return 0, 0
    journal = Journal(job.directory, shard, job.record, job.lineage(shard, Lineage()))
    journal.replay()
    journal.quarantine.begin(journal.settled, died)
    return len(journal.settled) + len(journal.quarantine.confirmed), len(journal.quarantine.suspects)
