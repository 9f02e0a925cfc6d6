"""A committee as a reward (after GRA [2504.12322], METHODS §5): reviewers, and an adjudicator for open candidates.

    review-<reviewer>-<teacher> ─┬─> adjudicate-<teacher> ─┬─> calibrate-committee ─┐
                                 │   (open candidates)     │   (reviewers' levels)  │
                                 └─────────────────────────┴────────────────────────┴─> score-committee-<teacher>

A candidate's score is the adjudicator's if it was called, else the mean of the readable reviews, corrected for the
levels of its reviewers (`arbitrage.judging.levels`). An unreadable review is left out, but not its candidate:
otherwise a reviewer whose output about one teacher is unreadable would remove that teacher's candidates. A candidate
below `accept` is not selected: the ensemble filters it. No member reviews a teacher of its own family.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar, Self

from pydantic import Field, model_validator

from arbitrage.candidates.table import CandidateShard
from arbitrage.config import Raw
from arbitrage.contracts.steps import PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.errors import ConfigError
from arbitrage.judging.levels import LevelsStep, LevelTable
from arbitrage.judging.review import HIGHEST, LOWEST, ReviewTerms, question_of, review
from arbitrage.judging.reviewed import QUORUM, Reviewed, reviewed, settled_id, settlement
from arbitrage.records import Candidate, ReviewerLevel, Score
from arbitrage.rewards.options import CheckResult, RewardName, ScorerOptions, score_of
from arbitrage.rewards.score import ScorerStep, score_items
from arbitrage.tables import to_table
from arbitrage.teachers.generate import VERSION, GenerateConfig, TeacherRequest
from arbitrage.teachers.pool import TeacherConfig, TeacherPool
from arbitrage.teachers.quoting import QUESTION_VERSION, greedy, requests_about


class CommitteeConfig(ReviewTerms, ScorerOptions):
    """The reviewers, and how their reviews become one score from 1 to 10.

    Attributes:
        reviewers: teachers of the pool file; they need not be sampled in this run.
        adjudicators: teachers that give the final score of candidates that are contested or have fewer than two
            readable reviews: the first one of another family than the candidate's teacher.
        max_spread: standard deviation of the reviews above which a candidate is contested; null: no adjudication.
        min_reviews: readable reviews that a score needs, unless an adjudicator gave one.
        accept: candidates with a lower score are not selected; null: no threshold.
    """

    version: ClassVar[int] = 3
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
            raise ValueError("contested candidates need an adjudicator: name adjudicators, or set max_spread: null")
        if self.min_reviews > len(self.reviewers):
            raise ValueError(f"min_reviews is {self.min_reviews}, and there are {len(self.reviewers)} reviewers")
        return self

    @property
    def least(self) -> float | None:
        """The score below which a candidate is not selected."""
        return self.accept

    @property
    def members(self) -> tuple[str, ...]:
        """All teachers of the committee."""
        return tuple(dict.fromkeys((*self.reviewers, *(self.adjudicators if self.max_spread is not None else ()))))


@dataclass(frozen=True, slots=True)
class Committee:
    """The steps of a committee.

    Attributes:
        scores: one for each teacher.
        levels: the step with the reviewers' levels.
    """

    scores: tuple[Step, ...]
    levels: Step


def committee(
    config: CommitteeConfig,
    pool: TeacherPool,
    candidates: Sequence[tuple[TeacherConfig, Step]],
    prompts: Step,
    part: Callable[[Step], Step] = lambda step: step,
    levels: Step | None = None,
) -> Committee:
    """Score the candidates of all teachers.

    Args:
        config: the committee.
        pool: the pool with its members.
        candidates: the teachers, each with the step of its candidates.
        prompts: the prompts.
        part: returns a step for a part of the run's shards; applied to the intermediate steps.
        levels: the reviewers' levels, if another part of the run has measured them.

    Raises:
        UserError: a member is not in the pool.
        ConfigError: fewer than two reviewers, or no adjudicator, are of another family than a teacher.
    """
    inputs = [_reviewing(config, pool, teacher, prompts, step, part) for teacher, step in candidates]
    if levels is None:
        levels = part(_levels(config, prompts, inputs))
    scores = tuple(
        Step(
            facts=StepFacts(
                verb="score", label=f"{config.name}-{teacher.name}", teacher=teacher.name, scorer=config.name
            ),
            config=CommitteeStep(reward=config),
            produces=Score,
            inputs=each | {"levels": (levels,)},
            version=config.version,
        )
        for (teacher, _), each in zip(candidates, inputs, strict=True)
    )
    return Committee(scores, levels)


def _reviewing(
    config: CommitteeConfig,
    pool: TeacherPool,
    teacher: TeacherConfig,
    prompts: Step,
    candidates: Step,
    part: Callable[[Step], Step],
) -> dict[str, tuple[Step, ...]]:
    """Return the steps that combine one teacher's reviews, by role."""
    reviewers = _others(config.reviewers, pool, teacher)
    if len(reviewers) < QUORUM:
        raise ConfigError(
            f"{config.name}.reviewers: {teacher.name} is of family '{teacher.family}'; {QUORUM} reviewers of other "
            f"families are needed, found {', '.join(r.name for r in reviewers) or 'none'}"
        )
    reviews = tuple(part(review(config, each, teacher.name, prompts, candidates)) for each in reviewers)
    inputs: dict[str, tuple[Step, ...]] = {"prompts": (prompts,), "candidates": (candidates,), "reviews": reviews}
    if config.max_spread is not None:
        adjudicator = _adjudicator(config, pool, teacher)
        inputs["settled"] = (part(_adjudicate(config, config.max_spread, adjudicator, teacher.name, dict(inputs))),)
    return inputs


