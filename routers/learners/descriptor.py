"""Route by what is known of a teacher, so that a new one joins without retraining; after Nexus [2408.15901].

A teacher's vector e_t describes it: how good it is overall, its profile over languages, and what the prompts look
like that it excels at. The score of a prompt is ⟨W x, e_t⟩, W learned from all teachers together: a newcomer needs
only a vector.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from pydantic import Field

from arbitrage.errors import UserError
from arbitrage.outcomes.matrix import OutcomeMatrix, centred
from arbitrage.outcomes.queries import Queries
from routers.features.dense import DenseSpace, fit_space, restore_space
from routers.features.tags import Vocabulary, one_hot, vocabulary_of
from routers.learners.bilinear import fit_bilinear
from routers.learners.learner import Floats, LearnerConfig, State, nested

TINY: Final = 1e-9


class DescriptorLearner(LearnerConfig):
    """Low-rank bilinear ridge between prompts and descriptions of teachers.

    Attributes:
        rank: of what W adds to its prior.
        penalty: λ, in prompts.
        seed: of the decomposition of the texts.
    """

    kind: Literal["descriptor"] = "descriptor"
    rank: int = Field(default=8, ge=1)
    penalty: float = Field(default=10.0, gt=0.0)
    seed: int = 0

    def fit(self, matrix: OutcomeMatrix) -> "Descriptor":
        """Describe the teachers, then learn which descriptions suit which prompts.

        W is shrunk towards taking descriptions at their word: level, plus the profile's entry for the language, plus
        likeness to the prompts the teacher excels at.
        """
        residual_PT, means_T = centred(matrix.rewards_PT)
        advantage_PT = np.where(matrix.admitted_PT, residual_PT + means_T, np.nan)
        space = fit_space(matrix.queries, with_tags=False, seed=self.seed)
        languages = vocabulary_of(matrix.queries, "language")
        whitening_KK = _whitening(space.read(matrix.queries), self.penalty)
        reader = Reader(space, languages, whitening_KK, 0.0, 0.0).trusting(matrix.queries, advantage_PT)
        features_PD = reader.read(matrix.queries)
        described_TD = reader.describe(features_PD, advantage_PT)
        left_PT = np.nan_to_num(advantage_PT - features_PD @ described_TD.T)
        # descriptions of length about 1, so that λ is in prompts
        scale = float(np.sqrt((described_TD**2).sum(axis=1).mean())) or 1.0
        added_DD = fit_bilinear(features_PD, described_TD / scale, left_PT, self.penalty, self.rank) / scale
        return Descriptor(reader, np.eye(len(added_DD)) + added_DD, described_TD)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads prompts and teachers into the same D places: a constant, the languages, the directions of texts.

    Attributes:
        space: directions of texts.
        languages: that training saw.
        whitening_KK: gives the directions unit variance, rare ones less.
        doubt_language: prompts in a language at which what a teacher shows there counts by half.
        doubt_text: prompts at which what the texts say of a teacher counts by half.
    """

    space: DenseSpace
    languages: Vocabulary
    whitening_KK: Floats
    doubt_language: float
    doubt_text: float

    @property
    def num_plain(self) -> int:
        """Number of places before those of the texts."""
        return 1 + len(self.languages.values)

    def read(self, queries: Queries) -> Floats:
        """Return prompts, shape (P, D)."""
        language_PL = one_hot(self.languages.codes(queries), self.num_plain - 1)
        return np.hstack([np.ones((len(queries), 1)), language_PL, self.space.read(queries) @ self.whitening_KK])

    def describe(self, features_PD: Floats, advantage_PT: Floats) -> Floats:
        """Return descriptions, shape (T, D).

        Args:
            features_PD: what `read` returned.
            advantage_PT: rewards without the prompts' contribution, NaN where a teacher was not asked.
        """
        asked_PT = np.isfinite(advantage_PT)
        num_T1 = np.maximum(asked_PT.sum(axis=0), 1)[:, None]
        level_T1 = np.nan_to_num(advantage_PT).sum(axis=0)[:, None] / num_T1
        language_PL, text_PK = features_PD[:, 1 : self.num_plain], features_PD[:, self.num_plain :]
        left_PT = np.where(asked_PT, advantage_PT - level_T1.T, 0.0)
        num_TL = asked_PT.T.astype(np.float64) @ language_PL
        profile_TL = (left_PT.T @ language_PL) / np.maximum(num_TL + self.doubt_language, TINY)
        left_PT = np.where(asked_PT, left_PT - language_PL @ profile_TL.T, 0.0)
        # prompts weigh by how far the teacher surpassed itself there: the mean of won prompts less that of lost ones
        excels_TK = left_PT.T @ text_PK / (num_T1 + self.doubt_text)
        return np.hstack([level_T1, profile_TL, excels_TK])

    def trusting(self, queries: Queries, advantage_PT: Floats) -> "Reader":
        """Return a reader that doubts as much as the incumbents' noise and variety warrant (empirical Bayes)."""
        features_PD = self.read(queries)
        plain_TD = self.describe(features_PD, advantage_PT)
        asked_PT = np.isfinite(advantage_PT)
        noise = float(np.var((advantage_PT - features_PD @ plain_TD.T)[asked_PT]))
        profile_TL, excels_TK = plain_TD[:, 1 : self.num_plain], plain_TD[:, self.num_plain :]
        num_TL = asked_PT.T.astype(np.float64) @ features_PD[:, 1 : self.num_plain]
        known_TL = num_TL > 0
        variety = float((profile_TL**2 - noise / np.maximum(num_TL, 1.0))[known_TL].mean()) if known_TL.any() else 0.0
        num_K = excels_TK.shape[1]
        strength = float((excels_TK**2).sum(axis=1).mean()) - num_K * noise / len(queries)
        doubts = noise / max(variety, TINY), num_K * noise / max(strength, TINY)
        return replace(self, doubt_language=doubts[0], doubt_text=doubts[1])


