"""The reviews of a finished run, read again like the committee did: by reviewer, teacher and language."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from arbitrage.candidates.table import StoredTables
from arbitrage.contracts.workers import Inputs
from arbitrage.judging.review import Review
from arbitrage.judging.reviewed import Reviewed, reviewed, settlement
from arbitrage.records import Candidate
from arbitrage.runs.layout import shard_path
from arbitrage.runs.manifest import StepPlan
from arbitrage.runs.run import Run

NO_REPLY = "no_reply"
"""The reviewer's engine gave no reply: the prompt was too long, or the endpoint failed."""


@dataclass(slots=True)
class Reviews:
    """Scores of one reviewer or adjudicator.

    Attributes:
        scores: language → score → count.
        errors: language → reason why there is no score, of the reply or of the rejected completion → count.
    """

    scores: defaultdict[str, Counter[float]] = field(default_factory=lambda: defaultdict(Counter))
    errors: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, language: str, review: Review | None) -> None:
        """Count one review; None for a missing reply."""
        if review is None or review.score is None:
            self.errors[language][NO_REPLY if review is None else review.error or "no_score"] += 1
        else:
            self.scores[language][review.score] += 1


@dataclass(slots=True)
class CommitteeReviews:
    """All reviews of a committee.

    Attributes:
        by_reviewer: reviewer → its reviews.
        by_adjudicator: adjudicator → its reviews of the contested candidates.
        together: two reviewers → their scores of the same candidate → count.
        num_readable: teacher → readable scores (the adjudicator's counts) → candidates.
        num_unsettled: teacher → contested candidates whose adjudicator gave no score.
        num_gone: shards that could not be read, because files of them are missing.
    """

    by_reviewer: defaultdict[str, Reviews] = field(default_factory=lambda: defaultdict(Reviews))
    by_adjudicator: defaultdict[str, Reviews] = field(default_factory=lambda: defaultdict(Reviews))
    together: defaultdict[tuple[str, str], Counter[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    num_readable: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    num_unsettled: Counter[str] = field(default_factory=Counter)
    num_gone: int = 0


def reviews_of(run: Run) -> CommitteeReviews:
    """Read all reviews of a run; empty without a committee. Memory does not grow with the run."""
    found = CommitteeReviews()
    for step, shard in _shards(run):
        if _is_there(run, step, shard):
            _add(found, run, step, _inputs(run, step, shard))
        else:
            found.num_gone += 1
    _name_rejects(found, run)
    return found


def committee_inputs(run: Run) -> Iterator[Inputs]:
    """Yield the inputs of the steps that combine reviews, shard by shard.

    Raises:
        StorageError: a shard is missing.
    """
    return (_inputs(run, step, shard) for step, shard in _shards(run))


def _name_rejects(found: CommitteeReviews, run: Run) -> None:
    """Give replies that did not arrive the reason for which the engine's completion was rejected."""
    reports = {report.name: report for report in run.manifest.steps}
    steps = [step for step in run.plan.steps if step.record == "Score" and "reviews" in step.inputs]
    for role, by_name in (("reviews", found.by_reviewer), ("settled", found.by_adjudicator)):
        for name in dict.fromkeys(name for step in steps for name in step.inputs.get(role, ())):
            if (reviews := by_name.get(_asked(run, name))) is not None:
                for account in reports[name].accounts:
                    _name(reviews.errors[account.language], account.rejected)


def _name(errors: Counter[str], rejected: Mapping[str, int]) -> None:
    for reason, number in rejected.items():
        if told := min(number, errors[NO_REPLY]):
            errors[reason] += told
            errors[NO_REPLY] -= told
    errors += Counter()  # drops what is zero


def _shards(run: Run) -> Iterator[tuple[StepPlan, int]]:
    for step in run.plan.steps:
        if step.record == "Score" and "reviews" in step.inputs:
            yield from ((step, shard) for shard in run.shards(step.name))


def _is_there(run: Run, step: StepPlan, shard: int) -> bool:
    names = {name for role, names in step.inputs.items() if role != "levels" for name in names}
    return all(shard_path(run.directory(name), shard).exists() for name in names)


def _inputs(run: Run, step: StepPlan, shard: int) -> Inputs:
    return Inputs(StoredTables(run, step.inputs, shard))


def _add(found: CommitteeReviews, run: Run, step: StepPlan, inputs: Inputs) -> None:
    max_spread = step.config["reward"].get("max_spread")
    reviewers = [_asked(run, name) for name in step.inputs["reviews"]]
    adjudicators = [_asked(run, name) for name in step.inputs.get("settled", ())]
    settled = {reply.prompt_id: reply for reply in inputs.records("settled", Candidate)}
    for each in reviewed(inputs):
        _add_reviews(found, each, reviewers)
        is_open, final = bool(adjudicators) and each.is_open(max_spread), None
        if is_open:
            final = settlement(each, settled)
            found.by_adjudicator[adjudicators[0]].add(each.item.prompt.language, final)
        is_settled = final is not None and final.score is not None
        teacher = each.item.candidate.teacher
        found.num_readable[teacher][len(each.scores) + is_settled] += 1
        found.num_unsettled[teacher] += is_open and not is_settled


def _add_reviews(found: CommitteeReviews, each: Reviewed, reviewers: Sequence[str]) -> None:
    given = {review.reviewer: review for review in each.reviews}
    for name in reviewers:
        found.by_reviewer[name].add(each.item.prompt.language, given.get(name))
    scores: Mapping[str, float] = {name: r.score for name, r in given.items() if r.score is not None}
    for one, other in combinations(sorted(scores), 2):
        found.together[one, other][scores[one], scores[other]] += 1


def _asked(run: Run, step: str) -> str:
    return str(run.step(step).config["teacher"]["name"])