def _levels(config: CommitteeConfig, prompts: Step, inputs: Sequence[Mapping[str, tuple[Step, ...]]]) -> Step:
    roles = ("candidates", "reviews", "settled")
    joined = {role: tuple(step for each in inputs for step in each.get(role, ())) for role in roles}
    return Step(
        facts=StepFacts(verb="calibrate", label=config.name),
        config=LevelsStep(max_spread=config.max_spread),
        produces=ReviewerLevel,
        inputs={"prompts": (prompts,)} | {role: steps for role, steps in joined.items() if steps},
        scope="corpus",
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
        facts=StepFacts(verb="adjudicate", label=name, teacher=name, scorer=adjudicator.name),
        config=config,
        produces=Candidate,
        inputs=inputs,
        resources=adjudicator.held_resources(),
        pool=f"adjudicate-{adjudicator.name}",
        version=VERSION,
    )


def _others(names: Sequence[str], pool: TeacherPool, teacher: TeacherConfig) -> list[TeacherConfig]:
    """Return the teachers of other families; a teacher without a family is its own family."""
    own = teacher.family or teacher.name
    return [other for other in pool.select(names) if (other.family or other.name) != own]


class AdjudicateStep(GenerateConfig):
    """Requests the adjudicator's score of contested or under-reviewed candidates, and shows it the reviews."""

    step_kind: ClassVar[str] = "adjudicate"

    criteria: str
    with_reference: bool
    max_spread: float

    def identity(self) -> Raw:
        """Return the settings that can change a review, and which reviewer reviews which teacher."""
        own = {"criteria": self.criteria, "with_reference": self.with_reference, "max_spread": self.max_spread}
        return super().identity() | own | {"question": QUESTION_VERSION}

    def requests(self, inputs: Inputs) -> list[TeacherRequest]:
        """List a request for each open candidate."""
        return [
            request
            for each in reviewed(inputs)
            if each.is_open(self.max_spread)
            for request in requests_about(
                self, each.item.prompt, settled_id(each.item.candidate), self._question(each)
            )
        ]

    def _question(self, each: Reviewed) -> str:
        return question_of(each.item, self.criteria, with_reference=self.with_reference, reviews=each.readable)


class CommitteeStep(ScorerStep, PureStep):
    """Combines reviews. Its field is named `reward` as in other scoring steps."""

    step_kind: ClassVar[str] = "committee"

    reward: CommitteeConfig

    @property
    def scorer(self) -> ScorerOptions:
        """The committee."""
        return self.reward

    def items(self, inputs: Inputs) -> list[Item]:
        """List the candidates."""
        return score_items(CandidateShard(inputs).joined())

    async def run(self, inputs: Inputs) -> Output:
        """Return one Score for each candidate, in the order of the candidates."""
        settled = {reply.prompt_id: reply for reply in inputs.records("settled", Candidate)}
        levels = LevelTable(inputs.records("levels", ReviewerLevel))
        found = [(each.item, self._judge(each, settled, levels)) for each in reviewed(inputs)]
        return Output(to_table([score_of(item, self.reward.reward_name, j) for item, j in found], Score))

    def _judge(self, each: Reviewed, settled: Mapping[str, Candidate], levels: LevelTable) -> CheckResult:
        language = each.item.prompt.language
        final = settlement(each, settled) if each.is_open(self.reward.max_spread) else None
        if final is not None and final.score is not None:
            # For contested candidates the adjudicator's score is used unchanged: it was called to decide.
            level = levels.mean([("adjudicator", final.reviewer)], language) if each.is_short else 0.0
            return CheckResult(value=_on_scale(final.score - level))
        if len(each.scores) < self.reward.min_reviews:
            return CheckResult(error="too_few_reviews")
        level = levels.mean([("reviewer", review.reviewer) for review in each.readable], language)
        return CheckResult(value=_on_scale(fmean(each.scores) - level))


def _on_scale(score: float) -> float:
    return min(max(score, LOWEST), HIGHEST)
