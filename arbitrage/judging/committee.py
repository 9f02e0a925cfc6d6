"""A committee as a reward (after GRA [2504.12322], METHODS §5): reviewers, and an adjudicator for open cases.

    review-<reviewer>-<teacher> ─┬─> adjudicate-<teacher> ─┐     for answers that are contested or short of reviews
                                 └────────────────────────┴─> score-committee-<teacher>

An answer's score is the adjudicator's where it was called, else the mean of the reviews that could be read. A review
that cannot be read is left out, never the answer: else a reviewer that garbles its replies about one teacher would
remove that teacher's answers. Below `accept` an answer is rejected: the ensemble's gate. No member reviews a teacher
of its own family.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import ClassVar, Self

from pydantic import Field, model_validator

from arbitrage.config import Raw
from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.steps import Step
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.errors import ConfigError
from arbitrage.judging.review import (
    Review,
    ReviewTerms,
    question_of,
    read_review,
    review,
    review_id,
)
from arbitrage.records import Candidate, Score, content_id
from arbitrage.rewards.judgement import Judgement, score_of
from arbitrage.rewards.names import RewardName
from arbitrage.rewards.options import OpinionOptions
from arbitrage.rewards.scorables import owed, scorables
from arbitrage.rewards.score import OpinionStep
from arbitrage.tables import to_table
from arbitrage.teachers.asking import QUESTION_VERSION, asked_about, greedy
from arbitrage.teachers.generate import VERSION, Asked, GenerateConfig
from arbitrage.teachers.pool import TeacherConfig, TeacherPool

QUORUM = 2
"""Reviewers that each teacher needs, and readable reviews below which an adjudicator is called [2504.12322]."""


class CommitteeConfig(ReviewTerms, OpinionOptions):
    """Reviewers and how they come to one score, 1 to 10.

    Attributes:
        reviewers: teachers of the pool file, whether or not they answer in this run.
        adjudicators: who gives the final score of answers that are contested, or of which fewer than two reviews can
            be read: the first that is of another family than the answer's teacher.
        max_spread: standard deviation of the reviews above which an answer is contested; null: no adjudication.
        min_reviews: readable reviews without which an answer has no score, unless an adjudicator gave one.
        accept: score below which an answer is rejected; null rejects none.
    """

    version: ClassVar[int] = 2
    name: RewardName = "committee"
    reviewers: tuple[str, ...] = Field(min_length=QUORUM)
    adjudicators: tuple[str, ...] = ()
    max_spread: float | None = Field(default=2.0, ge=0.0)
    min_reviews: int = Field(default=1, ge=1)
    accept: float | None = Field(default=5.0, ge=1.0, le=10.0)

    @model_validator(mode="after")
    def _can_settle(self) -> Self:
        if len(set(self.reviewers)) < len(self.reviewers):
            raise ValueError("a reviewer is listed twice")
        if self.max_spread is not None and not self.adjudicators:
            raise ValueError("somebody must settle what is contested: name adjudicators, or set max_spread: null")
        if self.min_reviews > len(self.reviewers):
            raise ValueError(f"min_reviews is {self.min_reviews}, and there are {len(self.reviewers)} reviewers")
        return self

    @property
    def least(self) -> float | None:
        """The score below which an answer is rejected."""
        return self.accept

    @property
    def members(self) -> tuple[str, ...]:
        """All teachers it asks."""
        return tuple(dict.fromkeys((*self.reviewers, *(self.adjudicators if self.max_spread is not None else ()))))


def committee(
    config: CommitteeConfig,
    pool: TeacherPool,
    teacher: TeacherConfig,
    prompts: Step,
    drafts: Step,
    part: Callable[[Step], Step] = lambda step: step,
) -> Step:
    """Score one teacher's drafts.

    Args:
        config: the committee.
        pool: where its members are described.
        teacher: whose drafts.
        prompts: the prompts.
        drafts: the teacher's answers.
        part: makes of a step the one for a part of the run's shards; applied to the steps in between.

    Raises:
        UserError: a member is not in the pool.
        ConfigError: fewer than two reviewers, or no adjudicator, are of another family than the teacher.
    """
    reviewers = _others(config.reviewers, pool, teacher)
    if len(reviewers) < QUORUM:
        raise ConfigError(
            f"{config.name}.reviewers: {teacher.name} is of family '{teacher.family}'; {QUORUM} reviewers of other "
            f"families are needed, found {', '.join(r.name for r in reviewers) or 'none'}"
        )
    reviews = tuple(part(review(config, each, teacher.name, prompts, drafts)) for each in reviewers)
    inputs: dict[str, tuple[Step, ...]] = {"prompts": (prompts,), "drafts": (drafts,), "reviews": reviews}
    if config.max_spread is not None:
        adjudicator = _adjudicator(config, pool, teacher)
        inputs["settled"] = (part(_adjudicate(config, config.max_spread, adjudicator, teacher.name, dict(inputs))),)
    return Step(
        name=f"score-{config.name}-{teacher.name}",
        config=CommitteeStep(reward=config),
        produces=Score,
        inputs=inputs,
        version=config.version,
    )


def _adjudicator(config: CommitteeConfig, pool: TeacherPool, teacher: TeacherConfig) -> TeacherConfig:
    free = _others(config.adjudicators, pool, teacher)
    if not free:
        raise ConfigError(f"{config.name}.adjudicators: all are of {teacher.name}'s own family '{teacher.family}'")
    return free[0]


def _adjudicate(
    terms: ReviewTerms,
    max_spread: float,
    adjudicator: TeacherConfig,
    name: str,
    inputs: Mapping[str, tuple[Step, ...]],
) -> Step:
    config = AdjudicateStep(
        teacher=adjudicator,
        sampling=greedy(adjudicator, terms.max_tokens),
        revision=adjudicator.weights_revision(),
        criteria=terms.criteria,
        with_reference=terms.with_reference,
        max_spread=max_spread,
    )
    return Step(
        name=f"adjudicate-{name}",
        config=config,
        produces=Candidate,
        inputs=inputs,
        resources=adjudicator.held_resources(),
        pool=config.step_name,
        version=VERSION,
    )


def _others(names: Sequence[str], pool: TeacherPool, teacher: TeacherConfig) -> list[TeacherConfig]:
    """Return those of other families than a teacher; who names no family is a family of one."""
    own = teacher.family or teacher.name
    return [other for other in pool.select(names) if (other.family or other.name) != own]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An answer and its reviews, in the order of the reviewers' names."""

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

    def is_open(self, max_spread: float | None) -> bool:
        """Tell whether an adjudicator is called: the reviews lie far apart, or too few of them can be read."""
        scores = self.scores
        return max_spread is not None and (len(scores) < QUORUM or pstdev(scores) > max_spread)


