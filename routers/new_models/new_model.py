"""A new teacher joins from about a hundred prompts that every incumbent has answered too; nobody else is retrained.

What is expected of it is a mixture of what is expected of the incumbents, plus what its own answers show where
prompts are hard for all, and in a language, family, script or task (`routers/new_models/collaborative.py`). Plain
means of so few prompts mislead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from arbitrage.candidates.matrix import Floats, RewardMatrix
from arbitrage.candidates.queries import Queries, Rows
from arbitrage.errors import UserError
from routers.features.tags import UNSEEN, TagVocabulary, one_hot
from routers.learning.learned import Learned
from routers.learning.prior import Prior
from routers.learning.table import Table
from routers.learning.text import TextRidge
from routers.new_models.collaborative import ModelEstimate, estimate, look_at, tune
from routers.new_models.probe_prompts import CALIBRATION_SIZE

EXPLORE_ONLY_BELOW: Final = 32
"""With fewer prompts a newcomer is not asked on its expected merit, only to learn about it."""
CAUTION: Final = 0.25
"""Standard errors taken off what is expected of a newcomer; in proportion more where it answered fewer prompts than
usual, for then the error too is a guess."""
NEVER: Final = 1e6
"""Taken off a newcomer that is only explored."""
TAGS: Final = ("family", "script", "language", "task")
"""Levels at which a newcomer may depart from the incumbents."""


@dataclass(frozen=True, slots=True)
class Extended:
    """A router with one more teacher.

    Attributes:
        predictor: of all of them.
        teachers: all names, sorted: the columns of the predictor.
        num_prompts: how many the newcomer answered.
    """

    predictor: Learned
    teachers: tuple[str, ...]
    num_prompts: int

    @property
    def is_explore_only(self) -> bool:
        """Tell whether too little is known of the newcomer to ask it on its merit."""
        return self.num_prompts < EXPLORE_ONLY_BELOW


def add_new_model(learned: Learned, incumbents: RewardMatrix, name: str, rows: Rows, rewards_N: Floats) -> Extended:
    """Let a newcomer join a trained router.

    Args:
        learned: the router of the incumbents, trained on their matrix.
        incumbents: that matrix.
        name: of the newcomer.
        rows: the prompts that it was tried on.
        rewards_N: how well it answered, same order; NaN where it was not admitted: such prompts do not count.

    Raises:
        UserError: the name is taken, or no prompt has a reward of it.
    """
    if name in incumbents.teachers:
        raise UserError(f"add-teacher: '{name}' is in the router's pool already")
    is_answered_N = np.isfinite(rewards_N)
    rows, rewards_N = rows[is_answered_N], rewards_N[is_answered_N]
    if not len(rows):
        raise UserError(f"add-teacher: no prompt has a reward of '{name}'; it takes about {CALIBRATION_SIZE}")
    levels = [vocabulary for vocabulary in learned.prior.design.levels if vocabulary.level in TAGS]
    tags_PG = _tags(levels, incumbents.queries)
    fellows = _fellows(learned.price)
    expected_PT, rewards_PT = learned.predict(incumbents.queries)[:, fellows], incumbents.rewards_PT[:, fellows]
    penalties = tune(expected_PT, rewards_PT, tags_PG, rows)
    found = estimate(look_at(expected_PT, rewards_PT, tags_PG), rows, rewards_N, penalties)
    share_T = np.zeros(len(incumbents.teachers))
    share_T[fellows] = found.share_T
    found = replace(found, share_T=share_T)
    caution = CAUTION * max(CALIBRATION_SIZE / len(rows), 1.0)
    price_R = caution * _errors(learned.price, incumbents.queries, found.error_P)
    if len(rows) < EXPLORE_ONLY_BELOW:
        price_R += NEVER
    place = int(np.searchsorted(incumbents.teachers, name))
    teachers = (*incumbents.teachers[:place], name, *incumbents.teachers[place:])
    return Extended(join_column(learned, found, levels, price_R, place), teachers, len(rows))


def join_column(
    learned: Learned, found: ModelEstimate, levels: Sequence[TagVocabulary], price_R: Floats, place: int
) -> Learned:
    """Put the newcomer's column among those of a router; `price_R` is taken off it, unseen languages last."""

    def joined(many: Floats, added: Floats | float = 0.0) -> Floats:
        return np.insert(many, place, many @ found.share_T + added, axis=-1)

    ends = np.cumsum([len(vocabulary.values) for vocabulary in levels])
    by_level = {v.level: found.tags_G[end - len(v.values) : end] for v, end in zip(levels, ends, strict=True)}
    widths = learned.prior.design.widths
    own_X = np.concatenate([by_level.get(name, np.zeros(width)) for name, width in widths.items()])
    prior = Prior(learned.prior.design, learned.prior.strengths, joined(learned.prior.weights_XT, own_X))
    text = learned.text
    if text is not None:
        text = TextRidge(text.ngrams, joined(text.weights_FT.astype(np.float64)).astype(np.float32))
    means_T, departures_RT = learned.price.means_T, learned.price.departures_RT
    price = Table(
        learned.price.vocabulary, joined(means_T, -price_R[-1]), joined(departures_RT, price_R[-1] - price_R[:-1])
    )
    return Learned(joined(learned.means_T, found.constant), prior, price, text, learned.penalty)


def _fellows(price: Table) -> Rows:
    """Return the columns of incumbents but those only explored: what is expected of these is no expectation."""
    return np.flatnonzero(price.means_T > -NEVER / 2)


def _tags(levels: Sequence[TagVocabulary], queries: Queries) -> Floats:
    """Return the 0/1 columns of all levels, (P, G)."""
    blocks = [one_hot(vocabulary.codes(queries), len(vocabulary.values)) for vocabulary in levels]
    return np.hstack([np.zeros((len(queries), 0)), *blocks])


def _errors(price: Table, queries: Queries, error_P: Floats) -> Floats:
    """Return the mean error about a newcomer by language; at the end, where training saw none: the largest."""
    codes_P = price.vocabulary.codes(queries)
    seen = np.flatnonzero(codes_P != UNSEEN)
    num_R = np.bincount(codes_P[seen], minlength=len(price.vocabulary.values))
    mean_R = np.bincount(codes_P[seen], weights=error_P[seen], minlength=len(num_R)) / np.maximum(num_R, 1)
    return np.append(mean_R, mean_R.max(initial=0.0))
