"""Agreement beyond chance (Cohen's κ, 1960; Scott's π, 1955) of the verdicts a, b and tie; and human labels.

Human labels are rows with a prompt's id, optionally a language, and the winner.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from arbitrage.errors import DataError
from arbitrage.inputs.columns import ResponseColumns
from arbitrage.inputs.rows import RowFault
from arbitrage.inputs.values import id_text, shown
from arbitrage.judging.answers import rows_of
from arbitrage.judging.pairwise import Choice
from arbitrage.languages import read_language
from arbitrage.records import Verdict
from arbitrage.statistics import Estimate, Floats, Ints, estimate, resample_ratios

CHOICES: tuple[Choice, ...] = ("a", "b", "tie")
SEED = 12


@dataclass(frozen=True, slots=True)
class LabelAgreement:
    """Agreement of two sources of verdicts on the same matches.

    Attributes:
        num: pairs of verdicts.
        observed: share on which they agree.
        kappa: Cohen's κ: chance agreement is the product of both margins. None if both are constant.
        pi: Scott's π: chance agreement is the square of their mean margin.
    """

    num: int
    observed: Estimate | None
    kappa: Estimate | None
    pi: Estimate | None


def agreement(pairs: Sequence[tuple[Choice, Choice]], cluster_P: Ints) -> LabelAgreement:
    """Compare verdicts pairwise; intervals by a bootstrap over clusters."""
    cells_P9 = np.zeros((len(pairs), 9))
    for row, (one, other) in enumerate(pairs):
        cells_P9[row, 3 * CHOICES.index(one) + CHOICES.index(other)] = 1.0
    if not pairs:
        return LabelAgreement(0, None, None, None)
    share_9 = cells_P9.mean(axis=0)
    drawn_R9 = resample_ratios(cells_P9, np.ones_like(cells_P9), cluster_P, seed=SEED)
    num_clusters = len(np.unique(cluster_P))
    found = [
        estimate(float(statistic(share_9[None])[0]), statistic(drawn_R9), num_clusters, bounds)
        for statistic, bounds in ((observed, (0.0, 1.0)), (kappa, (-1.0, 1.0)), (scott_pi, (-1.0, 1.0)))
    ]
    return LabelAgreement(len(pairs), *found)


def observed(table_R9: Floats) -> Floats:
    """Return the share of agreement of each table of joint shares, shape (R,)."""
    agreed_R: Floats = np.trace(_square(table_R9), axis1=1, axis2=2)
    return agreed_R


def kappa(table_R9: Floats) -> Floats:
    """Return Cohen's κ of each table; NaN if the chance agreement is 1."""
    table_R33 = _square(table_R9)
    return _beyond(table_R33, (table_R33.sum(axis=2) * table_R33.sum(axis=1)).sum(axis=1))


def scott_pi(table_R9: Floats) -> Floats:
    """Return Scott's π of each table; NaN if the chance agreement is 1."""
    table_R33 = _square(table_R9)
    return _beyond(table_R33, (((table_R33.sum(axis=2) + table_R33.sum(axis=1)) / 2) ** 2).sum(axis=1))


def _beyond(table_R33: Floats, chance_R: Floats) -> Floats:
    found: Floats = np.full(len(chance_R), np.nan)
    agreed_R: Floats = np.trace(table_R33, axis1=1, axis2=2)
    np.divide(agreed_R - chance_R, 1 - chance_R, out=found, where=chance_R < 1 - 1e-12)
    return found


def _square(table_R9: Floats) -> Floats:
    return table_R9.reshape(-1, 3, 3)


_SAID: dict[str, Choice] = {
    "a": "a",
    "b": "b",
    "tie": "tie",
    "model_a": "a",
    "model_b": "b",
    "tie (bothbad)": "tie",
    "both_bad": "tie",
}
"""Spellings of the winner by people and Chatbot Arena, in lower case."""


@dataclass
class Labels:
    """Human labels by prompt id and language; a prompt may have several."""

    by_key: dict[tuple[str, str | None], list[Choice]] = field(default_factory=dict)

    @property
    def num(self) -> int:
        """Number of labels."""
        return sum(len(found) for found in self.by_key.values())

    def of(self, verdict: Verdict) -> list[Choice]:
        """Return the labels of a match."""
        for key in (verdict.prompt_id, verdict.source_id):
            for language in (verdict.language, None):
                if found := self.by_key.get((key, language)):
                    return found
        return []


def read_labels(paths: Sequence[str], columns: ResponseColumns) -> Labels:
    """Read labels.

    Raises:
        UserError: a path matches nothing, or a column is missing.
        DataError: a row cannot be read, has no id, or names another winner than a, b or tie.
    """
    found: defaultdict[tuple[str, str | None], list[Choice]] = defaultdict(list)
    for row in rows_of(paths, columns, "winner", "--labels"):
        if isinstance(row, RowFault):
            raise DataError(f"--labels: {row.position}: {row.reason}: {row.detail}")
        said, key = columns.value(row.values, "winner"), id_text(columns.value(row.values, "id"))
        choice = _SAID.get(said.strip().lower()) if isinstance(said, str) else None
        if choice is None:
            raise DataError(f"--labels: {row.position}: the winner {shown(said)} is not one of a, b, tie")
        if key is None:
            raise DataError(f"--labels: {row.position}: has no prompt id (prompt_id, question_id, qid, id)")
        language = columns.value(row.values, "language")
        tag = read_language(language) if isinstance(language, str) else None
        found[key, tag].append(choice)
    return Labels(dict(found))