def reviewed(inputs: Inputs) -> list[Reviewed]:
    """Join a shard's answers to their reviews, in the order of the drafts."""
    found: defaultdict[str, list[Candidate]] = defaultdict(list)
    for reply in sorted(inputs.records("reviews", Candidate), key=lambda reply: reply.teacher):
        found[reply.prompt_id].append(reply)
    return [
        Reviewed(item, tuple(read_review(reply, item) for reply in found[review_id(item.candidate)]))
        for item in scorables(inputs)
    ]


class AdjudicateStep(GenerateConfig):
    """Asks the adjudicator about answers that are contested or short of reviews, and shows it the reviews."""

    step_kind: ClassVar[str] = "adjudicate"

    criteria: str
    with_reference: bool
    max_spread: float

    @property
    def step_name(self) -> str:
        """What its replicas are called, and what its rejects say."""
        return f"adjudicate-{self.teacher.name}"

    def identity(self) -> Raw:
        """Return what can change a reply, and who is asked about what."""
        own = {"criteria": self.criteria, "with_reference": self.with_reference, "max_spread": self.max_spread}
        return super().identity() | own | {"question": QUESTION_VERSION}

    def asked(self, inputs: Inputs) -> list[Asked]:
        """List a question for each open answer."""
        return [
            asked
            for each in reviewed(inputs)
            if each.is_open(self.max_spread)
            for asked in asked_about(self, each.item.prompt, settled_id(each.item.candidate), self._question(each))
        ]

    def _question(self, each: Reviewed) -> str:
        return question_of(each.item, self.criteria, with_reference=self.with_reference, reviews=each.readable)


def settled_id(candidate: Candidate) -> str:
    """Return the id of the question to the adjudicator: the `prompt_id` of the reply to it."""
    return content_id("adjudicate", candidate.candidate_id)


class CommitteeStep(OpinionStep):
    """Sums up reviews. Named `reward` as in other steps that score."""

    step_kind: ClassVar[str] = "committee"

    reward: CommitteeConfig

    @property
    def opinion(self) -> OpinionOptions:
        """The committee."""
        return self.reward

    def build(self) -> "CommitteeWorker":
        """Build the worker."""
        return CommitteeWorker(self.reward)


class CommitteeWorker:
    """Scores shard after shard: a pure function of the replies. Error of its Scores: `too_few_reviews`."""

    def __init__(self, config: CommitteeConfig) -> None:
        self._config = config

    def items(self, inputs: Inputs) -> list[Item]:
        """List the candidates."""
        return owed(scorables(inputs))

    async def run(self, inputs: Inputs) -> Output:
        """Return one Score for each candidate, in the order of the drafts."""
        settled = {reply.prompt_id: reply for reply in inputs.records("settled", Candidate)}
        found = [(each.item, self._judge(each, settled)) for each in reviewed(inputs)]
        return Output(to_table([score_of(item, self._config.reward_name, j) for item, j in found], Score))

    async def close(self) -> None:
        """Hold nothing."""

    def _judge(self, each: Reviewed, settled: Mapping[str, Candidate]) -> Judgement:
        final = settlement(each, settled) if each.is_open(self._config.max_spread) else None
        if final is not None and final.score is not None:
            return Judgement(value=final.score)
        if len(each.scores) < self._config.min_reviews:
            return Judgement(error="too_few_reviews")
        return Judgement(value=fmean(each.scores))


def settlement(each: Reviewed, replies: Mapping[str, Candidate]) -> Review | None:
    """Return what the adjudicator says of an answer; None where it gave no reply.

    Args:
        each: the answer and its reviews.
        replies: of the adjudicator, by the id of the question.
    """
    reply = replies.get(settled_id(each.item.candidate))
    return None if reply is None else read_review(reply, each.item, each.readable)
