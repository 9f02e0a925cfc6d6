"""Alarms about judges, reviewers and adjudicators whose replies are not usable."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from arbitrage.languages import name_of
from arbitrage.report.alarms import MIN_CANDIDATES, ReportAlarm
from arbitrage.report.reasoning import UNFINISHED
from arbitrage.report.reviews import CommitteeReviews, Reviews
from arbitrage.statistics import Floats

MANY_UNREADABLE = 0.1
"""Share of replies without a verdict above which the rest may be a biased sample."""

CONSTANT = 0.9
"""Share of identical verdicts from which they distinguish nothing."""

LEAST_AGREEMENT = 0.1
"""Rank correlation or κ below which two judges of the same texts hardly agree more than by chance."""

FEW_REVIEWS = 0.1
"""Share of a teacher's candidates with fewer than two readable reviews."""

_MOST_LANGUAGES = 3

_OF_REPLIES = "read some of them, or use another model"
_OF_REASONING = "raise its max_tokens, or set sampling.reasoning_budget of that teacher"
"""What to do about replies without a verdict."""


@dataclass(frozen=True, slots=True)
class Replies:
    """Replies in one language: how many have a verdict, and why others have none."""

    num_readable: int
    errors: Mapping[str, int]

    @property
    def num_unreadable(self) -> int:
        """Replies without a verdict."""
        return sum(self.errors.values())

    @property
    def num(self) -> int:
        """All replies."""
        return self.num_readable + self.num_unreadable

    @property
    def has_many_unreadable(self) -> bool:
        """Whether there are enough replies to tell, and too many without a verdict."""
        return self.num >= MIN_CANDIDATES and self.num_unreadable > MANY_UNREADABLE * self.num


def committee_alarms(found: CommitteeReviews) -> tuple[ReportAlarm, ...]:
    """Return the alarms about a committee's members, and about teachers whose reviews are few."""
    return (
        *(alarm for name, reviews in sorted(found.by_reviewer.items()) for alarm in _of(f"reviewer {name}", reviews)),
        *(
            alarm
            for name, reviews in sorted(found.by_adjudicator.items())
            for alarm in _of(f"adjudicator {name}", reviews)
        ),
        *_disagreement(found),
        *_few_reviews(found),
        *_gone(found),
    )


def unreadable_alarms(who: str, by_language: Mapping[str, Replies]) -> Iterator[ReportAlarm]:
    """Yield an alarm if too many replies have no verdict, in total or in some languages."""
    everything = _sum(by_language.values())
    worst = sorted(
        (tag for tag, found in by_language.items() if found.has_many_unreadable),
        key=lambda tag: (-by_language[tag].num_unreadable / by_language[tag].num, tag),
    )
    if everything.has_many_unreadable:
        detail = (
            f"{everything.num_unreadable:,} of {everything.num:,} replies hold no verdict ({_reasons(everything)})"
        )
        others = f"; worst in {_languages(worst, by_language)}" if worst and len(by_language) > 1 else ""
        yield ReportAlarm(
            "unreadable", who, f"{detail}{others}; {_OF_REASONING if _is_reasoning(everything) else _OF_REPLIES}"
        )
    elif worst:
        replies = _sum(by_language[tag] for tag in worst)
        detail = f"many replies hold no verdict in {_languages(worst, by_language)} ({_reasons(replies)})"
        yield ReportAlarm("unreadable", who, f"{detail}; {_OF_REASONING}" if _is_reasoning(replies) else detail)


def rank_correlation(together: Mapping[tuple[float, float], int]) -> float | None:
    """Return Spearman's ρ of pairs of scores, given how often each pair occurs; None if one of them is constant."""
    pairs = np.array(sorted(together), dtype=np.float64).reshape(-1, 2)
    weights = np.array([together[float(one), float(other)] for one, other in pairs], dtype=np.float64)
    x, y = (_ranks(pairs[:, column], weights) for column in (0, 1))
    moments = np.cov(np.vstack([x, y]), fweights=weights.astype(np.int64)) if weights.sum() > 1 else np.zeros((2, 2))
    spread = float(moments[0, 0] * moments[1, 1])
    return float(moments[0, 1]) / spread**0.5 if spread > 0 else None


