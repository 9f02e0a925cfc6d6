"""What all judges share: a name, the steps from the responses of two sides to verdicts, and the verdict record."""

from collections.abc import Sequence
from typing import Any, Literal

from arbitrage.config import Config
from arbitrage.contracts.steps import Step
from arbitrage.judging.pairwise import Choice
from arbitrage.judging.sides import Match, Sides
from arbitrage.records import Verdict
from arbitrage.rewards.options import RewardName
from arbitrage.teachers.pool import TeacherPool


class JudgeOptions(Config):
    """Base of the judges' configs.

    Attributes:
        name: name in tables and step names (default: made from the judge's config).
    """

    name: RewardName | None = None

    @property
    def label(self) -> str:
        """The judge's name in tables and steps."""
        raise TypeError(f"{type(self).__name__} does not implement `label`")

    @property
    def asks_twice(self) -> bool:
        """Whether the order of responses can matter, so that each match is judged in both orders."""
        return False

    def teachers(self, pool: TeacherPool) -> tuple[str, ...]:
        """Return the teachers it needs."""
        return ()

    def verdicts(self, sides: Sides, pool: TeacherPool) -> Step:
        """Build the steps from matches to verdicts; return the last.

        Raises:
            UserError: it names a teacher that is not in the pool.
        """
        raise TypeError(f"{type(self).__name__} does not implement `verdicts`")


How = Literal["consistent", "inconsistent", "scored", "identical", "failed"]


def verdict_of(match: Match, judge: str, winner: Choice, how: How, **facts: Any) -> Verdict:
    """Return the row of a match; `facts` are the fields that only some judges fill."""
    return Verdict(
        match_id=match.match_id,
        prompt_id=match.prompt.prompt_id,
        source_id=match.prompt.source_id,
        language=match.prompt.language,
        judge=judge,
        a_id=match.a.candidate_id,
        b_id=match.b.candidate_id,
        a_characters=len(match.a.shown.strip()),
        b_characters=len(match.b.shown.strip()),
        winner=winner,
        how=how,
        **facts,
    )


def is_mute(rows: Sequence[Verdict]) -> bool:
    """Tell whether a judge gave no verdict at all, although some responses differ."""
    judged = [row for row in rows if row.how != "identical"]
    return bool(judged) and all(row.how == "failed" for row in judged)
