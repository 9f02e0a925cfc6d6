"""Eligible teachers by language: a good teacher is harmful in a language that it does not support [2604.11290]."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

from arbitrage.config import Config, Raw
from arbitrage.contracts.routers import PoolMember
from arbitrage.errors import ConfigError, closest, did_you_mean
from arbitrage.languages import speaks


class LanguageFilterConfig(Config):
    """Base of all router configs.

    Attributes:
        language_filter: `declared` sends a teacher only prompts in languages that it declares, so that a prompt of
            undetermined language goes to no teacher; `off` sends prompts in any language.
        unfiltered: teachers that get prompts in any language, whatever they declare.
    """

    language_filter: Literal["declared", "off"] = "declared"
    unfiltered: tuple[str, ...] = ()

    def unconditional(self, member: PoolMember) -> Raw | None:
        """Return what decides a teacher's prompts if this does not depend on the other teachers; else None."""
        return None

    def languages_open_to(self, member: PoolMember) -> list[str] | Literal["all"]:
        """Return the languages in which a teacher is eligible."""
        return "all" if self.language_filter == "off" or member.name in self.unfiltered else sorted(member.languages)


class LanguageFilter:
    """The pool, in order of names, and which of its teachers are eligible in a language."""

    def __init__(self, config: LanguageFilterConfig, pool: Sequence[PoolMember]) -> None:
        self.names = tuple(sorted(member.name for member in pool))
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if not pool:
            raise ConfigError("pool: holds no teacher")
        if repeated:
            raise ConfigError(f"pool: the name '{repeated[0]}' is given to two teachers")
        self.require(config.unfiltered, "router.unfiltered")
        self._languages = {member.name: member.languages for member in pool}
        self._open = frozenset(self.names if config.language_filter == "off" else config.unfiltered)
        self.eligible = lru_cache(maxsize=4096)(self._eligible)

    def admits(self, teacher: str, language: str) -> bool:
        """Whether a teacher is eligible in a language."""
        return teacher in self._open or any(speaks(tag, language) for tag in self._languages[teacher])

    def require(self, teachers: Iterable[str], where: str) -> None:
        """Raise ConfigError if one of the names is not in the pool."""
        for name in teachers:
            if name not in self.names:
                hint = did_you_mean(closest(name, self.names))
                raise ConfigError(f"{where}: '{name}' is not one of {', '.join(self.names)}{hint}")

    def _eligible(self, language: str) -> tuple[str, ...]:
        return tuple(name for name in self.names if self.admits(name, language))
