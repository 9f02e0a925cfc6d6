"""Teachers that are given up: their steps, and steps that need them, stop; the others finish before the run fails."""

from collections.abc import Mapping, Sequence

from arbitrage.errors import ArbitrageError
from arbitrage.execution.plan import PlannedStep


class GivenUp:
    """Steps of a run that can no longer be done, and why."""

    def __init__(self, steps: Sequence[PlannedStep], pools: Mapping[str, str] | None = None) -> None:
        self._steps = steps  # in topological order
        self._pools = pools or {}  # step → its pool, where that is not the job's
        self._errors: dict[str, ArbitrageError] = {}  # pool → why
        self._blocked: set[str] = set()

    def add(self, pool: str, error: ArbitrageError) -> None:
        """Give up the worker of a pool."""
        self._errors.setdefault(pool, error)
        for step in self._steps:
            own = self._pools.get(step.step.name, step.job.pool)
            if step.missing and (own == pool or self._blocked.intersection(step.upstream)):
                self._blocked.add(step.step.name)

    def blocks(self, step: str) -> bool:
        """Whether a step cannot be done."""
        return step in self._blocked

    def raise_first(self) -> None:
        """Raise the first error, if any pool was given up; names the others."""
        if not self._errors:
            return
        (first, error), *others = self._errors.items()
        more = f"; also given up:{', '.join(pool for pool, _ in others)}" if others else ""
        error.args = (f"{error}{more}. Steps that do not need {first} are done; rerun the same command for the rest",)
        raise error
