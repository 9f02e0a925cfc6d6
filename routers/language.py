"""Route by a table language → teachers, with back-off ("fixed routing" of multilingual arbitrage [2408.14960])."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from pydantic import Field, field_validator

from arbitrage.contracts.routers import PoolMember
from arbitrage.errors import closest, did_you_mean
from arbitrage.languages import base_of, families, family_of, normalise_tag, primary, script_of, suggest_tag
from arbitrage.records import Prompt, Route
from routers.language_filter import LanguageFilter, LanguageFilterConfig


class LanguageConfig(LanguageFilterConfig):
    """Send each prompt to the first `top_k` teachers of the table's entry for its language.

    The entry is looked for under the tag itself, under language and script, under the language, then under its family
    (an ISO 639-5 code, such as `roa`), then in `default`. An entry of a language applies to its teachers whatever
    they declare. Entries of families and `default` pass the language filter, and if no teacher passes, the next entry
    is tried.

    Attributes:
        table: language or family → teachers, the best first.
        default: teachers for languages that the table does not cover, the best first; empty: such prompts are
            rejected.
        top_k: number of teachers that a prompt is sent to.
    """

    kind: Literal["language"] = "language"
    table: dict[str, tuple[str, ...]] = Field(min_length=1)
    default: tuple[str, ...] = ()
    top_k: int = Field(default=1, gt=0)

    @field_validator("table")
    @classmethod
    def _known(cls, table: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for key, teachers in table.items():
            tag = normalise_tag(key)
            if tag != key and key not in families():
                hint = did_you_mean(tag or suggest_tag(key) or closest(key, table))
                raise ValueError(f"'{key}' is neither a BCP-47 tag nor a known language family{hint}")
            if not teachers:
                raise ValueError(f"'{key}' names no teacher")
        return table

    def build(self, pool: Sequence[PoolMember]) -> "LanguageRouter":
        """Build the router.

        Raises:
            ConfigError: a teacher of the table is not in the pool.
        """
        language_filter = LanguageFilter(self, pool)
        for key in sorted(self.table):
            language_filter.require(self.table[key], f"router.table.{key}")
        language_filter.require(self.default, "router.default")
        return LanguageRouter(self.table, self.default, self.top_k, language_filter)


class LanguageRouter:
    """Looks a language up, backing off until an entry has an eligible teacher."""

    def __init__(
        self,
        table: Mapping[str, tuple[str, ...]],
        default: tuple[str, ...],
        top_k: int,
        language_filter: LanguageFilter,
    ) -> None:
        self._table = table
        self._default = default
        self._top_k = top_k
        self._filter = language_filter
        self._cached = lru_cache(maxsize=4096)(self._teachers)

    def route(self, prompts: Sequence[Prompt]) -> list[Route | None]:
        """Return one route for each prompt, in order; None where no entry has an eligible teacher."""
        return [self._one(prompt) for prompt in prompts]

    def _one(self, prompt: Prompt) -> Route | None:
        teachers = self._cached(prompt.language)
        if not teachers:
            return None
        return Route(prompt_id=prompt.prompt_id, router="language", teachers=teachers, propensity=1.0)

    def _teachers(self, language: str) -> tuple[str, ...]:
        for key in _language_keys(language):
            if key in self._table:
                return _first(self._table[key], self._top_k)
        for entry in (self._table.get(family_of(language), ()), self._default):
            admitted = [name for name in entry if self._filter.admits(name, language)]
            if admitted:
                return _first(admitted, self._top_k)
        return ()


def _language_keys(language: str) -> Iterator[str]:
    """Yield the keys of a language, the most exact first: 'zh-TW', 'zh-Hant', 'zh'."""
    yield language
    yield f"{primary(language)}-{script_of(language)}"
    yield primary(language)
    yield base_of(language)


def _first(teachers: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(teachers))[:count]
