"""Add a new model to a trained router from about 100 probe prompts, without training the router again.

Its expected reward is a mixture of those of the existing models, plus what its own rewards show on hard prompts and
in a language, family, script or task (`routers/new_models/collaborative.py`). Plain means of so few prompts mislead.
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
from routers.new_models.collaborative import ModelEstimate, estimate, evidence_of, tune
from routers.new_models.probe_prompts import NUM_PROBE_PROMPTS

EXPLORE_ONLY_BELOW: Final = 32
"""With fewer probe prompts a new model is never chosen for its expected reward, only explored."""
CAUTION: Final = 0.25
"""Standard errors subtracted from the expected reward of a new model; proportionally more with fewer probe prompts,
where the standard error is a guess, too."""
NEVER: Final = 1e6
"""Subtracted from the expected reward of a new model that is only explored."""
TAGS: Final = ("family", "script", "language", "task")
"""Levels at which a new model may differ from the existing models."""


@dataclass(frozen=True, slots=True)
class Extended:
    """A router with one more teacher.

    Attributes:
        predictor: of all of them.
        teachers: all names, sorted: the columns of the predictor.
        num_prompts: number of probe prompts that the new model has a reward for.
    """

    predictor: Learned
    teachers: tuple[str, ...]
    num_prompts: int

    @property
    def is_explore_only(self) -> bool:
        """Whether there are too few probe prompts to choose the model for its expected reward."""
        return self.num_prompts < EXPLORE_ONLY_BELOW


def add_new_model(learned: Learned, existing: RewardMatrix, name: str, rows: Rows, rewards_N: Floats) -> Extended:
    """Add a new model to a trained router.

    Args:
        learned: the router of the existing models, trained on their matrix.
        existing: that matrix.
        name: of the new model.
        rows: its probe prompts, as rows of the matrix.
        rewards_N: its rewards, same order; NaN where it may not be sampled: such prompts are left out.

    Raises:
        UserError: the name is taken, or no prompt has a reward for it.
    """
    if name in existing.teachers:
        raise UserError(f"add-teacher: '{name}' is in the router's pool already")
    is_answered_N = np.isfinite(rewards_N)
    rows, rewards_N = rows[is_answered_N], rewards_N[is_answered_N]
    if not len(rows):
        raise UserError(f"add-teacher: no prompt has a reward for '{name}'; {NUM_PROBE_PROMPTS} are usual")
    levels = [vocabulary for vocabulary in learned.prior.design.levels if vocabulary.level in TAGS]
    tags_PG = _tags(levels, existing.queries)
    columns = _judged_columns(learned.price)
    expected_PT, rewards_PT = learned.predict(existing.queries)[:, columns], existing.rewards_PT[:, columns]
    penalties = tune(expected_PT, rewards_PT, tags_PG, rows)
    found = estimate(evidence_of(expected_PT, rewards_PT, tags_PG), rows, rewards_N, penalties)
    share_T = np.zeros(len(existing.teachers))
    share_T[columns] = found.share_T
    found = replace(found, share_T=share_T)
    caution = CAUTION * max(NUM_PROBE_PROMPTS / len(rows), 1.0)
    price_R = caution * _errors(learned.price, existing.queries, found.error_P)
    if len(rows) < EXPLORE_ONLY_BELOW:
        price_R += NEVER
    place = int(np.searchsorted(existing.teachers, name))
    teachers = (*existing.teachers[:place], name, *existing.teachers[place:])
    return Extended(join_column(learned, found, levels, price_R, place), teachers, len(rows))


def join_column(
    learned: Learned, found: ModelEstimate, levels: Sequence[TagVocabulary], price_R: Floats, place: int
) -> Learned:
    """Insert the new model's column; `price_R` (languages, unseen ones last) is subtracted from it."""

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


def _judged_columns(price: Table) -> Rows:
    """Return the columns of existing models that have an expected reward, not those only explored."""
    return np.flatnonzero(price.means_T > -NEVER / 2)


def _tags(levels: Sequence[TagVocabulary], queries: Queries) -> Floats:
    """Return the 0/1 columns of all levels, (P, G)."""
    blocks = [one_hot(vocabulary.codes(queries), len(vocabulary.values)) for vocabulary in levels]
    return np.hstack([np.zeros((len(queries), 0)), *blocks])


def _errors(price: Table, queries: Queries, error_P: Floats) -> Floats:
    """Return the mean standard error by language; last, for languages without training prompts, the largest."""
    codes_P = price.vocabulary.codes(queries)
    seen = np.flatnonzero(codes_P != UNSEEN)
    num_R = np.bincount(codes_P[seen], minlength=len(price.vocabulary.values))
    mean_R = np.bincount(codes_P[seen], weights=error_P[seen], minlength=len(num_R)) / np.maximum(num_R, 1)
    return np.append(mean_R, mean_R.max(initial=0.0))
