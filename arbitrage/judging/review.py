"""What a reviewer is asked of one answer, and how its score is read: 1 to 10, after a short reason."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from arbitrage.config import Config, Raw
from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.steps import Step
from arbitrage.contracts.workers import Inputs
from arbitrage.records import Candidate, FinishReason, content_id
from arbitrage.rewards.scorables import scorables
from arbitrage.teachers.asking import (
    MATERIAL,
    asked_about,
    conversation,
    greedy,
    language_line,
    mark_of,
    paragraphs,
    quoted,
)
from arbitrage.teachers.generate import VERSION, Asked, GenerateConfig
from arbitrage.teachers.pool import TeacherConfig

LOWEST, HIGHEST = 1.0, 10.0

DEFAULT_CRITERIA = (
    "How well does the answer serve the user? Weigh whether it is correct, whether it does what was asked, whether "
    "its language is right and natural. 10 is flawless, 5 of little use, 1 wrong, empty or in the wrong language."
)

Unreadable = Literal["empty_review", "truncated_review", "no_score", "out_of_range"]
"""Why a reply holds no score."""

_ENDING = (
    "Give your reason in at most three sentences. Then end with a line that holds your score alone, such as [[7]]."
)
_SCORE = re.compile(r"\[\[\s*(\d+(?:\.\d+)?)\s*(?:/\s*10)?\s*\]\]")


class ReviewTerms(Config):
    """What reviewers are told.

    Attributes:
        criteria: what makes an answer good, in words that reviewers read.
        with_reference: show them the prompt's known right answer, where there is one.
        max_tokens: of a review; it is greedy.
    """

    criteria: str = DEFAULT_CRITERIA
    with_reference: bool = False
    max_tokens: int = Field(default=512, ge=1)


@dataclass(frozen=True, slots=True)
class Review:
    """One reviewer's score of one answer, or why there is none; and the words it came with."""

    reviewer: str
    score: float | None
    error: Unreadable | None
    text: str


class ReviewStep(GenerateConfig):
    """Asks one reviewer about answers. Names no generator, so that all drafts share one engine."""

    criteria: str
    with_reference: bool

    @property
    def step_name(self) -> str:
        """What its replicas are called, and what its rejects say."""
        return f"review-{self.teacher.name}"

    def identity(self) -> Raw:
        """Return what can change a reply."""
        return super().identity() | {"criteria": self.criteria, "with_reference": self.with_reference}

    def asked(self, inputs: Inputs) -> list[Asked]:
        """List a question for each answer."""
        return [
            asked
            for item in scorables(inputs)
            for asked in asked_about(self, item.prompt, review_id(item.candidate), self._question(item))
        ]

    def _question(self, item: Scorable) -> str:
        return question_of(item, self.criteria, with_reference=self.with_reference)


def review(terms: ReviewTerms, reviewer: TeacherConfig, generator_name: str, prompts: Step, drafts: Step) -> Step:
    """Return the step `review-<reviewer>-<generator>`: the reviewer's replies about one teacher's drafts."""
    config = ReviewStep(
        teacher=reviewer,
        sampling=greedy(reviewer, terms.max_tokens),
        revision=reviewer.weights_revision(),
        criteria=terms.criteria,
        with_reference=terms.with_reference,
    )
    return Step(
        name=f"{config.step_name}-{generator_name}",
        config=config,
        produces=Candidate,
        inputs={"prompts": (prompts,), "drafts": (drafts,)},
        resources=reviewer.held_resources(),
        pool=config.step_name,
        version=VERSION,
    )


def review_id(candidate: Candidate) -> str:
    """Return the id of the question about an answer: the `prompt_id` of the reply to it."""
    return content_id("review", candidate.candidate_id)


def question_of(item: Scorable, criteria: str, *, with_reference: bool, reviews: Sequence[Review] = ()) -> str:
    """Return what a reviewer is asked about an answer; with reviews, what the one is asked who settles them."""
    mark = mark_of(item.candidate.candidate_id)
    reference = item.prompt.reference if with_reference else None
    disagree = "Reviewers disagree about the answer. Read what they say, check it yourself, and give the final score."
    return paragraphs(
        (
            "Score an answer to a user's request from 1 to 10.",
            criteria,
            language_line(item.prompt),
            MATERIAL,
            quoted("request", conversation(item.prompt), mark),
            quoted("correct answer, for comparison", reference, mark) if reference is not None else "",
            quoted("answer", item.candidate.text, mark),
            disagree if reviews else "",
            *(quoted(f"review {place}", each.text, mark) for place, each in enumerate(reviews, start=1)),
            _ENDING,
        )
    )


def read_review(reply: Candidate) -> Review:
    """Read the last score of a reply."""
    found = _SCORE.findall(reply.text)
    if not found:
        return Review(reply.teacher, None, _why_unreadable(reply), reply.text)
    score = float(found[-1])
    if not LOWEST <= score <= HIGHEST:
        return Review(reply.teacher, None, "out_of_range", reply.text)
    return Review(reply.teacher, score, None, reply.text)


def _why_unreadable(reply: Candidate) -> Unreadable:
    if not reply.text.strip():
        return "empty_review"
    return "truncated_review" if reply.finish_reason is FinishReason.LENGTH else "no_score"
