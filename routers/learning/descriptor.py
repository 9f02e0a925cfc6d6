"""Route by descriptions of teachers, so that a new one can join without retraining; after Nexus [2408.15901].

A teacher's vector e_t holds its overall level, its profile over languages, and features of the prompts on which it is
best. The score of a prompt is ⟨W x, e_t⟩, with W learned from all teachers together: a new model needs only a vector.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import Bools, RewardMatrix, centred
from arbitrage.candidates.queries import Queries, Rows
from arbitrage.errors import UserError
from routers.features.dense import DenseSpace, fit_space, restore_space
from routers.features.tags import TagVocabulary, one_hot, vocabulary_of
from routers.learning.bilinear import fit_bilinear
from routers.learning.learner import Floats, LearnerConfig, State, nested

TINY: Final = 1e-9


class DescriptorLearner(LearnerConfig):
    """Low-rank bilinear ridge between prompts and descriptions of teachers.

    Attributes:
        rank: rank of the correction that W adds to its prior.
        penalty: λ, in clusters: thirty translations of one text say little more about texts than one.
        seed: seed of the decomposition of the texts.
    """

    kind: Literal["descriptor"] = "descriptor"
    rank: int = Field(default=8, ge=1)
    penalty: float = Field(default=10.0, gt=0.0)
    seed: int = 0

    def fit(self, matrix: RewardMatrix) -> "Descriptor":
        """Describe the teachers, then learn which descriptions fit which prompts.

        W is shrunk towards the plain sum of the description: level, plus the profile's entry for the language, plus
        similarity to the prompts on which the teacher is best.
        """
        residual_PT, means_T = centred(matrix.rewards_PT)
        advantage_PT = np.where(matrix.admitted_PT, residual_PT + means_T, np.nan)
        space = fit_space(matrix.queries, with_tags=False, seed=self.seed)
        languages = vocabulary_of(matrix.queries, "language")
        penalty = self.penalty * len(matrix) / len(np.unique(matrix.cluster_P))
        whitening_KK = _whitening(space.read(matrix.queries), penalty)
        reader = DescriptorReader(space, languages, whitening_KK, 0.0, 0.0).trusting(matrix, advantage_PT)
        features_PD = reader.read(matrix.queries)
        described_TD = reader.describe(features_PD, advantage_PT, matrix.cluster_P)
        left_PT = np.nan_to_num(advantage_PT - features_PD @ described_TD.T)
        # descriptions of length about 1, so that λ counts rows
        scale = float(np.sqrt((described_TD**2).sum(axis=1).mean())) or 1.0
        added_DD = fit_bilinear(features_PD, described_TD / scale, left_PT, penalty, self.rank) / scale
        return Descriptor(reader, np.eye(len(added_DD)) + added_DD, described_TD)


@dataclass(frozen=True, slots=True)
class DescriptorReader:
    """Maps prompts and teachers to the same D columns: a constant, the languages, the directions of texts.

    Attributes:
        space: directions of texts.
        languages: languages in the training data.
        whitening_KK: gives the directions unit variance, rare ones less.
        doubt_language: clusters in a language at which a teacher's rewards there have half the weight.
        doubt_text: clusters at which the text part of a teacher's description has half the weight.
    """

    space: DenseSpace
    languages: TagVocabulary
    whitening_KK: Floats
    doubt_language: float
    doubt_text: float

    @property
    def num_plain(self) -> int:
        """Number of columns before those of the texts."""
        return 1 + len(self.languages.values)

    def read(self, queries: Queries) -> Floats:
        """Return prompts, shape (P, D)."""
        language_PL = one_hot(self.languages.codes(queries), self.num_plain - 1)
        return np.hstack([np.ones((len(queries), 1)), language_PL, self.space.read(queries) @ self.whitening_KK])

    def describe(self, features_PD: Floats, advantage_PT: Floats, cluster_P: Rows) -> Floats:
        """Return descriptions, shape (T, D).

        Args:
            features_PD: what `read` returned.
            advantage_PT: rewards without the prompts' contribution, NaN where a teacher was not sampled.
            cluster_P: codes of clusters, the unit of evidence.
        """
        asked_PT = np.isfinite(advantage_PT)
        num_T1 = np.maximum(asked_PT.sum(axis=0), 1)[:, None]
        level_T1 = np.nan_to_num(advantage_PT).sum(axis=0)[:, None] / num_T1
        language_PL, text_PK = features_PD[:, 1 : self.num_plain], features_PD[:, self.num_plain :]
        left_PT = np.where(asked_PT, advantage_PT - level_T1.T, 0.0)
        known_TL = _count_clusters(asked_PT, language_PL, cluster_P)
        num_TL = np.maximum(asked_PT.T.astype(np.float64) @ language_PL, 1.0)
        trust_TL = known_TL / np.maximum(known_TL + self.doubt_language, TINY)
        profile_TL = trust_TL * (left_PT.T @ language_PL) / num_TL
        left_PT = np.where(asked_PT, left_PT - language_PL @ profile_TL.T, 0.0)
        known_T1 = _count_clusters(asked_PT, np.ones((len(cluster_P), 1)), cluster_P)
        trust_T1 = known_T1 / np.maximum(known_T1 + self.doubt_text, TINY)
        # prompts are weighted by the teacher's reward above its own mean
        excels_TK = trust_T1 * (left_PT.T @ text_PK) / num_T1
        return np.hstack([level_T1, profile_TL, excels_TK])

    def trusting(self, matrix: RewardMatrix, advantage_PT: Floats) -> "DescriptorReader":
        """Return a reader with shrinkage estimated from the existing models (empirical Bayes)."""
        features_PD, cluster_P = self.read(matrix.queries), matrix.cluster_P
        plain_TD = self.describe(features_PD, advantage_PT, cluster_P)
        asked_PT = np.isfinite(advantage_PT)
        noise_PT = np.where(asked_PT, advantage_PT - features_PD @ plain_TD.T, 0.0)
        language_PL, text_PK = features_PD[:, 1 : self.num_plain], features_PD[:, self.num_plain :]

        def doubt(found_TF: Floats, columns_PF: Floats, groups_PG: Floats) -> float:
            num_TG = np.maximum(asked_PT.T.astype(np.float64) @ groups_PG, 1.0)
            error_TF = _errors(noise_PT, columns_PF, cluster_P) / num_TG**2
            return _doubt(found_TF, error_TF, _count_clusters(asked_PT, groups_PG, cluster_P))

        all_P1 = np.ones((len(cluster_P), 1))
        return replace(
            self,
            doubt_language=doubt(plain_TD[:, 1 : self.num_plain], language_PL, language_PL),
            doubt_text=doubt(plain_TD[:, self.num_plain :], text_PK, all_P1),
        )


@dataclass(frozen=True, slots=True)
class Descriptor:
    """W and the teachers' descriptions."""

    reader: DescriptorReader
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
    """Rebuild the predictor from its state."""
    space, own = state.part("space"), state.part("teachers")
    languages = TagVocabulary("language", tuple(own.values["languages"]))
    doubts = own.values["doubt_language"], own.values["doubt_text"]
    found = restore_space(space.arrays, space.values)
    reader = DescriptorReader(found, languages, own.arrays["whitening_KK"], *doubts)
    return Descriptor(reader, own.arrays["weights_DD"], own.arrays["described_TD"])


