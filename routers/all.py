"""Sample every teacher and select by reward afterwards: the strongest strategy of [2408.14960]."""

from collections.abc import Sequence
from typing import Literal

from arbitrage.config import Raw
from arbitrage.contracts.routers import PoolMember
from arbitrage.records import Prompt, Route
from routers.language_filter import LanguageFilter, LanguageFilterConfig


class AllConfig(LanguageFilterConfig):
    """Send each prompt to every teacher that supports its language."""

    kind: Literal["all"] = "all"

    def build(self, pool: Sequence[PoolMember]) -> "AllRouter":
        """Build the router."""
        return AllRouter(LanguageFilter(self, pool))

    def unconditional(self, member: PoolMember) -> Raw:
        """Return the languages: a teacher gets every prompt that it is eligible for."""
        return {"asked": self.languages_open_to(member)}


class AllRouter:
    """All eligible teachers, in order of their names: the best one is known only after generation."""

    def __init__(self, language_filter: LanguageFilter) -> None:
        self._filter = language_filter

    def route(self, prompts: Sequence[Prompt]) -> list[Route | None]:
        """Return one route for each prompt, in order; None where no teacher supports the language."""
        return [self._one(prompt) for prompt in prompts]

    def _one(self, prompt: Prompt) -> Route | None:
        eligible = self._filter.eligible(prompt.language)
        if not eligible:
            return None
        return Route(prompt_id=prompt.prompt_id, router="all", teachers=eligible, propensity=1.0)
