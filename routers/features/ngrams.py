"""Hashed n-grams: words, and character four-grams inside words, counted for a batch of texts by array arithmetic.

Feature hashing after Weinberger et al. 2009 ("Feature hashing for large scale multitask learning"); the hash is a
polynomial over code points, mixed by the finaliser of SplitMix64, so it is the same on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from arbitrage.candidates.queries import Queries

NUM_BITS = 18
NUM_BUCKETS = 1 << NUM_BITS
NUM_CHARACTERS = 2000
"""Characters used of a text: the topic shows early, and the work per prompt is bounded."""
GRAM = 4
BLOCK = 512
"""Texts hashed at a time: 512 of 600 characters keep the arrays in the cache of a core."""

MIN_TEXTS = 2
"""Minimum number of training texts with an n-gram for it to be used."""

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SPACE = 32

Keys = NDArray[np.uint64]
Singles = NDArray[np.float32]


def count_ngrams(texts: Sequence[str]) -> sparse.csr_matrix:
    """Count hashed n-grams.

    Returns:
        log(1 + count), float32, shape (texts, `NUM_BUCKETS`).
    """
    blocks = [_count_block(texts[start : start + BLOCK]) for start in range(0, len(texts), BLOCK)]
    return sparse.vstack(blocks, format="csr") if blocks else sparse.csr_matrix((0, NUM_BUCKETS), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Ngrams:
    """The n-grams of the training texts, and their inverse document frequencies."""

    buckets: NDArray[np.int64]
    idf: Singles

    def read(self, queries: Queries) -> sparse.csr_matrix:
        """Return rows of unit length for `queries.texts`, float32, shape (texts, len(buckets))."""
        counts = queries.derive("ngrams", count_ngrams)
        return self.weigh(counts)

    def weigh(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """Weight the known n-grams of counted texts by rarity, and normalise each row to unit length."""
        column_of = np.full(NUM_BUCKETS, -1, np.int32)
        column_of[self.buckets] = np.arange(len(self.buckets), dtype=np.int32)
        columns = column_of[counts.indices]
        known = columns >= 0
        bounds = np.concatenate([[0], np.cumsum(known)])[counts.indptr]
        columns = columns[known]
        data = counts.data[known] * self.idf[columns]
        shape = (counts.shape[0], len(self.buckets))
        rows = sparse.csr_matrix((data, columns, bounds), shape=shape)
        squares = np.bincount(np.repeat(np.arange(shape[0]), np.diff(bounds)), weights=data**2, minlength=shape[0])
        length = np.sqrt(np.maximum(squares, 1e-12)).astype(np.float32)
        rows.data /= np.repeat(length, np.diff(bounds))
        return rows


def ngrams_of(queries: Queries) -> Ngrams:
    """Collect the n-grams of the texts in `queries`."""
    counts = queries.derive("ngrams", count_ngrams)[np.unique(queries.text_P)]
    num_texts = np.bincount(counts.indices, minlength=NUM_BUCKETS)
    buckets = np.flatnonzero(num_texts >= min(MIN_TEXTS, counts.shape[0]))
    idf = np.log((1 + counts.shape[0]) / (1 + num_texts[buckets])) + 1
    return Ngrams(buckets, idf.astype(np.float32))


def _count_block(texts: Sequence[str]) -> sparse.csr_matrix:
    padded = [f" {' '.join(text[:NUM_CHARACTERS].lower().split())} " for text in texts]
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    code_points = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32)
    text_of = np.repeat(np.arange(len(padded), dtype=np.uint64), lengths)
    rows, keys = zip(_words(code_points, text_of), _grams(code_points, text_of), strict=True)
    cells = (np.concatenate(rows) << np.uint64(NUM_BITS)) | (np.concatenate(keys) >> np.uint64(64 - NUM_BITS))
    cells.sort()
    first = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]])) if len(cells) else np.zeros(0, np.int64)
    counts = np.diff(np.append(first, len(cells)))
    cells = cells[first]
    bounds = np.searchsorted(cells, np.arange(len(texts) + 1, dtype=np.uint64) << np.uint64(NUM_BITS))
    buckets = (cells & np.uint64(NUM_BUCKETS - 1)).astype(np.int32)
    shape = (len(texts), NUM_BUCKETS)
    return sparse.csr_matrix((np.log1p(counts.astype(np.float32)), buckets, bounds), shape=shape)


def _grams(code_points: NDArray[np.uint32], text_of: Keys) -> tuple[Keys, Keys]:
    """Hash every run of `GRAM` characters that has no space inside (one may begin or end it)."""
    if len(code_points) < GRAM:
        return text_of[:0], text_of[:0]
    num = len(code_points) - GRAM + 1
    hashed = code_points[:num].astype(np.uint64)
    inside = np.ones(num, bool)
    for offset in range(1, GRAM):
        following = code_points[offset : offset + num]
        hashed = hashed * _PRIME + following
        if offset < GRAM - 1:
            inside &= following != _SPACE
    return text_of[:num][inside], _mixed(hashed[inside])


def _words(code_points: NDArray[np.uint32], text_of: Keys) -> tuple[Keys, Keys]:
    """Hash every run of characters between spaces: the sum of its characters' hashes, each times its odd position."""
    is_letter = code_points != _SPACE
    if not is_letter.any():
        return text_of[:0], text_of[:0]
    starts = np.flatnonzero(is_letter[1:] & ~is_letter[:-1]) + 1
    at = np.flatnonzero(is_letter)
    opens = np.concatenate([[0], np.flatnonzero(np.diff(at) > 1) + 1])
    within = np.arange(len(at)) - np.repeat(opens, np.diff(np.append(opens, len(at))))
    terms = _mixed(code_points[at].astype(np.uint64)) * (2 * within + 1).astype(np.uint64)
    return text_of[starts], _mixed(np.add.reduceat(terms, opens) + _PRIME)


def _mixed(keys: Keys) -> Keys:
    keys = (keys ^ (keys >> np.uint64(30))) * _MIX
    return keys ^ (keys >> np.uint64(27)) * _PRIME
