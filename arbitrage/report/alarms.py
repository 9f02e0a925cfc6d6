"""Alarms: figures so unusual that the data may be worthless."""

from collections.abc import Mapping
from dataclasses import dataclass

CUT_OFF_ALARM = 0.5
"""Share of a teacher's candidates that end at the token limit, from which there is an alarm."""

UNSCORED_ALARM = 0.1
"""Share of a teacher's candidates without a score, which cannot be selected, from which there is an alarm."""

REASONING_ALARM = 0.05
"""Share of a teacher's candidates with reasoning in their text, from which there is an alarm."""

UNFINISHED_ALARM = 0.05
"""Part of a teacher's completions that end before an answer to their reasoning: paid for, and rejected. What is left
is what could be answered after little reasoning."""

MIN_CANDIDATES = 10
"""Minimum number of candidates or replies for an alarm on a share."""


@dataclass(frozen=True, slots=True)
class ReportAlarm:
    """One alarm, shown first in the report, on the terminal and in `--json`.

    Attributes:
        kind: a key for scripts, such as `cut_off`.
        what: the teacher, judge or reviewer it is about.
        detail: one sentence with the figures, and what to do about it.
    """

    kind: str
    what: str
    detail: str

    @property
    def sentence(self) -> str:
        """The alarm in one line."""
        return f"{self.what}: {self.detail}"


@dataclass(frozen=True, slots=True)
class TeacherCounts:
    """Counts of one teacher's candidates."""

    num_candidates: int
    num_cut_off: int
    unscored: Mapping[str, int]  # reward → candidates without its score
    num_with_reasoning: int = 0  # left in their text, by the check `reasoning_left`
    num_unfinished: int = 0  # rejected, so no candidates: they end before an answer to their reasoning


def teacher_alarms(counts: Mapping[str, TeacherCounts]) -> tuple[ReportAlarm, ...]:
    """Return the alarms about the candidates of each teacher, in order of teacher."""
    found = []
    for teacher, count in sorted(counts.items()):
        num_sampled = count.num_candidates + count.num_unfinished
        if num_sampled >= MIN_CANDIDATES and count.num_unfinished >= UNFINISHED_ALARM * num_sampled:
            detail = (
                f"{count.num_unfinished:,} of {num_sampled:,} completions end before an answer to their reasoning "
                "and are rejected; raise sampling.max_tokens, or set sampling.reasoning_budget"
            )
            found.append(ReportAlarm("reasoning_unfinished", teacher, detail))
        if count.num_candidates < MIN_CANDIDATES:
            continue
        of_all = f"of {count.num_candidates:,} candidates"
        if count.num_cut_off >= CUT_OFF_ALARM * count.num_candidates:
            detail = f"{count.num_cut_off:,} {of_all} are cut off at the token limit; raise sampling.max_tokens"
            found.append(ReportAlarm("cut_off", teacher, detail))
        if count.num_with_reasoning >= REASONING_ALARM * count.num_candidates:
            detail = (
                f"{count.num_with_reasoning:,} {of_all} hold reasoning in their text and are not selected; set the "
                "server's reasoning parser"
            )
            found.append(ReportAlarm("reasoning_left", teacher, detail))
        for reward, number in sorted(count.unscored.items()):
            if number >= UNSCORED_ALARM * count.num_candidates:
                detail = f"{number:,} {of_all} have no score by {reward} and cannot be selected"
                found.append(ReportAlarm("unscored", teacher, detail))
    return tuple(found)
