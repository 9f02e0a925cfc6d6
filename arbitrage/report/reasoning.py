"""Reasoning in figures: its tokens and money beside the response's, its language, and what ends inside it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow.compute as pc

from arbitrage.candidates.table import CandidateShard, CandidateTable
from arbitrage.languages import UNKNOWN
from arbitrage.report import measures
from arbitrage.report.flow import RejectCount
from arbitrage.report.tally import Tally
from arbitrage.rewards.language_confusion import LanguageConfusionCheckConfig, ReasoningLanguageConfig
from arbitrage.text.identify import IDENTIFIED_CHARS, find_contradiction, identify
from arbitrage.text.language_confusion import LETTERS_TO_IDENTIFY
from arbitrage.text.prose import prose
from arbitrage.text.scripts import count_scripts

UNFINISHED = "reasoning_unfinished"
"""The reject of a candidate that ends before an answer to its reasoning."""

IDENTIFIED_PER_CELL = 200
"""Candidates of a teacher in a language whose languages are identified: the first; shards are dealt by hash."""

_COLUMNS = ("teacher", "prompt_tokens", "completion_tokens", "reasoning_tokens", "cost_usd")

Cell = tuple[str, str]
"""Teacher, language of the prompt."""


@dataclass(slots=True)
class ReasoningCounts:
    """Candidates of one teacher in one language, added up.

    Attributes:
        num_counted: those with reasoning whose tokens are known; the sums of tokens are over them.
        cost_usd: of the candidates of known cost, with and without reasoning.
        reasoning_cost_usd: the part of it that is paid for reasoning.
        num_unfinished: rejects: no candidates.
        passed: `response` and `reasoning` → candidates in the language wanted, by the checks of the run.
        checked: the same → candidates of which the check can tell.
        languages: (language of the response, of the reasoning) → candidates, of a sample.
    """

    num_candidates: int = 0
    num_reasoned: int = 0
    num_counted: int = 0
    reasoning_tokens: int = 0
    response_tokens: int = 0
    cost_usd: float | None = None
    reasoning_cost_usd: float = 0.0
    num_unfinished: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    languages: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: "ReasoningCounts") -> None:
        """Add the counts of other candidates."""
        for name in ("candidates", "reasoned", "counted", "unfinished"):
            setattr(self, f"num_{name}", getattr(self, f"num_{name}") + getattr(other, f"num_{name}"))
        self.reasoning_tokens += other.reasoning_tokens
        self.response_tokens += other.response_tokens
        if other.cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + other.cost_usd
        self.reasoning_cost_usd += other.reasoning_cost_usd
        for mine, others in ((self.passed, other.passed), (self.checked, other.checked)):
            mine.update(others)
        self.languages.update(other.languages)


@dataclass(frozen=True, slots=True)
class ReasoningRow:
    """The figures of a teacher, over all languages or in one; None where nothing is known.

    Attributes:
        language: of the prompts; empty: all.
        reasoning_tokens: of a candidate with reasoning, on average.
        response_tokens: of the same candidates.
        token_share: part of their tokens that is reasoning.
        cost_share: part of the money for all candidates that is paid for reasoning.
        num_uncounted: candidates with reasoning whose tokens are not known.
        response_in_language: part of the candidates whose response is in the language wanted, by the check
            `language_confusion`.
        reasoning_in_language: the same of the reasoning, by the check `reasoning_language`.
        languages: (language of the response, of the reasoning, candidates of a sample), most first.
    """

    teacher: str
    language: str
    num_candidates: int
    num_reasoned: int
    reasoning_tokens: float | None
    response_tokens: float | None
    token_share: float | None
    cost_usd: float | None
    reasoning_cost_usd: float | None
    cost_share: float | None
    num_uncounted: int
    num_unfinished: int
    response_in_language: float | None
    reasoning_in_language: float | None
    languages: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class ReasoningSummary:
    """Reasoning of a run: of the teachers that reason, and by language."""

    by_teacher: tuple[ReasoningRow, ...]
    by_language: tuple[ReasoningRow, ...]


class ReasoningBuilder:
    """Takes in the shards of a run."""

    def __init__(self, table: CandidateTable) -> None:
        self._counts: defaultdict[Cell, ReasoningCounts] = defaultdict(ReasoningCounts)
        self._prices = _prompt_prices(table)
        self._checks = {
            "response": _checks_of(table, LanguageConfusionCheckConfig().kind),
            "reasoning": _checks_of(table, ReasoningLanguageConfig().kind),
        }

    def add(self, shard: CandidateShard) -> None:
        """Take in one shard."""
        columns = [shard.candidates[name].to_pylist() for name in _COLUMNS]
        languages = shard.languages_of(shard.candidates).to_pylist()
        text, reasoning = shard.candidates["text"], shard.candidates["reasoning"]
        reasons = pc.greater(pc.fill_null(pc.utf8_length(reasoning), 0), 0).to_pylist()
        for row, (language, is_reasoned, teacher, prompt, completion, tokens, cost) in enumerate(
            zip(languages, reasons, *columns, strict=True)
        ):
            counts = self._counts[teacher, language]
            counts.num_candidates += 1
            if cost is not None:
                counts.cost_usd = (counts.cost_usd or 0.0) + cost
            if not is_reasoned:
                continue
            counts.num_reasoned += 1
            if tokens is not None and completion:
                counts.num_counted += 1
                counts.reasoning_tokens += tokens
                counts.response_tokens += max(0, completion - tokens)
                paid = (cost or 0.0) - (prompt or 0) * self._prices.get(teacher, 0.0)
                counts.reasoning_cost_usd += max(0.0, paid) * min(1.0, tokens / completion)
            if counts.languages.total() < IDENTIFIED_PER_CELL:
                pair = (_language_of(str(part[row]), language) for part in (text, reasoning))
                counts.languages[next(pair), next(pair)] += 1

    def build(self, tally: Tally, rejects: Sequence[RejectCount]) -> ReasoningSummary | None:
        """Return the figures; None where no candidate has reasoning.

        Args:
            tally: what the checks found.
            rejects: of the run.
        """
        for reject in rejects:
            if reject.reason == UNFINISHED and reject.stage == "generate" and reject.teacher:
                self._counts[reject.teacher, reject.language].num_unfinished += reject.count
        wanted = {
            teacher for (teacher, _), found in self._counts.items() if found.num_reasoned or found.num_unfinished
        }
        if not any(found.num_reasoned for found in self._counts.values()):
            return None
        totals: defaultdict[str, ReasoningCounts] = defaultdict(ReasoningCounts)
        for (teacher, language), counts in self._counts.items():
            for part, names in self._checks.items():
                for name in names:
                    cell = tally.cell(measures.FAILS + name, language, teacher)
                    counts.checked[part] += cell.count
                    counts.passed[part] += cell.count - round(cell.total)
            totals[teacher].add(counts)
        return ReasoningSummary(
            by_teacher=tuple(_row(teacher, "", totals[teacher]) for teacher in sorted(wanted)),
            by_language=tuple(_row(*cell, self._counts[cell]) for cell in sorted(self._counts) if cell[0] in wanted),
        )


def unfinished_by_teacher(rejects: Sequence[RejectCount]) -> Counter[str]:
    """Count by teacher the candidates that ended before an answer to their reasoning."""
    found: Counter[str] = Counter()
    for reject in rejects:
        if reject.reason == UNFINISHED and reject.stage == "generate" and reject.teacher:
            found[reject.teacher] += reject.count
    return found


def _row(teacher: str, language: str, counts: ReasoningCounts) -> ReasoningRow:
    tokens = counts.reasoning_tokens + counts.response_tokens
    num = counts.num_counted
    has_cost = counts.cost_usd is not None and num > 0
    ranked = sorted(counts.languages.items(), key=lambda item: (-item[1], item[0]))
    return ReasoningRow(
        teacher=teacher,
        language=language,
        num_candidates=counts.num_candidates,
        num_reasoned=counts.num_reasoned,
        reasoning_tokens=counts.reasoning_tokens / num if num else None,
        response_tokens=counts.response_tokens / num if num else None,
        token_share=counts.reasoning_tokens / tokens if tokens else None,
        cost_usd=counts.cost_usd,
        reasoning_cost_usd=counts.reasoning_cost_usd if has_cost else None,
        cost_share=counts.reasoning_cost_usd / counts.cost_usd if has_cost and counts.cost_usd else None,
        num_uncounted=counts.num_reasoned - num,
        num_unfinished=counts.num_unfinished,
        response_in_language=_share(counts, "response"),
        reasoning_in_language=_share(counts, "reasoning"),
        languages=tuple((response, reasoning, number) for (response, reasoning), number in ranked),
    )


def _share(counts: ReasoningCounts, part: str) -> float | None:
    return counts.passed[part] / counts.checked[part] if counts.checked[part] else None


def _language_of(text: str, wanted: str) -> str:
    """Return a text's language as `language_confusion` tells it: the prompt's, unless it is reliably in another one.

    'und' where there are too few letters to tell, or where the prompt's language is not known.
    """
    rest = prose(text[:IDENTIFIED_CHARS])
    if count_scripts(rest).total() < LETTERS_TO_IDENTIFY:
        return UNKNOWN
    found = identify(rest) if wanted == UNKNOWN else find_contradiction(rest, wanted)
    return found.language if found else wanted


def _prompt_prices(table: CandidateTable) -> dict[str, float]:
    """Read from the plan what each teacher's prompt tokens cost: that money is not paid for reasoning."""
    found = {}
    for step in table.steps["candidates"]:
        teacher = table.run.step(step).config.get("teacher")
        if isinstance(teacher, dict):
            cost: Mapping[str, float] = teacher.get("cost") or {}
            found[str(teacher["name"])] = float(cost.get("usd_per_million_prompt_tokens") or 0.0) / 1e6
    return found


def _checks_of(table: CandidateTable, kind: str) -> tuple[str, ...]:
    """Return what the checks of a kind are called."""
    return tuple(name for name, check in table.checks.items() if check.get("kind") == kind)
