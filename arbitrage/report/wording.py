"""Sentences of the report: the headline, and caveats."""

from dataclasses import dataclass

from arbitrage.report.comparing import StrategyRow
from arbitrage.report.formatting import (
    compact,
    difference_form,
    metric_form,
    percent,
    share,
    signed,
)
from arbitrage.report.summary import Judged, RunSummary
from arbitrage.statistics import Estimate

NOT_EVIDENCE = "selected by the same score: not evidence"
"""Shown wherever strategies are compared by a score that also selects."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The headline: two values, their difference, and whether it is clear of zero.

    Attributes:
        shares: share of the prompts with a response on either side; empty if both cover all.
        is_evidence: the score that compares them was not used in the selection.
    """

    value: str
    base_name: str
    base_value: str
    difference: str
    interval: str
    relative: str
    is_better: bool | None  # None: the interval includes zero
    budget: str
    shares: str
    is_evidence: bool


def headline(judged: Judged | None) -> Headline | None:
    """Return reward-based arbitrage against the best single teacher, or None if one of them is missing."""
    if judged is None:
        return None
    row, base = judged.row("reward", "all", "teachers"), judged.row("best single", "one")
    if row is None or base is None or judged.max_teachers < 2:
        return None
    return _verdict(judged, row, base, row.difference)


def matched_headline(judged: Judged | None) -> Headline | None:
    """Return the same at an equal number of generations; None if the run has too few samples."""
    if judged is None or judged.max_teachers < 2:
        return None
    for budget in ("teachers", "matched"):
        row, base = judged.row("reward", budget), judged.row("best single", budget)
        if row is not None and base is not None:
            return _verdict(judged, row, base, row.matched)
    return None


def why_not(error: str) -> str:
    """Return in words why an ensemble gave no score, from `Score.error`."""
    kind, _, what = error.partition(":")
    words = {"filter": f"fails {what}", "unscored": f"no score by {what}", "candidate": f"teacher failed: {what}"}
    return words.get(kind, error)


def caveats(summary: RunSummary) -> list[str]:
    """Return remarks to read before the figures, most important first."""
    found = []
    if summary.status != "complete":
        found.append(
            f"A pilot: {summary.num_shards_done} of {summary.num_shards} shards. "
            "Prompts are assigned to shards by hash, so they are a fair sample of the whole."
        )
    judged = summary.judged
    if judged is None:
        nothing = (
            "There is no score to compare by (no value of a reward or exact check): strategies cannot be compared."
        )
        return [*found, nothing]
    return [*found, *_about_metric(judged), *_about_table(summary, judged)]


def _about_metric(judged: Judged) -> list[str]:
    if judged.metric.is_held_out:
        return []
    exact = "" if judged.metric.kind == "accuracy" else "prompts with a reference and the check “exact”, or "
    return [
        f"Compared by {judged.metric.name}, a score that also selects: the chosen answers lead by it whatever they "
        "are worth, so no difference to “reward” here is evidence. For evidence add a score that has no say in the "
        f"selection: {exact}a reward, a committee or recorded scores that “ensemble.weights” does not name."
    ]


def _about_table(summary: RunSummary, judged: Judged) -> list[str]:
    found = []
    best = judged.row("best single", "one")
    if judged.max_teachers < 2:
        found.append(
            "Only one teacher was sampled for each prompt, so teachers are seen on different prompts and strategies "
            "cannot be compared on one table."
        )
    elif best is not None and best.coverage < 0.99:
        found.append(
            f"The best single teacher answers {percent(best.coverage)} of the prompts; where it answers it reaches "
            f"{metric_form(judged.metric).value(best.where_answered)}. Absent responses count as wrong."
            if judged.metric.kind == "accuracy"
            else f"The best single teacher answers {percent(best.coverage)} of the prompts; values are means over "
            "the prompts that a strategy answers, differences over those that both sides answer."
        )
    if judged.matched_size is None and judged.max_teachers >= 2:
        found.append(
            "One sample was drawn of each teacher, so arbitrage cannot be set against best-of-m of one teacher at "
            "the same budget; draw several (sampling.n) to see it."
        )
    if judged.overall.num_clusters < 30:
        found.append(
            f"Only {judged.overall.num_clusters} independent groups of prompts: intervals are rough below about 30."
        )
    num_judged = judged.overall.num_prompts
    num_compared = summary.num_compared or summary.num_prompts
    if num_compared < summary.num_prompts:
        found.append(
            f"Strategies are compared on the {compact(num_compared)} prompts that were explored; on the others a "
            "router chose the teachers."
        )
    if num_judged < num_compared:
        found.append(
            f"{compact(num_judged)} of {compact(num_compared)} prompts carry a reference; strategies are "
            "judged on those."
        )
    return found


def _verdict(judged: Judged, row: StrategyRow, base: StrategyRow, difference: Estimate | None) -> Headline:
    metric, interval = judged.metric, difference.interval if difference else None
    is_clear = interval is not None and interval.excludes_zero
    relative = row.relative if base.budget == "one" else None
    return Headline(
        value=metric_form(metric).value(row.value),
        base_name=judged.best_single,
        base_value=metric_form(metric).value(base.value),
        difference=difference_form(metric).value(difference) + (" points" if metric.kind == "accuracy" else ""),
        interval=difference_form(metric).interval(difference),
        relative=f" ({signed(relative.value * 100, 1)} % relative)" if relative else "",
        is_better=(difference.value > 0) if is_clear and difference else None,
        budget=_budget(row, base),
        shares=_shares(row, base),
        is_evidence=metric.is_held_out,
    )


def _shares(row: StrategyRow, base: StrategyRow) -> str:
    if min(row.coverage, base.coverage) > 0.995:
        return ""
    return (
        f"reward-based arbitrage answers {share(row.coverage)} of the prompts, the best single teacher "
        f"{share(base.coverage)}"
    )


def _budget(row: StrategyRow, base: StrategyRow) -> str:
    mine, other = (f"{r.generations_per_prompt:.1f}".removesuffix(".0") for r in (row, base))
    if mine == other:
        return f"at {mine} generations per prompt each"
    return f"at {mine} generations per prompt against {other}"
