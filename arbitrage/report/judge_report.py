"""Summary of a finished judge run for a terminal, a page and scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from arbitrage.errors import DataError
from arbitrage.judging.agreement import Labels
from arbitrage.judging.figures import JudgeFigures, figures_of
from arbitrage.judging.options import is_mute
from arbitrage.records import Verdict
from arbitrage.report.alarms import ReportAlarm
from arbitrage.report.judge_alarms import judge_alarms
from arbitrage.report.run_alarms import run_alarms
from arbitrage.runs.manifest import StepReport
from arbitrage.runs.run import Run
from arbitrage.tables import from_table

MANY_FAILED = 0.05
"""Share of matches without a verdict above which there is a warning."""

BIASED = 0.1
"""Difference of the first-position rate from a half above which there is a warning."""


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """A against B.

    Attributes:
        num_prompts: number of prompts read.
        num_matches: pairs of responses; each judge judged the same pairs.
        lost: why prompts made no match and rows no response, in words → count.
        cautions: remarks to read before the figures.
        alarms: reasons to doubt a judge's verdicts.
        mute: judges without any verdict, and so without figures, each with the reasons.
    """

    a: str
    b: str
    num_prompts: int
    num_matches: int
    lost: Mapping[str, int]
    judges: tuple[JudgeFigures, ...]
    cautions: tuple[str, ...]
    alarms: tuple[ReportAlarm, ...] = ()
    mute: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values; the language '' stands for all."""
        return asdict(self)


def judge_report(
    run: Run,
    labels: tuple[str, str],
    asks_twice: Mapping[str, bool],
    people: Labels | None = None,
    cautions: Sequence[str] = (),
    lost_rows: Mapping[str, int] | None = None,
) -> JudgeReport:
    """Read the verdicts of a finished run.

    Args:
        run: the run.
        labels: names of the sides.
        asks_twice: judge → whether it judged both orders.
        people: human labels to compare with.
        cautions: cautions known in advance.
        lost_rows: description → number of rows of the data sets that give no response.

    Raises:
        DataError: no prompt has responses of both sides, no judge gave a verdict, or no label belongs to a match.
    """
    verdicts = {judge: _verdicts(run, judge) for judge in asks_twice}
    lost = {**_lost(run, labels), **(lost_rows or {})}
    num_matches = len(next(iter(verdicts.values())))
    if not num_matches:
        why = ", ".join(f"{what}: {count}" for what, count in lost.items())
        raise DataError(
            f"{labels[0]} and {labels[1]} have responses to no prompt in common{f' ({why})' if why else ''}; "
            "rows without the prompt need --prompts"
        )
    mute = {judge: _silence(rows) for judge, rows in verdicts.items() if is_mute(rows)}
    if len(mute) == len(verdicts):
        raise DataError("; ".join(f"judge {judge}: {silence}" for judge, silence in mute.items()))
    verdicts = {judge: rows for judge, rows in verdicts.items() if judge not in mute}
    if people is not None and not any(people.of(row) for rows in verdicts.values() for row in rows):
        raise DataError(
            f"--labels: none of {people.num} labels belongs to a match: their ids are not those of the prompts"
        )
    figures = figures_of(verdicts, asks_twice, people)
    prompts = _report(run, run.plan.table["prompts"][0]).num_rows
    silent = (ReportAlarm("unreadable", f"judge {judge}", silence) for judge, silence in mute.items())
    alarms = tuple(
        alarm for each in figures for alarm in judge_alarms(each, verdicts[each.judge], _unanswered(run, each.judge))
    )
    warned = (*cautions, *(line for each in figures for line in _warnings(each)))
    alarms = (*run_alarms(run), *silent, *alarms)
    return JudgeReport(*labels, prompts, num_matches, lost, tuple(figures), warned, alarms, mute)


def _verdicts(run: Run, judge: str) -> list[Verdict]:
    return [row for table in run.tables(f"verdicts-{judge}") for row in from_table(table, Verdict)]


def _silence(rows: Sequence[Verdict]) -> str:
    failed = [row for row in rows if row.how == "failed"]
    reasons = sorted({error for row in failed for error in row.errors})
    return f"not one of {len(failed)} matches got a verdict ({', '.join(reasons)})"


def _lost(run: Run, labels: tuple[str, str]) -> dict[str, int]:
    roles = run.plan.table
    found: dict[str, int] = {}
    for who, step in (
        ("the prompts", roles["prompts"][0]),
        *zip(labels, (roles["a"][0], roles["b"][0]), strict=True),
    ):
        for reason, count in _report(run, step).rejected.items():
            found[f"{who}: {reason.replace('_', ' ')}"] = count
    for side, label in zip(("a", "b"), labels, strict=True):
        for route in run.step(roles[side][0]).inputs.get("routes", ()):
            if unasked := _report(run, route).num_rejected:
                found[f"{label}: not sampled in the language"] = unasked
    return found


def _unanswered(run: Run, judge: str) -> Mapping[str, int]:
    """Return why a judge's engine gave no reply, such as a prompt that is too long for it → count."""
    name = f"judge-{judge}"
    return _report(run, name).rejected if any(step.name == name for step in run.plan.steps) else {}


def _report(run: Run, step: str) -> StepReport:
    return next(report for report in run.manifest.steps if report.name == step)


def _warnings(figures: JudgeFigures) -> list[str]:
    """Warn of missing verdicts and position bias, also if there are too few for an alarm."""
    overall = figures.standings[0]
    trust, lines = overall.reliability, []
    if trust.num_failed > MANY_FAILED * overall.num_matches:
        reasons = ", ".join(f"{error} {count}" for error, count in trust.errors.items())
        lines.append(
            f"{figures.judge}: {trust.num_failed} of {overall.num_matches} matches got no verdict and count as ties "
            f"({reasons})"
        )
    first = trust.first_position
    if first is not None and abs(first.value - 0.5) > BIASED:
        which = "first" if first.value > 0.5 else "second"
        lines.append(f"{figures.judge} prefers the response shown {which}; most of these verdicts count as ties")
    return lines
