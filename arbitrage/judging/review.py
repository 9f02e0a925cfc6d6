"""The request to a reviewer of one response, and how its score is read: 1 to 10, after a short reason.

The request contains no line that could be copied as a score, because small models copy examples such as `7`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from arbitrage.candidates.table import CandidateShard
from arbitrage.config import Config, Raw
from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.steps import Step, StepFacts
from arbitrage.contracts.workers import Inputs
from arbitrage.judging.replies import Fault, Scale, read_reply
from arbitrage.languages import UNKNOWN, name_of
from arbitrage.records import Candidate, Prompt, content_id, is_translation
from arbitrage.teachers.generate import VERSION, GenerateConfig, TeacherRequest
from arbitrage.teachers.pool import TeacherConfig
from arbitrage.teachers.quoting import (
    MATERIAL,
    QUESTION_VERSION,
    code_for,
    conversation,
    greedy,
    language_line,
    mark_for,
    paragraphs,
    quoted,
    requests_about,
)

LOWEST, HIGHEST = 1.0, 10.0

DEFAULT_CRITERIA = (
    "How well does the answer serve the user? Weigh whether it is correct, whether it does what was asked, whether "
    "its language is right and natural. 10 is flawless, 5 of little use, 1 wrong, empty or in the wrong language."
)

Unreadable = Literal[
    "empty_review", "truncated_review", "no_score", "contradictory_review", "echoed_instruction", "out_of_range"
]
"""Why a reply has no score."""

_UNREADABLE: dict[Fault, Unreadable] = {
    "empty": "empty_review",
    "truncated": "truncated_review",
    "no_verdict": "no_score",
    "contradictory": "contradictory_review",
    "echo": "echoed_instruction",
    "out_of_range": "out_of_range",
}
_NUMERALS = {numeral: float(number) for number, numeral in enumerate("一二三四五六七八九十", start=1)}


_DIGITS = re.compile(r"\d+(?:[.,]\d+)?")


def _number(text: str) -> float | None:
    """Return the number of '8', '7.5', '7,5', '9/10', '9 out of 10', '8分'; None if it is not on the scale."""
    found = _DIGITS.match(text)
    score = float(found[0].replace(",", ".")) if found else _NUMERALS[text[0]]
    return score if LOWEST <= score <= HIGHEST else None


_SCORES: Scale[float] = Scale(
    pattern=r"(?:\d{1,4}(?:\.\d{1,4}|,\d{1,2})?(?: ?/ ?10| out of 10| of 10| von 10| sur 10)?|[一二三四五六七八九十])"
    r"(?: ?(?:points?|分|点|點|점|балл(?:а|ов)?|punkt(?:en?)?|puntos?|pontos?|punti))?",
    value=_number,
)


class ReviewTerms(Config):
    """Instructions for reviewers.

    Attributes:
        criteria: what makes a response good; reviewers read this text.
        with_reference: show the prompt's reference, if there is one.
        max_tokens: maximum tokens of a review; reviews are greedy.
    """

    criteria: str = DEFAULT_CRITERIA
    with_reference: bool = False
    max_tokens: int = Field(default=512, ge=1)


@dataclass(frozen=True, slots=True)
class Review:
    """One reviewer's score of one response, or why there is none; and its reason."""

    reviewer: str
    score: float | None
    error: Unreadable | None
    text: str


class ReviewStep(GenerateConfig):
    """Requests reviews from one reviewer. Names no generating teacher, so that all drafts share one engine."""

    step_kind: ClassVar[str] = "review"

    criteria: str
    with_reference: bool

    def identity(self) -> Raw:
        """Return the settings that can change a reply."""
        own = {"criteria": self.criteria, "with_reference": self.with_reference, "question": QUESTION_VERSION}
        return super().identity() | own

    def requests(self, inputs: Inputs) -> list[TeacherRequest]:
        """List a request for each candidate."""
        return [
            request
            for item in CandidateShard(inputs).joined()
            for request in requests_about(self, item.prompt, review_id(item.candidate), self._question(item))
        ]

    def _question(self, item: Scorable) -> str:
        return question_of(item, self.criteria, with_reference=self.with_reference)


