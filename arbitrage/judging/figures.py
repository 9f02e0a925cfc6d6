"""Figures from verdicts: win rates with paired clustered intervals, and the reliability of a judge."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arbitrage.candidates.queries import cluster_key
from arbitrage.judging.agreement import LabelAgreement, Labels, agreement
from arbitrage.judging.pairwise import Choice
from arbitrage.records import Verdict
from arbitrage.statistics import Estimate, Floats, Ints, estimate, ratios, resample_ratios

ALL = ""
"""Key of all languages together."""

SEED = 11

SHARE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)
"""Ranges of shares, and of differences of shares and correlations."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Behaviour of a judge, independent of the winner.

    Attributes:
        num_failed: matches with a verdict or score missing: they count as ties.
        errors: reasons, by verdict (two orders) or score (two sides).
        num_identical: matches with equal responses: ties without a call.
        num_inconsistent: matches on which the two orders disagree: ties.
        consistency: share of the matches judged in both orders on which the orders agree.
        first_position: share of verdicts, without ties, that prefer the response shown first; 0.5 is unbiased.
        length: correlation of winning (A 1, tie 0, B −1) with log(length of A ÷ length of B).
    """

    num_failed: int
    errors: Mapping[str, int]
    num_identical: int
    num_inconsistent: int
    consistency: Estimate | None
    first_position: Estimate | None
    length: Estimate | None


@dataclass(frozen=True, slots=True)
class WinRateRow:
    """A against B in one language (or all) by one judge. Shares are of all matches, 0..1.

    Attributes:
        a_wins, b_wins, ties: shares; they add up to 1.
        win_rate: wins of A and half the ties.
        net: wins of A minus wins of B: the paired difference.
    """

    language: str
    num_matches: int
    num_clusters: int
    a_wins: Estimate | None
    b_wins: Estimate | None
    ties: Estimate | None
    win_rate: Estimate | None
    net: Estimate | None
    reliability: Reliability


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """Agreement of a judge with people, or with another judge, on the matches it judged, in one language (or all)."""

    other: str
    language: str
    agreement: LabelAgreement


@dataclass(frozen=True, slots=True)
class JudgeFigures:
    """All figures of one judge: all languages first, then each by name; agreement with people and later judges."""

    judge: str
    asks_twice: bool
    standings: tuple[WinRateRow, ...]
    agreements: tuple[SourceFigures, ...]


PEOPLE = "people"
"""Name of the source of the labels."""


def figures_of(
    verdicts: Mapping[str, Sequence[Verdict]], asks_twice: Mapping[str, bool], labels: Labels | None = None
) -> list[JudgeFigures]:
    """Summarise verdicts, by judge.

    Args:
        verdicts: of each judge, on the same matches.
        asks_twice: whether the judge judged both orders.
        labels: human labels of them.
    """
    return [
        JudgeFigures(
            judge,
            asks_twice[judge],
            tuple(_row(language, found, asks_twice[judge]) for language, found in _by_language(rows)),
            tuple(_agreements(judge, verdicts, labels)),
        )
        for judge, rows in verdicts.items()
    ]


def _by_language(rows: Sequence[Verdict]) -> list[tuple[str, list[Verdict]]]:
    languages = sorted({row.language for row in rows})
    parts = [(language, [row for row in rows if row.language == language]) for language in languages]
    return [(ALL, list(rows)), *parts] if len(parts) != 1 else [(ALL, list(rows))]


def _row(language: str, rows: Sequence[Verdict], asks_twice: bool) -> WinRateRow:
    clusters = _clusters(rows)
    wins = {side: np.array([row.winner == side for row in rows], dtype=np.float64) for side in ("a", "b", "tie")}
    ones = np.ones(len(rows))
    columns = {side: (won, ones) for side, won in wins.items()}
    columns |= {"rate": (wins["a"] + wins["tie"] / 2, ones), "net": (wins["a"] - wins["b"], ones)}
    found = _estimates(columns | {"consistency": _consistent(rows), "first": _first(rows)}, clusters)
    hows = Counter(row.how for row in rows)
    reliability = Reliability(
        num_failed=hows["failed"],
        errors=dict(sorted(Counter(error for row in rows for error in row.errors).items())),
        num_identical=hows["identical"],
        num_inconsistent=hows["inconsistent"],
        consistency=found["consistency"] if asks_twice else None,
        first_position=found["first"] if asks_twice else None,
        length=_length(rows, clusters),
    )
    return WinRateRow(
        language=language,
        num_matches=len(rows),
        num_clusters=len(np.unique(clusters)),
        a_wins=found["a"],
        b_wins=found["b"],
        ties=found["tie"],
        win_rate=found["rate"],
        net=found["net"],
        reliability=reliability,
    )


def _estimates(columns: Mapping[str, tuple[Floats, Floats]], clusters: Ints) -> dict[str, Estimate | None]:
    numerators, denominators = (np.column_stack(side) for side in zip(*columns.values(), strict=True))
    values = ratios(numerators, denominators)
    draws = resample_ratios(numerators, denominators, clusters, seed=SEED)
    num_clusters = len(np.unique(clusters))
    return {
        name: estimate(float(values[place]), draws[:, place], num_clusters, DIFFERENCE if name == "net" else SHARE)
        for place, name in enumerate(columns)
    }


def _consistent(rows: Sequence[Verdict]) -> tuple[Floats, Floats]:
    same = np.array([row.how == "consistent" for row in rows], dtype=np.float64)
    both = np.array([row.how in ("consistent", "inconsistent") for row in rows], dtype=np.float64)
    return same, both


def _first(rows: Sequence[Verdict]) -> tuple[Floats, Floats]:
    """Count, for each match, the verdicts that prefer the first response, and those that prefer either."""
    first = np.array([(row.a_first == "a") + (row.b_first == "b") for row in rows], dtype=np.float64)
    either = np.array([(row.a_first in ("a", "b")) + (row.b_first in ("a", "b")) for row in rows], dtype=np.float64)
    return first, either


def _length(rows: Sequence[Verdict], clusters: Ints) -> Estimate | None:
    """Return Pearson's r of outcome and log length ratio over the matches that were judged; None where undefined."""
    places = [i for i, row in enumerate(rows) if _is_judged(row)]
    if len(places) < 3:
        return None
    x = np.array([np.log((1 + rows[i].a_characters) / (1 + rows[i].b_characters)) for i in places])
    y = np.array([(rows[i].winner == "a") - float(rows[i].winner == "b") for i in places])
    moments = np.column_stack([x, y, x * x, y * y, x * y])
    draws = resample_ratios(moments, np.ones_like(moments), clusters[places], seed=SEED)
    num_clusters = len(np.unique(clusters[places]))
    return estimate(float(_pearson(moments.mean(axis=0)[None])[0]), _pearson(draws), num_clusters, DIFFERENCE)


