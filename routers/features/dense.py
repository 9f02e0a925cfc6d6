"""A short dense vector for each prompt: its n-grams in their principal directions, beside its tags.

Latent semantic analysis (Deerwester et al. 1990) of hashed n-grams, by a randomised decomposition (Halko et al.
2011).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from arbitrage.candidates.queries import Queries
from routers.features.ngrams import Ngrams, ngrams_of
from routers.features.tags import TagVocabulary, one_hot, vocabulary_of

Floats = NDArray[np.float64]

NUM_DIRECTIONS: Final = 64
MAX_TEXTS: Final = 20_000
"""Maximum number of texts that the directions are computed from; more would not change them."""
TAG_LENGTH: Final = {"language": 1.0, "task": 0.3}
"""Length of a tag's vector (a text's is 1): so prompts in other languages are not nearest neighbours."""


@dataclass(frozen=True, slots=True)
class DenseSpace:
    """Directions of the training texts, and the tags of the training prompts.

    Attributes:
        ngrams: the n-grams of a text.
        directions_FK: n-grams × directions.
        tags: levels of tags in the vector; empty for a space without tags.
    """

    ngrams: Ngrams
    directions_FK: NDArray[np.float32]
    tags: tuple[TagVocabulary, ...]

    def read(self, queries: Queries) -> Floats:
        """Return the vectors, shape (P, K + tags): a text part of unit length beside 0/1 tags times `TAG_LENGTH`."""
        found_UK = np.asarray(self.ngrams.read(queries) @ self.directions_FK, np.float64)
        found_UK /= np.maximum(np.linalg.norm(found_UK, axis=1, keepdims=True), 1e-9)
        tags = [TAG_LENGTH[v.level] * one_hot(v.codes(queries), len(v.values)) for v in self.tags]
        return np.hstack([found_UK[queries.text_P], *tags])

    def place_of(self, level: str) -> tuple[TagVocabulary, slice] | None:
        """Return the values of a tag, and their columns; None if the space has no such tag."""
        start = self.directions_FK.shape[1]
        for vocabulary in self.tags:
            end = start + len(vocabulary.values)
            if vocabulary.level == level:
                return vocabulary, slice(start, end)
            start = end
        return None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that an artifact stores."""
        return {"buckets": self.ngrams.buckets, "idf": self.ngrams.idf, "directions_FK": self.directions_FK}

    def values(self) -> dict[str, list[str]]:
        """Return the JSON values that an artifact stores."""
        return {v.level: list(v.values) for v in self.tags}


def fit_space(queries: Queries, *, with_tags: bool, seed: int) -> DenseSpace:
    """Compute the directions in which the training texts differ most."""
    from sklearn.utils.extmath import randomized_svd

    ngrams = ngrams_of(queries)
    texts = np.unique(queries.text_P)
    if len(texts) > MAX_TEXTS:
        texts = np.sort(np.random.default_rng(seed).choice(texts, MAX_TEXTS, replace=False))
    rows = ngrams.read(queries)[texts]
    num = min(NUM_DIRECTIONS, min(rows.shape) - 1)
    directions_KF = np.zeros((1, rows.shape[1]))  # rows of texts without n-grams
    if rows.shape[1]:
        directions_KF = randomized_svd(rows, max(num, 1), n_iter=2, random_state=seed)[2]
    tags = [vocabulary_of(queries, level) for level in TAG_LENGTH] if with_tags else []
    return DenseSpace(ngrams, np.ascontiguousarray(directions_KF.T, np.float32), tuple(tags))


def restore_space(arrays: Mapping[str, NDArray[Any]], values: Mapping[str, list[str]]) -> DenseSpace:
    """Rebuild the space from its `arrays` and `values`."""
    tags = tuple(TagVocabulary(level, tuple(values[level])) for level in TAG_LENGTH if level in values)
    return DenseSpace(Ngrams(arrays["buckets"], arrays["idf"]), arrays["directions_FK"], tags)
