"""Tags of a prompt as 0/1 columns: blocks of language, family, script, task, and language with task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from arbitrage.candidates.queries import Queries, Rows
from arbitrage.languages import UNKNOWN, family_of, normalise_tag, script_of

Floats = NDArray[np.float64]

UNSEEN: Final = -1
"""Code of a value that is not in the training data: all its columns are zero."""


def _canonical(language: str) -> str:
    return normalise_tag(language) or UNKNOWN


def _language(language: str) -> str:
    """Return the canonical tag of a language ('eng', 'EN' → 'en'); other text is unchanged."""
    return normalise_tag(language) or language


def _script(language: str) -> str:
    return script_of(_canonical(language))


def _family(language: str) -> str:
    return family_of(_canonical(language))


_LEVELS: Final[Mapping[str, Callable[[str, str], str]]] = {
    "family": lambda language, task: _family(language),
    "script": lambda language, task: _script(language),
    "language": lambda language, task: _language(language),
    "task": lambda language, task: task,
    "language_task": lambda language, task: f"{_language(language)}\t{task}",
}
LEVELS: Final = tuple(_LEVELS)


@dataclass(frozen=True, slots=True)
class TagVocabulary:
    """The values of one level in the training data, sorted."""

    level: str
    values: tuple[str, ...]

    def codes(self, queries: Queries) -> Rows:
        """Return the position of each prompt's value, shape (P,); `UNSEEN` if it is not in the training data."""
        place = {_as_now(self.level, value): code for code, value in enumerate(self.values)}
        return level_codes(queries, self.level, place)


def _as_now(level: str, value: str) -> str:
    """Return a value with its language as a canonical tag."""
    if level not in ("language", "language_task"):
        return value
    language, *task = value.split("\t", 1)
    return "\t".join([_language(language), *task])


def vocabulary_of(queries: Queries, level: str) -> TagVocabulary:
    """Collect the values of a level."""
    name = _LEVELS[level]
    return TagVocabulary(level, tuple(sorted({name(*pair) for pair in _pairs(queries)})))


def level_codes(queries: Queries, level: str, place: Mapping[str, int]) -> Rows:
    """Return the code of each prompt's value of a level; `UNSEEN` where `place` has none."""
    name = _LEVELS[level]
    known = {pair: place.get(name(*pair), UNSEEN) for pair in _pairs(queries)}
    pairs = zip(queries.languages, queries.tasks, strict=True)
    return np.fromiter((known[pair] for pair in pairs), np.int64, len(queries))


def one_hot(codes_P: Rows, num: int) -> Floats:
    """Return 0/1 columns, shape (P, num)."""
    columns = np.zeros((len(codes_P), num))
    seen = np.flatnonzero(codes_P != UNSEEN)
    columns[seen, codes_P[seen]] = 1.0
    return columns


def _pairs(queries: Queries) -> Sequence[tuple[str, str]]:
    return sorted(set(zip(queries.languages, queries.tasks, strict=True)))
