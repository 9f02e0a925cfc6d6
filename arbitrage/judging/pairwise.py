"""The request to an LLM judge of two responses, and how its verdict is read [2306.05685, 2310.05470].

The verdict is in the last line, after a short reason (`arbitrage.judging.replies`). The request contains no line that
could be copied as a verdict, because small models repeat what they are shown.
"""

import re
from typing import Literal

from arbitrage.judging.replies import Fault, Scale, read_reply
from arbitrage.judging.sides import Match
from arbitrage.records import Candidate
from arbitrage.teachers.quoting import MATERIAL, code_for, conversation, language_line, mark_for, paragraphs, quoted

Order = Literal["a_first", "b_first"]
ORDERS: tuple[Order, Order] = ("a_first", "b_first")

Choice = Literal["a", "b", "tie"]

DEFAULT_CRITERIA = (
    "Which answer serves the user better? Weigh whether it is correct, whether it does what was asked, whether its "
    "language is right and natural. A longer answer is not better for being longer, nor the one that stands first."
)

Unreadable = Literal["empty_reply", "truncated_reply", "no_verdict", "contradictory_reply", "echoed_instruction"]
"""Why a reply has no verdict."""

_UNREADABLE: dict[Fault, Unreadable] = {
    "empty": "empty_reply",
    "truncated": "truncated_reply",
    "contradictory": "contradictory_reply",
    "echo": "echoed_instruction",
    "no_verdict": "no_verdict",
    "out_of_range": "no_verdict",
}
_NUMBER = re.compile(r"(1|一|one|first)|2|二|two|second")


def _said(text: str) -> Literal[1, 2, "tie"]:
    found = _NUMBER.search(text)
    return "tie" if found is None else 1 if found[1] else 2


_CHOICES: Scale[Literal[1, 2, "tie"]] = Scale(
    pattern=r"(?:the )?(?:(?:answer|response|option|number|no\.?|#)\s*)?(?:[12一二]|one|two|first|second)"
    r"(?: (?:answer|response|option|one))?(?: is (?:the )?better)?"
    r"|(?:a )?tie|draw|neither|both|equal|unentschieden|égalité|empate|pareggio|remis|ничья"
    r"|平局|平手|引き分け|무승부|تعادل",
    value=_said,
)


def question_of(match: Match, order: Order, criteria: str, *, with_reference: bool) -> str:
    """Return the request about two responses, the named one first."""
    mark = mark_for(*_texts(match))
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
            _ending(match, order),
        )
    )


def verdict_in(reply: Candidate, match: Match, order: Order) -> tuple[Choice | None, Unreadable | None]:
    """Return the winner that the judge's output names, or why it is unreadable: exactly one of the two."""
    found = read_reply(reply, verdict_code(match, order), _ending(match, order), _CHOICES)
    if found.value is None:
        return None, _UNREADABLE[found.fault or "no_verdict"]
    if found.value == "tie":
        return "tie", None
    return "a" if (found.value == 1) == (order == "a_first") else "b", None


def verdict_code(match: Match, order: Order) -> str:
    """Return the code in the line of the verdict."""
    return code_for(f"verdict {order}", *_texts(match))


def _ending(match: Match, order: Order) -> str:
    return (
        "Reply in two lines, in this form:\nReason: <one to three sentences>\n"
        f"Verdict {verdict_code(match, order)}: <the number of the better answer, or tie>"
    )


def _texts(match: Match) -> tuple[str, ...]:
    return match.match_id, conversation(match.prompt), match.prompt.reference or "", match.a.shown, match.b.shown
