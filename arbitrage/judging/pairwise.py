"""What a generative judge is asked, and how its verdict is read [2306.05685, 2310.05470].

The verdict stands at the end, after a short reason, as `[[1]]`, `[[2]]` or `[[tie]]`; where a reply holds several,
the last one counts. A reply without one is no verdict, and is counted; so is one that was cut off after it, for what
it quoted is not what it would have said.
"""

import re
from typing import Literal

from arbitrage.judging.matches import Match
from arbitrage.records import Candidate, FinishReason
from arbitrage.teachers.asking import MATERIAL, conversation, language_line, mark_of, paragraphs, quoted

Order = Literal["a_first", "b_first"]
ORDERS: tuple[Order, Order] = ("a_first", "b_first")

Choice = Literal["a", "b", "tie"]

DEFAULT_CRITERIA = (
    "Which answer serves the user better? Weigh whether it is correct, whether it does what was asked, whether its "
    "language is right and natural. A longer answer is not better for being longer, nor the one that stands first."
)

Unreadable = Literal["empty_reply", "truncated_reply", "no_verdict"]
"""Why a reply holds no verdict."""

_ENDING = (
    "Give your reason in at most three sentences. Then end with a line that holds your verdict and nothing else: "
    "[[1]] if answer 1 is better, [[2]] if answer 2 is better, [[tie]] if neither is."
)
_VERDICT = re.compile(r"\[\[\s*(1|2|tie)\s*\]\]", re.IGNORECASE)


def question_of(match: Match, order: Order, criteria: str, *, with_reference: bool) -> str:
    """Return what the judge is asked about two answers, the named one first."""
    mark = mark_of(match.match_id)
    first, second = (match.a, match.b) if order == "a_first" else (match.b, match.a)
    reference = match.prompt.reference if with_reference else None
    return paragraphs(
        (
            "Compare two answers to a user's request.",
            criteria,
            language_line(match.prompt),
            MATERIAL,
            quoted("request", conversation(match.prompt), mark),
            quoted("correct answer, for comparison", reference, mark) if reference is not None else "",
            quoted("answer 1", first.text, mark),
            quoted("answer 2", second.text, mark),
            _ENDING,
        )
    )


def verdict_in(reply: Candidate, order: Order) -> tuple[Choice | None, Unreadable | None]:
    """Return whom a reply prefers, or why that cannot be told: exactly one of the two."""
    text = reply.text.strip()
    found = list(_VERDICT.finditer(text))
    is_cut = reply.finish_reason is FinishReason.LENGTH
    if found and not (is_cut and found[-1].end() < len(text)):
        return _choice(found[-1][1].lower(), order), None
    if not text:
        return None, "empty_reply"
    return None, "truncated_reply" if is_cut else "no_verdict"


def _choice(said: str, order: Order) -> Choice:
    if said == "tie":
        return "tie"
    return "a" if (said == "1") == (order == "a_first") else "b"