def fit_model_descriptors(predictor: Descriptor, probe: RewardMatrix, name: str) -> Descriptor:
    """Add a new teacher; nothing is retrained.

    Args:
        predictor: of the existing models.
        probe: 50 to 200 prompts, scored for the existing models and the new teacher.
        name: name of the new teacher; its column is in the order of names.

    Raises:
        UserError: the probe's teachers are not the existing models and the new one, or the new one has no reward.
    """
    num_T = len(predictor.described_TD)
    if name not in probe.teachers or len(probe.teachers) != num_T + 1:
        wanted = f"those of the router's {num_T} teachers, and of '{name}'"
        raise UserError(f"probe: holds rewards of {', '.join(probe.teachers)}; wanted {wanted}")
    place = probe.teachers.index(name)
    level_T = predictor.described_TD[:, 0]
    # the existing models' rewards show how hard each prompt is
    existing_PT = np.delete(probe.rewards_PT, place, axis=1)
    known_PT = np.isfinite(existing_PT)
    easy_P = np.where(known_PT, existing_PT - level_T, 0.0).sum(axis=1) / np.maximum(known_PT.sum(axis=1), 1)
    advantage_P = np.where(known_PT.any(axis=1), probe.rewards_PT[:, place] - easy_P, np.nan)
    if not np.isfinite(advantage_P).any():
        raise UserError(f"probe: holds no prompt with rewards of both '{name}' and another teacher")
    features_PD = predictor.reader.read(probe.queries)
    new_1D = predictor.reader.describe(features_PD, advantage_P[:, None], probe.cluster_P)
    return replace(predictor, described_TD=np.insert(predictor.described_TD, place, new_1D[0], axis=0))


def _whitening(text_PK: Floats, penalty: float) -> Floats:
    """Return H with x·H·Hᵀ·Xᵀy/P = x·(XᵀX + λ)⁻¹·Xᵀy: the similarity is then a ridge regression."""
    squares_K, turned_KK = np.linalg.eigh(text_PK.T @ text_PK)
    scale_K = np.sqrt(len(text_PK) / (np.maximum(squares_K, 0.0) + penalty))
    return np.ascontiguousarray((turned_KK * scale_K) @ turned_KK.T)


def _count_clusters(asked_PT: Bools, groups_PG: Floats, cluster_P: Rows) -> Floats:
    """Return in how many clusters each teacher was sampled, by group of prompts (0/1 columns); shape (T, G)."""
    clusters, index_P = np.unique(cluster_P, return_inverse=True)
    found_TG = np.zeros((asked_PT.shape[1], groups_PG.shape[1]))
    for teacher in range(asked_PT.shape[1]):
        rows = np.flatnonzero(asked_PT[:, teacher])
        seen_CG = np.zeros((len(clusters), groups_PG.shape[1]))
        np.maximum.at(seen_CG, index_P[rows], groups_PG[rows])
        found_TG[teacher] = seen_CG.sum(axis=0)
    return found_TG


def _errors(noise_PT: Floats, features_PF: Floats, cluster_P: Rows) -> Floats:
    """Return the variance of Σ noise·features, shape (T, F); a cluster is one draw (Liang and Zeger 1986)."""
    clusters, index_P = np.unique(cluster_P, return_inverse=True)
    found_TF = np.empty((noise_PT.shape[1], features_PF.shape[1]))
    for place, noise_P in enumerate(noise_PT.T):
        sums_CF = np.zeros((len(clusters), features_PF.shape[1]))
        np.add.at(sums_CF, index_P, noise_P[:, None] * features_PF)
        found_TF[place] = (sums_CF**2).sum(axis=0)
    return found_TF


def _doubt(found_TF: Floats, error_TF: Floats, known: Floats) -> float:
    """Return clusters at which error equals variety: found² = variety + error, and error falls as 1/clusters."""
    variety = max(float((found_TF**2 - error_TF).mean()), TINY)
    return float((known * error_TF).mean()) / variety