def review(terms: ReviewTerms, reviewer: TeacherConfig, generator_name: str, prompts: Step, candidates: Step) -> Step:
    """Return the step `review-<reviewer>-<generator>`: the reviewer's replies about one teacher's candidates."""
    config = ReviewStep(
        teacher=reviewer,
        sampling=greedy(reviewer, terms.max_tokens),
        revision=reviewer.weights_revision(),
        criteria=terms.criteria,
        with_reference=terms.with_reference,
    )
    return Step(
        facts=StepFacts(
            verb="review", label=f"{reviewer.name}-{generator_name}", teacher=generator_name, scorer=reviewer.name
        ),
        config=config,
        produces=Candidate,
        inputs={"prompts": (prompts,), "candidates": (candidates,)},
        resources=reviewer.held_resources(),
        pool=f"review-{reviewer.name}",
        version=VERSION,
    )


def review_id(candidate: Candidate) -> str:
    """Return the id of the request about a candidate: the `prompt_id` of the reply to it."""
    return content_id("review", candidate.candidate_id)


def question_of(item: Scorable, criteria: str, *, with_reference: bool, reviews: Sequence[Review] = ()) -> str:
    """Return the request about a response; with reviews, the request to the adjudicator."""
    mark = mark_for(*_texts(item, reviews))
    reference = item.prompt.reference if with_reference else None
    words = _TRANSLATION if is_translation(item.prompt) else _ANSWER
    return paragraphs(
        (
            words.task,
            words.criteria if criteria == DEFAULT_CRITERIA else criteria,
            words.languages(item.prompt),
            MATERIAL,
            quoted(words.given, conversation(item.prompt), mark),
            quoted("correct answer, for comparison", reference, mark) if reference is not None else "",
            quoted(words.made, item.candidate.shown, mark),
            f"Others have reviewed the {words.made}. Read what they say, check it yourself, and give the final score."
            if reviews
            else "",
            *(quoted(f"review {place}", _shown(each), mark) for place, each in enumerate(reviews, start=1)),
            _ending(item, reviews),
        )
    )


@dataclass(frozen=True, slots=True)
class ReviewWords:
    """What a reviewer is told about the text to score, and what the quoted texts are called."""

    task: str
    criteria: str
    languages: Callable[[Prompt], str]
    given: str
    made: str


def _languages_of_translation(prompt: Prompt) -> str:
    assert prompt.translation is not None
    source = prompt.translation.source_language
    said = "The text" if source == UNKNOWN else f"The text is {name_of(source)}, the translation"
    return f"{said} must be {name_of(prompt.language)}."


_ANSWER = ReviewWords(
    "Score an answer to a user's request from 1 to 10.", DEFAULT_CRITERIA, language_line, "request", "answer"
)
_TRANSLATION = ReviewWords(
    "Score a translation from 1 to 10.",
    "Does it say all that the text says, and nothing else, exactly and in natural words? A translation that answers "
    "or follows the text instead is worth 1. 10 is flawless, 5 leaves out or changes something of weight, 1 is "
    "wrong, empty or in the wrong language.",
    _languages_of_translation,
    "text",
    "translation",
)


def read_review(reply: Candidate, item: Scorable, reviews: Sequence[Review] = ()) -> Review:
    """Read the score of a reply to `question_of` the same response and reviews."""
    found = read_reply(reply, score_code(item, reviews), _ending(item, reviews), _SCORES)
    error = None if found.fault is None else _UNREADABLE[found.fault]
    return Review(reply.teacher, found.value, error, found.reason)


def score_code(item: Scorable, reviews: Sequence[Review] = ()) -> str:
    """Return the code in the line of the score."""
    return code_for("score", *_texts(item, reviews))


def _ending(item: Scorable, reviews: Sequence[Review]) -> str:
    return (
        "Reply in two lines, in this form:\nReason: <one to three sentences>\n"
        f"Score {score_code(item, reviews)}: <one number>"
    )


def _shown(review: Review) -> str:
    """Return a review as shown to the adjudicator, without the code of its own last line."""
    return f"{review.text}\n\nScore: {review.score:g}".strip() if review.score is not None else review.text


def _texts(item: Scorable, reviews: Sequence[Review]) -> tuple[str, ...]:
    prompt, candidate = item.prompt, item.candidate
    shown = (conversation(prompt), prompt.reference or "", candidate.shown, *map(_shown, reviews))
    return (candidate.candidate_id, *shown)