def _of(who: str, reviews: Reviews) -> Iterator[ReportAlarm]:
    tags = sorted(reviews.scores.keys() | reviews.errors.keys())
    by_language = {tag: Replies(reviews.scores[tag].total(), dict(reviews.errors[tag])) for tag in tags}
    yield from unreadable_alarms(who, by_language)
    scores: Counter[float] = Counter()
    for found in reviews.scores.values():
        scores.update(found)
    if scores.total() >= MIN_CANDIDATES:
        [(score, number)] = scores.most_common(1)
        if number >= CONSTANT * scores.total():
            detail = f"{number:,} of {scores.total():,} scores are {score:g}; they do not distinguish candidates"
            yield ReportAlarm("constant_scores", who, detail)


def _disagreement(found: CommitteeReviews) -> Iterator[ReportAlarm]:
    for (one, other), together in sorted(found.together.items()):
        number, correlation = together.total(), rank_correlation(together)
        if number >= 2 * MIN_CANDIDATES and correlation is not None and correlation < LEAST_AGREEMENT:
            detail = (
                f"their scores of the same {number:,} candidates hardly agree (rank correlation {correlation:.2f}); "
                "at least one of them does not measure quality"
            )
            yield ReportAlarm("no_agreement", f"reviewers {one} and {other}", detail)


def _few_reviews(found: CommitteeReviews) -> Iterator[ReportAlarm]:
    for teacher, counts in sorted(found.num_readable.items()):
        total, few, none = counts.total(), counts[1], counts[0]
        if total >= MIN_CANDIDATES and few + none > FEW_REVIEWS * total:
            detail = f"of {total:,} candidates {few:,} have one readable review and {none:,} have none"
            more = "; the level of a single reviewer is taken into account, its errors cannot be" if few else ""
            yield ReportAlarm("few_reviews", teacher, detail + more)
        unsettled = found.num_unsettled[teacher]
        if total >= MIN_CANDIDATES and unsettled > FEW_REVIEWS * total:
            detail = f"the adjudicator gave no score to {unsettled:,} of {total:,} candidates that it had to decide"
            yield ReportAlarm("unsettled", teacher, detail)


def _gone(found: CommitteeReviews) -> Iterator[ReportAlarm]:
    if found.num_gone:
        detail = (
            f"{found.num_gone:,} shards of reviews are missing and were not checked; "
            "rerun the run's command to make them again"
        )
        yield ReportAlarm("unread_reviews", "committee", detail)


def _sum(replies: Iterable[Replies]) -> Replies:
    found = list(replies)
    errors: Counter[str] = Counter()
    for each in found:
        errors.update(each.errors)
    return Replies(sum(each.num_readable for each in found), errors)


def _reasons(replies: Replies) -> str:
    ranked = sorted(replies.errors.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {count:,}" for reason, count in ranked)


def _is_reasoning(replies: Replies) -> bool:
    """Tell whether most replies without a verdict end before an answer to their reasoning."""
    return UNFINISHED in max(replies.errors, key=lambda reason: (replies.errors[reason], reason))


def _languages(tags: list[str], by_language: Mapping[str, Replies]) -> str:
    named = [
        f"{name_of(tag)} ({by_language[tag].num_unreadable:,} of {by_language[tag].num:,})"
        for tag in tags[:_MOST_LANGUAGES]
    ]
    more = [f"{len(tags) - _MOST_LANGUAGES} more languages"] if len(tags) > _MOST_LANGUAGES else []
    return ", ".join([*named, *more])


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Return mid-ranks of values that occur as often as their weights say."""
    distinct, inverse = np.unique(values, return_inverse=True)
    sizes = np.bincount(inverse, weights=weights, minlength=len(distinct))
    ends = np.cumsum(sizes)
    ranks: Floats = ((ends - sizes + ends + 1) / 2)[inverse]
    return ranks
