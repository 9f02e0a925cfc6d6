"""Reasoning as the report shows it: tables by teacher and by language, and which language goes with which."""

from collections import Counter
from collections.abc import Sequence

from arbitrage.languages import UNKNOWN, name_of
from arbitrage.report.formatting import COUNT, WHOLE_SHARE, NumberForm, money, share
from arbitrage.report.reasoning import IDENTIFIED_PER_CELL, ReasoningRow, ReasoningSummary
from arbitrage.report.rendering import Cell, Column, Figures, Group, Row, ungrouped

SAME = "same as the response"
MAX_LANGUAGES = 4
"""Languages of reasoning with a column of their own; further ones are added up."""

_MONEY = NumberForm(write=money)
_SHARE = NumberForm(write=share)


def reasoning_figures(found: ReasoningSummary) -> Figures:
    """Return what each teacher spends on reasoning, and in which language it reasons and answers."""
    columns = _columns(found.by_teacher)
    return Figures(
        title="Reasoning",
        corner="teacher",
        columns=columns,
        groups=ungrouped([_row(row, row.teacher, columns) for row in found.by_teacher]),
        notes=_notes(found),
        is_dense=True,
    )


def reasoning_by_language(found: ReasoningSummary) -> Figures:
    """Return the same by language, teacher after teacher."""
    columns = _columns(found.by_teacher)
    groups = []
    for teacher in dict.fromkeys(row.teacher for row in found.by_language):
        rows = [row for row in found.by_language if row.teacher == teacher]
        groups.append(Group(tuple(_row(r, name_of(r.language), columns, r.language) for r in rows), teacher, teacher))
    return Figures("Reasoning by language", "language", columns, tuple(groups), is_dense=True)


def language_pairs(found: ReasoningSummary) -> Figures:
    """Return, for each language in which a teacher answers, the languages in which it reasons before."""
    others: Counter[str] = Counter()
    for row in found.by_teacher:
        for response, reasoning, number in row.languages:
            others[reasoning] += number * (reasoning != response)
    shown = [tag for tag, number in others.most_common() if number and tag != UNKNOWN][:MAX_LANGUAGES]
    has_rest = any(number and tag not in shown for tag, number in others.items())
    columns = (
        Column("candidates", COUNT, short="cand."),
        Column(SAME, WHOLE_SHARE, short="same"),
        *(Column(name_of(tag), WHOLE_SHARE, short=tag) for tag in shown),
        *((Column("other or not told", WHOLE_SHARE, short="other"),) if has_rest else ()),
    )
    groups = [
        Group(tuple(_pair_rows(row.languages, shown, has_rest=has_rest)), row.teacher, row.teacher)
        for row in found.by_teacher
        if row.languages
    ]
    return Figures(
        title="Language of the reasoning, by language of the response",
        corner="response in",
        columns=columns,
        groups=tuple(groups),
        notes=(
            f"identified in the first {IDENTIFIED_PER_CELL} candidates of each teacher and language at most, without "
            "code and formulas",
        ),
        is_dense=True,
    )


def _columns(rows: Sequence[ReasoningRow]) -> tuple[Column, ...]:
    """Return the columns; those of money and of checks only where there are such figures."""
    has_cost = any(row.cost_share is not None for row in rows)
    return (
        Column("candidates", COUNT, short="cand."),
        Column("with reasoning", _SHARE, short="reason"),
        Column("reasoning tokens per candidate", COUNT, short="tokens"),
        Column("response tokens per candidate", COUNT, short="answer"),
        Column("reasoning, share of tokens", _SHARE, media=("page", "markdown")),
        *(
            (
                Column("cost of reasoning", _MONEY, media=("page", "markdown")),
                Column("reasoning, share of cost", _SHARE, short="of cost"),
            )
            if has_cost
            else ()
        ),
        Column("unfinished", COUNT, short="unfin."),
        Column("response in language", _SHARE, short="resp. ok"),
        Column("reasoning in language", _SHARE, short="reas. ok"),
    )


def _row(row: ReasoningRow, name: str, columns: Sequence[Column], tag: str = "") -> Row:
    asked = row.num_candidates + row.num_unfinished
    unfinished = f"({share(row.num_unfinished / asked)})" if row.num_unfinished else ""
    values = {
        "candidates": row.num_candidates,
        "with reasoning": row.num_reasoned / row.num_candidates if row.num_candidates else None,
        "reasoning tokens per candidate": row.reasoning_tokens,
        "response tokens per candidate": row.response_tokens,
        "reasoning, share of tokens": row.token_share,
        "cost of reasoning": row.reasoning_cost_usd,
        "reasoning, share of cost": row.cost_share,
        "unfinished": Cell(row.num_unfinished, unfinished),
        "response in language": row.response_in_language,
        "reasoning in language": row.reasoning_in_language,
    }
    return Row(name, tuple(values[column.heading] for column in columns), tag=tag)


def _pair_rows(pairs: Sequence[tuple[str, str, int]], shown: Sequence[str], *, has_rest: bool) -> list[Row]:
    by_response: dict[str, Counter[str]] = {}
    for response, reasoning, number in pairs:
        by_response.setdefault(response, Counter())[reasoning] += number
    rows = []
    for response, found in sorted(by_response.items(), key=lambda item: (-item[1].total(), item[0])):
        total = found.total()
        same = found[response] if response != UNKNOWN else 0
        named = [None if tag == response else found[tag] for tag in shown]
        rest = [total - same - sum(filter(None, named))] if has_rest else []
        shares = [None if number is None else number / total for number in (same, *named, *rest)]
        name, tag = ("not told", "") if response == UNKNOWN else (name_of(response), response)
        rows.append(Row(name, (total, *shares), tag=tag))
    return rows


def _notes(found: ReasoningSummary) -> tuple[str, ...]:
    notes = [
        "tokens: means over the candidates with reasoning; unfinished: rejected, the candidate ends before an answer",
        "in language: share of the candidates that pass the checks language_confusion and reasoning_language",
    ]
    if uncounted := sum(row.num_uncounted for row in found.by_teacher):
        notes.append(f"{uncounted:,} candidates with reasoning are left out of the tokens: theirs are not known")
    return tuple(notes)
