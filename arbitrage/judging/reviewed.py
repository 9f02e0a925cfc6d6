"""Candidates with their reviews, joined and parsed."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import pstdev

from arbitrage.candidates.table import CandidateShard
from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.workers import Inputs
from arbitrage.judging.review import Review, read_review, review_id
from arbitrage.records import Candidate, content_id

QUORUM = 2
"""Minimum number of reviewers of each teacher, and of readable reviews without adjudication [2504.12322]."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A candidate and its reviews, in the order of the reviewers' names."""

    item: Scorable
    reviews: tuple[Review, ...]

    @property
    def readable(self) -> tuple[Review, ...]:
        """The reviews whose score could be read."""
        return tuple(each for each in self.reviews if each.score is not None)

    @property
    def scores(self) -> list[float]:
        """The scores that could be read."""
        return [each.score for each in self.reviews if each.score is not None]

    @property
    def is_short(self) -> bool:
        """Whether there are too few readable reviews for a mean."""
        return len(self.scores) < QUORUM

    def is_open(self, max_spread: float | None) -> bool:
        """Tell whether an adjudicator is called: the reviews differ too much, or too few of them are readable."""
        return max_spread is not None and (self.is_short or pstdev(self.scores) > max_spread)


def reviewed(inputs: Inputs) -> list[Reviewed]:
    """Join a shard's candidates with their reviews, in the order of the drafts."""
    found: defaultdict[str, list[Candidate]] = defaultdict(list)
    for reply in sorted(inputs.records("reviews", Candidate), key=lambda reply: reply.teacher):
        found[reply.prompt_id].append(reply)
    return [
        Reviewed(item, tuple(read_review(reply, item) for reply in found[review_id(item.candidate)]))
        for item in CandidateShard(inputs).joined()
    ]


def settled_id(candidate: Candidate) -> str:
    """Return the id of the request to the adjudicator: the `prompt_id` of the reply to it."""
    return content_id("adjudicate", candidate.candidate_id)


def settlement(each: Reviewed, replies: Mapping[str, Candidate]) -> Review | None:
    """Return the adjudicator's review of a candidate; None if it gave no reply.

    Args:
        each: the candidate and its reviews.
        replies: the adjudicator's replies, by the id of the request.
    """
    reply = replies.get(settled_id(each.item.candidate))
    return None if reply is None else read_review(reply, each.item, each.readable)
