"""The verb `check`: all cheap text checks of one teacher's answers in one step."""

from collections.abc import Sequence
from typing import ClassVar

from arbitrage.contracts.steps import Step, StepConfig
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.errors import ConfigError
from arbitrage.records import Score
from arbitrage.rewards import CheckConfig
from arbitrage.rewards.judgement import TextReward
from arbitrage.rewards.scorables import owed, scorables
from arbitrage.tables import to_table


class CheckStep(StepConfig):
    """Runs checks, in the order of their names."""

    step_kind: ClassVar[str] = "check"

    checks: tuple[CheckConfig, ...]

    def build(self) -> "CheckWorker":
        """Make the worker."""
        return CheckWorker([check.build() for check in self.checks])


def check(checks: Sequence[CheckConfig], teacher_name: str, prompts: Step, drafts: Step) -> Step:
    """Check one teacher's drafts: one Score for each candidate and check.

    Raises:
        ConfigError: two checks have one name, or there are none.
    """
    names = sorted(c.name for c in checks)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"checks: {', '.join(twice)}: named twice; give one of them another `name`")
    if not names:
        raise ConfigError("checks: is empty; leave the step out instead")
    return Step(
        name=f"check-{teacher_name}",
        config=CheckStep(checks=tuple(sorted(checks, key=lambda c: c.name))),
        produces=Score,
        inputs={"prompts": (prompts,), "drafts": (drafts,)},
        version=sum(c.version for c in checks),
    )


class CheckWorker:
    """Checks shard after shard."""

    def __init__(self, checks: Sequence[TextReward]) -> None:
        self._checks = checks

    def items(self, inputs: Inputs) -> list[Item]:
        """List the candidates."""
        return owed(scorables(inputs))

    async def run(self, inputs: Inputs) -> Output:
        """Return the Scores in the order of the drafts, those of one candidate by name of check."""
        pairs = scorables(inputs)
        scores = [check.score_one(pair) for pair in pairs for check in self._checks]
        return Output(to_table(scores, Score))

    async def close(self) -> None:
        """Hold nothing, release nothing."""
