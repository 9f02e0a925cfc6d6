"""How many rows of each language a student is trained on, and which."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from arbitrage.config import Config, EachLanguageOnce, LanguageTag
from arbitrage.errors import DataError

Weight = Annotated[float, Field(gt=0)]


def _kind_of_weights(value: Any) -> str | None:
    return "each" if isinstance(value, dict) else "all" if value in ("as_is", "equal") else None


Weights = Annotated[
    Annotated[Literal["as_is", "equal"], Tag("all")]
    | Annotated[dict[LanguageTag, Weight], EachLanguageOnce, Field(min_length=1), Tag("each")],
    Discriminator(
        _kind_of_weights,
        custom_error_type="weights",
        custom_error_message="is not one of as_is, equal, or a mapping of languages to weights",
    ),
]
"""`as_is`, `equal`, or a weight for each language."""


class RowMixConfig(Config):
    """The share of each language among the training rows.

    Attributes:
        weights: `as_is`: the languages' shares in the data; `equal`: the same share for each; or language → weight,
            which leaves out the languages that are not named.
        rows: number of rows in total (default: as many as the weights allow).
        max_repeats: maximum number of times a row is used, if a language has fewer rows than its share.
        seed: another seed chooses other rows. A smaller `rows` chooses a subset of a larger one.
    """

    weights: Weights = "as_is"
    rows: int | None = Field(default=None, ge=1)
    max_repeats: int = Field(default=1, ge=1)
    seed: int = 0

    @property
    def is_all(self) -> bool:
        """Whether every row is used once."""
        return self.weights == "as_is" and self.rows is None


def choose_rows(languages: Sequence[str], keys: Sequence[str], mix: RowMixConfig) -> list[int]:
    """Choose the rows of a mix.

    Args:
        languages: of each row.
        keys: keys that identify rows independent of their position, such as prompt ids; equal keys are distinguished
            by position.
        mix: the shares wanted.

    Returns:
        Positions, ascending; a row that is used twice occurs twice.

    Raises:
        DataError: a language has no rows, or too few.
    """
    if mix.is_all:
        return list(range(len(languages)))
    held = Counter(languages)
    wanted = row_counts(held, mix)
    ranked = rank_rows(languages, keys, mix.seed)
    chosen = [ranked[tag][i % held[tag]] for tag, count in wanted.items() for i in range(count)]
    return sorted(chosen)


def rank_rows(languages: Sequence[str], keys: Sequence[str], seed: int) -> dict[str, list[int]]:
    """Return language → positions in the order of their hash: the first n are a fair sample."""
    ranked: dict[str, list[int]] = defaultdict(list)
    for position in sorted(range(len(languages)), key=lambda i: (_rank(keys[i], seed), i)):
        ranked[languages[position]].append(position)
    return ranked


def row_counts(held: Mapping[str, int], mix: RowMixConfig) -> dict[str, int]:
    """Return how many rows to take of each language, tags sorted.

    Args:
        held: language → rows there are, each at least one.
        mix: the shares wanted.

    Raises:
        DataError: a language has no rows, or too few.
    """
    weights = _weights(held, mix)
    total = sum(weights.values())
    room = {tag: held[tag] * mix.max_repeats for tag in weights}
    if mix.rows is None:
        most = min(room[tag] * total / weight for tag, weight in weights.items())
        # 1e-9: 10 * 0.3 / 0.1 is 29.999…, not 30
        return {tag: math.floor(most * weight / total + 1e-9) for tag, weight in weights.items()}
    counts = _apportion({tag: mix.rows * weight / total for tag, weight in weights.items()}, mix.rows)
    short = [f"{tag} {counts[tag]:,} wanted, {room[tag]:,} available" for tag in counts if counts[tag] > room[tag]]
    if short:
        raise DataError(f"mix of {mix.rows:,} rows: too few of some languages ({'; '.join(short)}); see max_repeats")
    return counts


def _weights(held: Mapping[str, int], mix: RowMixConfig) -> dict[str, float]:
    if isinstance(mix.weights, str):
        return {tag: 1.0 if mix.weights == "equal" else float(held[tag]) for tag in sorted(held)}
    if missing := sorted(mix.weights.keys() - held.keys()):
        raise DataError(f"mix: no rows in {', '.join(missing)}; languages of the data: {', '.join(sorted(held))}")
    return dict(sorted(mix.weights.items()))


def _apportion(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Round shares to whole rows that sum to the total, by largest remainders."""
    counts = {tag: math.floor(share) for tag, share in shares.items()}
    by_remainder = sorted(shares, key=lambda tag: (counts[tag] - shares[tag], tag))
    for tag in by_remainder[: total - sum(counts.values())]:
        counts[tag] += 1
    return counts


def _rank(key: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=8, person=b"train-mix").digest()
