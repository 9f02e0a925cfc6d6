"""Which steps share replicas on a cluster: those of one pool, and those for which one teacher loads the same model.

A teacher that generates, reviews and adjudicates is then loaded once, and not three times.
"""

from collections.abc import Sequence

from arbitrage.contracts.steps import Resources
from arbitrage.errors import ArbitrageError
from arbitrage.execution.plan import PlannedStep


def replica_pools(steps: Sequence[PlannedStep]) -> dict[str, str]:
    """Return the pool of replicas of each step: its own, or that of the first step with work on the same model."""
    first: dict[tuple[str, Resources], str] = {}
    found = {}
    for step in steps:
        key = _key(step)
        pool = step.job.pool
        found[step.step.name] = pool if key is None else first.setdefault((key, step.step.resources), pool)
    return found


def _key(step: PlannedStep) -> str | None:
    if not step.missing or step.held != "actor" or step.step.resources.is_nothing:
        return None
    try:
        return step.job.config.replica_key()
    except ArbitrageError:  # a file that is not there is reported where the model is loaded
        return None
