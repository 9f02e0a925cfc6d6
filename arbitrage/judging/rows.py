"""Write a verdict down."""

from collections.abc import Sequence
from typing import Any, Literal

from arbitrage.judging.matches import Match
from arbitrage.judging.pairwise import Choice
from arbitrage.records import Verdict

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
        a_characters=len(match.a.text.strip()),
        b_characters=len(match.b.text.strip()),
        winner=winner,
        how=how,
        **facts,
    )


def is_mute(rows: Sequence[Verdict]) -> bool:
    """Tell whether a judge gave not one verdict, though there were answers that differ."""
    judged = [row for row in rows if row.how != "identical"]
    return bool(judged) and all(row.how == "failed" for row in judged)
