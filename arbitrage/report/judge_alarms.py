"""Alarms about judges that compare two responses: no verdicts, constant verdicts, position bias, no agreement."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from arbitrage.judging.figures import ALL, PEOPLE, JudgeFigures
from arbitrage.judging.teacher import NO_REPLY
from arbitrage.records import Verdict
from arbitrage.report.alarms import MIN_CANDIDATES, ReportAlarm
from arbitrage.report.reply_alarms import CONSTANT, LEAST_AGREEMENT, Replies, unreadable_alarms

ONE_SIDED = 0.8
"""Share of the verdicts for one position, from which there is an alarm about position bias."""

LEAST_CONSISTENCY = 0.5
"""Share of the matches on which both orders agree, below which there is an alarm about consistency."""

Position = Literal["first", "second", "tie"]

_SAID: dict[Position, str] = {
    "first": "name the response shown first",
    "second": "name the response shown second",
    "tie": "are ties",
}


def judge_alarms(figures: JudgeFigures, rows: Sequence[Verdict], lost: Mapping[str, int]) -> tuple[ReportAlarm, ...]:
    """Return the alarms about one judge.

    Args:
        figures: figures of the judge.
        rows: verdicts of the judge.
        lost: reason why its engine gave no reply → count.
    """
    who = f"judge {figures.judge}"
    judged = [row for row in rows if row.how != "identical"]
    return (
        *unreadable_alarms(who, _replies(judged, lost)),
        *(_positions(who, figures, judged) if figures.asks_twice else _scores(who, judged)),
        *_agreement(who, figures),
    )


def _replies(rows: Sequence[Verdict], lost: Mapping[str, int]) -> dict[str, Replies]:
    """Count replies by language; a missing one by the engine's reason."""
    errors: dict[str, Counter[str]] = {row.language: Counter() for row in rows}
    for row in rows:
        errors[row.language].update(error.partition(":")[2] or error for error in row.errors)
    num = Counter(row.language for row in rows)
    why = f"{NO_REPLY}: {', '.join(sorted(lost))}" if lost else NO_REPLY
    return {
        tag: Replies(
            2 * num[tag] - found.total(), {why if name == NO_REPLY else name: n for name, n in found.items()}
        )
        for tag, found in errors.items()
    }


def _positions(who: str, figures: JudgeFigures, rows: Sequence[Verdict]) -> Iterator[ReportAlarm]:
    said = Counter(position for row in rows for position in _preferred(row))
    winners = said["first"] + said["second"]
    if said.total() < MIN_CANDIDATES:
        return
    [(most, number)] = said.most_common(1)
    if number >= CONSTANT * said.total():
        kind = "constant_scores" if most == "tie" else "position_bias"
        detail = f"{number:,} of {said.total():,} verdicts {_SAID[most]}: it does not compare the responses"
        yield ReportAlarm(kind, who, detail)
    elif winners >= MIN_CANDIDATES and max(said["first"], said["second"]) >= ONE_SIDED * winners:
        which: Position = "first" if said["first"] > said["second"] else "second"
        detail = f"{said[which]:,} of {winners:,} verdicts that name a winner {_SAID[which]}"
        yield ReportAlarm("position_bias", who, detail)
    trust, both = figures.standings[0].reliability, sum(row.how in ("consistent", "inconsistent") for row in rows)
    if trust.consistency is not None and both >= MIN_CANDIDATES and trust.consistency.value < LEAST_CONSISTENCY:
        detail = f"the two orders contradict each other on {trust.num_inconsistent:,} of {both:,} matches"
        yield ReportAlarm("inconsistent", who, f"{detail}; these count as ties")


def _preferred(row: Verdict) -> Iterator[Position]:
    """Yield the position that each verdict on a match prefers."""
    for choice, first in ((row.a_first, "a"), (row.b_first, "b")):
        if choice is not None:
            yield "tie" if choice == "tie" else "first" if choice == first else "second"


def _scores(who: str, rows: Sequence[Verdict]) -> Iterator[ReportAlarm]:
    scores = Counter(score for row in rows for score in (row.a_score, row.b_score) if score is not None)
    if scores.total() >= MIN_CANDIDATES:
        [(score, number)] = scores.most_common(1)
        if number == scores.total():  # an exact checker may find nearly all responses right
            yield ReportAlarm("constant_scores", who, f"all {number:,} scores are {score:g}")


def _agreement(who: str, figures: JudgeFigures) -> Iterator[ReportAlarm]:
    for source in figures.agreements:
        found = source.agreement
        if source.language != ALL or found.num < MIN_CANDIDATES:
            continue
        other = "people" if source.other == PEOPLE else f"judge {source.other}"
        if found.kappa is None:
            detail = f"Cohen’s κ with {other} is undefined on {found.num:,} verdicts: both are constant"
            yield ReportAlarm("no_agreement", who, detail)
        elif found.kappa.value < LEAST_AGREEMENT:
            detail = f"its verdicts agree with {other} hardly more than by chance (Cohen’s κ {found.kappa.value:.2f}"
            yield ReportAlarm("no_agreement", who, f"{detail} on {found.num:,} verdicts)")
