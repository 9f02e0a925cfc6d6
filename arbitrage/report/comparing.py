"""Estimate every strategy with intervals: over all prompts, and in each language."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arbitrage.candidates.arrays import Bools, CandidateArrays, Floats
from arbitrage.records import content_id
from arbitrage.report.ranking import Yield
from arbitrage.report.strategies import Budget, StrategyComparison, StrategyOutcome
from arbitrage.statistics import Estimate, estimate, ratios, resample_ratios


@dataclass(frozen=True, slots=True)
class StrategyRow:
    """One strategy's figures. Differences are paired, on the same prompts and resamples.

    Attributes:
        value: mean metric; for an accuracy over all prompts, with 0 for absent responses.
        generations_per_prompt: mean number of generations.
        coverage: share of the prompts with a response.
        where_answered: mean metric over the prompts with a response; None without any.
        difference: difference to the best single teacher, in units of the metric; for scores over the prompts for
            which both have a response.
        relative: the difference divided by the best single teacher's value; None for scores, which have no zero.
        matched: difference to the best single teacher at the same larger budget: its best of m samples.
        gap_closed: share of the gap from best single to oracle router; None for scores.
        note: how it chooses.
        uses_hindsight: it uses the metric itself, which no pipeline can.
        compared: share of the prompts for which both it and the best single teacher have a response.
    """

    name: str
    budget: Budget
    value: Estimate | None
    generations_per_prompt: float
    coverage: float
    where_answered: float | None
    difference: Estimate | None
    relative: Estimate | None
    matched: Estimate | None
    gap_closed: float | None
    note: str
    uses_hindsight: bool
    compared: float | None = None


@dataclass(frozen=True, slots=True)
class LanguageRows:
    """The strategies in one language."""

    language: str
    num_prompts: int
    num_clusters: int
    rows: tuple[StrategyRow, ...]


def estimate_all(arrays: CandidateArrays, comparison: StrategyComparison, seed: str) -> LanguageRows:
    """Estimate every strategy over the whole table; the result's language is empty."""
    return _estimate(arrays, comparison.outcomes, "", content_id("report", seed))


def estimate_languages(
    arrays: CandidateArrays, comparison: StrategyComparison, seed: str
) -> tuple[LanguageRows, ...]:
    """Estimate every strategy in every language, in order of tag; the best single teacher stays the overall one."""
    found = []
    for code, language in enumerate(arrays.languages):
        inside_P = arrays.language_P == code
        if inside_P.any():
            inside = [_restrict(o, inside_P) for o in comparison.outcomes]
            found.append(_estimate(arrays.only(inside_P), inside, language, content_id("report", seed, language)))
    return tuple(found)


def _restrict(outcome: StrategyOutcome, keep_P: Bools) -> StrategyOutcome:
    got = Yield(outcome.got.metric_P[keep_P], outcome.got.answered_P[keep_P], outcome.got.generations)
    return StrategyOutcome(outcome.name, outcome.budget, got, outcome.note, outcome.uses_hindsight)


def _estimate(
    arrays: CandidateArrays, outcomes: list[StrategyOutcome] | tuple[StrategyOutcome, ...], language: str, seed: str
) -> LanguageRows:
    metric_PX = np.stack([o.got.metric_P for o in outcomes], axis=1)
    answered_PX = np.stack([o.got.answered_P for o in outcomes], axis=1)
    weight_PX = np.ones_like(metric_PX) if arrays.metric.kind == "accuracy" else answered_PX
    place = {(o.name, o.budget): x for x, o in enumerate(outcomes)}
    base = place.get(("best single", "one"))
    sums = [
        (metric_PX, weight_PX),
        _against(arrays, metric_PX, answered_PX, [base] * len(outcomes)),
        _against(arrays, metric_PX, answered_PX, [_rival(place, outcome) for outcome in outcomes]),
    ]
    numerator, denominator = (np.concatenate(parts, axis=1) for parts in zip(*sums, strict=True))
    values, differences, matched = np.split(ratios(numerator, denominator), 3)
    draws_R = resample_ratios(numerator, denominator, arrays.cluster_P, seed=int(seed[:12], 16))
    draws_RX, differing_RX, matched_RX = np.split(draws_R, 3, axis=1)
    num_clusters = len(np.unique(arrays.cluster_P))
    bounds = arrays.metric.bounds
    widest = None if bounds is None else (bounds[0] - bounds[1], bounds[1] - bounds[0])
    rows = []
    for x, outcome in enumerate(outcomes):
        rows.append(
            StrategyRow(
                name=outcome.name,
                budget=outcome.budget,
                value=estimate(values[x], draws_RX[:, x], num_clusters, bounds),
                generations_per_prompt=outcome.got.generations,
                coverage=float(answered_PX[:, x].mean()),
                where_answered=_finite(ratios(metric_PX[:, [x]], answered_PX[:, [x]])[0]),
                difference=None if x == base else estimate(differences[x], differing_RX[:, x], num_clusters, widest),
                relative=_relative(arrays, values, draws_RX, x, place[("best single", "one")], num_clusters),
                matched=estimate(matched[x], matched_RX[:, x], num_clusters, widest),
                gap_closed=_gap_closed(values, x, place),
                note=outcome.note,
                uses_hindsight=outcome.uses_hindsight,
                compared=None if base is None else float((answered_PX[:, x] * answered_PX[:, base]).mean()),
            )
        )
    return LanguageRows(language, arrays.num_prompts, num_clusters, tuple(rows))


def _rival(place: dict[tuple[str, Budget], int], outcome: StrategyOutcome) -> int | None:
    rival = None if outcome.budget == "one" else place.get(("best single", outcome.budget))
    return None if rival == place[(outcome.name, outcome.budget)] else rival


def _against(
    arrays: CandidateArrays, metric_PX: Floats, answered_PX: Floats, rivals: Sequence[int | None]
) -> tuple[Floats, Floats]:
    """Return numerators and denominators of every strategy's mean difference to its reference (zeros without one).

    An absent response is wrong, so accuracies are compared on all prompts. Scores are compared on the prompts for
    which both have a response; otherwise a strategy that covers only easy prompts would lead.
    """
    numerator, weight = np.zeros_like(metric_PX), np.zeros_like(metric_PX)
    for x, rival in enumerate(rivals):
        if rival is None:
            continue
        if arrays.metric.kind == "accuracy":
            numerator[:, x], weight[:, x] = metric_PX[:, x] - metric_PX[:, rival], 1.0
        else:  # metric_PX / answered_PX is the mean where there is an answer
            numerator[:, x] = metric_PX[:, x] * answered_PX[:, rival] - metric_PX[:, rival] * answered_PX[:, x]
            weight[:, x] = answered_PX[:, x] * answered_PX[:, rival]
    return numerator, weight


def _relative(
    arrays: CandidateArrays, values_X: Floats, draws_RX: Floats, x: int, base: int, num_clusters: int
) -> Estimate | None:
    if arrays.metric.kind != "accuracy" or base == x or values_X[base] <= 0:
        return None
    base_R = np.where(draws_RX[:, base] > 0, draws_RX[:, base], np.nan)
    return estimate(values_X[x] / values_X[base] - 1, draws_RX[:, x] / base_R - 1, num_clusters)


def _gap_closed(values_X: Floats, x: int, place: dict[tuple[str, Budget], int]) -> float | None:
    oracle = place.get(("oracle router", "one"))
    if oracle is None:
        return None
    best = values_X[place[("best single", "one")]]
    gap = values_X[oracle] - best
    return _finite((values_X[x] - best) / gap) if gap > 0 else None


def _finite(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