def _is_judged(row: Verdict) -> bool:
    """Tell whether a judge gave the verdict: ties of equal responses would count as agreement of any two judges."""
    return row.how not in ("failed", "identical")


def _pearson(moments_R5: Floats) -> Floats:
    x, y, xx, yy, xy = moments_R5.T
    spread = (xx - x * x) * (yy - y * y)
    found: Floats = np.full(len(x), np.nan)
    np.divide(xy - x * y, np.sqrt(np.maximum(spread, 0.0)), out=found, where=spread > 1e-12)
    return found


def _agreements(judge: str, verdicts: Mapping[str, Sequence[Verdict]], labels: Labels | None) -> list[SourceFigures]:
    rows = [row for row in verdicts[judge] if _is_judged(row)]
    said: dict[str, Mapping[str, Sequence[Choice]]] = {}
    if labels is not None:
        said[PEOPLE] = {row.match_id: labels.of(row) for row in rows}
    for other in list(verdicts)[list(verdicts).index(judge) + 1 :]:
        said[other] = {row.match_id: [row.winner] for row in verdicts[other] if _is_judged(row)}
    return [
        SourceFigures(other, language, _agreement(found, by_match))
        for other, by_match in said.items()
        for language, found in _by_language(rows)
    ]


def _agreement(rows: Sequence[Verdict], by_match: Mapping[str, Sequence[Choice]]) -> LabelAgreement:
    pairs = [(row, choice) for row in rows for choice in by_match.get(row.match_id, ())]
    clusters = _clusters([row for row, _ in pairs])
    return agreement([(row.winner, choice) for row, choice in pairs], clusters)


def _clusters(rows: Sequence[Verdict]) -> Ints:
    keys = [cluster_key(row.prompt_id, row.source_id, row.language) for row in rows]
    codes = {key: code for code, key in enumerate(dict.fromkeys(keys))}
    return np.array([codes[key] for key in keys], dtype=np.int64)