@dataclass(frozen=True, slots=True)
class Descriptor:
    """W and the teachers' descriptions."""

    reader: Reader
    weights_DD: Floats
    described_TD: Floats

    def predict(self, queries: Queries) -> Floats:
        """Return the scores, shape (P, T)."""
        found: Floats = self.reader.read(queries) @ self.weights_DD @ self.described_TD.T
        return found

    def state(self) -> State:
        """Return reader, W and descriptions."""
        space = State(self.reader.space.arrays(), self.reader.space.values())
        doubts = {"doubt_language": self.reader.doubt_language, "doubt_text": self.reader.doubt_text}
        arrays = {
            "whitening_KK": self.reader.whitening_KK,
            "weights_DD": self.weights_DD,
            "described_TD": self.described_TD,
        }
        own = State(arrays, {"languages": list(self.reader.languages.values), **doubts})
        return nested({}, space=space, teachers=own)


def restore_descriptor(state: State) -> Descriptor:
    """Make the predictor of its state."""
    space, own = state.part("space"), state.part("teachers")
    languages = Vocabulary("language", tuple(own.values["languages"]))
    doubts = own.values["doubt_language"], own.values["doubt_text"]
    found = restore_space(space.arrays, space.values)
    reader = Reader(found, languages, own.arrays["whitening_KK"], *doubts)
    return Descriptor(reader, own.arrays["weights_DD"], own.arrays["described_TD"])


def admit(predictor: Descriptor, probe: OutcomeMatrix, name: str) -> Descriptor:
    """Let a new teacher join; nothing is learned again.

    Args:
        predictor: of the incumbents.
        probe: 50 to 200 prompts, scored for the incumbents and the new teacher.
        name: of the new teacher; its column takes its place in the order of names.

    Raises:
        UserError: the probe's teachers are not the incumbents and the new one, or the new one answered nothing.
    """
    num_T = len(predictor.described_TD)
    if name not in probe.teachers or len(probe.teachers) != num_T + 1:
        wanted = f"those of the {num_T} teachers the router knows, and of '{name}'"
        raise UserError(f"probe: holds rewards of {', '.join(probe.teachers)}; wanted {wanted}")
    place = probe.teachers.index(name)
    level_T = predictor.described_TD[:, 0]
    # the incumbents say how hard each prompt is
    incumbents_PT = np.delete(probe.rewards_PT, place, axis=1)
    known_PT = np.isfinite(incumbents_PT)
    easy_P = np.where(known_PT, incumbents_PT - level_T, 0.0).sum(axis=1) / np.maximum(known_PT.sum(axis=1), 1)
    advantage_P = np.where(known_PT.any(axis=1), probe.rewards_PT[:, place] - easy_P, np.nan)
    if not np.isfinite(advantage_P).any():
        raise UserError(f"probe: holds no prompt that both '{name}' and another teacher answered")
    features_PD = predictor.reader.read(probe.queries)
    newcomer_1D = predictor.reader.describe(features_PD, advantage_P[:, None])
    return replace(predictor, described_TD=np.insert(predictor.described_TD, place, newcomer_1D[0], axis=0))


def _whitening(text_PK: Floats, penalty: float) -> Floats:
    """Return H with x·H·Hᵀ·Xᵀy/P = x·(XᵀX + λ)⁻¹·Xᵀy: likeness to prompts excelled at is a ridge regression."""
    squares_K, turned_KK = np.linalg.eigh(text_PK.T @ text_PK)
    scale_K = np.sqrt(len(text_PK) / (np.maximum(squares_K, 0.0) + penalty))
    return np.ascontiguousarray((turned_KK * scale_K) @ turned_KK.T)
