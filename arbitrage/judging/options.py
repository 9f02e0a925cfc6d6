"""What all judges have in common: a name, and the steps that lead from two sides' answers to verdicts."""

from arbitrage.config import Config
from arbitrage.contracts.steps import Step
from arbitrage.judging.matches import Sides
from arbitrage.rewards.names import RewardName
from arbitrage.teachers.pool import TeacherPool


class JudgeOptions(Config):
    """Base of the judges' configs.

    Attributes:
        name: in tables and step names; by default what the judge is made of says it.
    """

    name: RewardName | None = None

    @property
    def label(self) -> str:
        """The judge's name, as tables and steps show it."""
        raise TypeError(f"{type(self).__name__} does not say its name")

    @property
    def asks_twice(self) -> bool:
        """Whether the order of answers can matter, so that each match is judged in both."""
        return False

    def teachers(self, pool: TeacherPool) -> tuple[str, ...]:
        """Return the teachers it needs."""
        return ()

    def verdicts(self, sides: Sides, pool: TeacherPool) -> Step:
        """Build the steps from matches to verdicts; return the last.

        Raises:
            UserError: it names a teacher that is not in the pool.
        """
        raise TypeError(f"{type(self).__name__} does not say how it judges")
