"""Sample one teacher; the best single teacher is the reference of every report."""

from collections.abc import Sequence
from typing import Literal

from arbitrage.config import Raw
from arbitrage.contracts.routers import PoolMember
from arbitrage.records import Prompt, Route
from routers.language_filter import LanguageFilter, LanguageFilterConfig


class SingleConfig(LanguageFilterConfig):
    """Send every prompt to `teacher`, in the languages it declares.

    Attributes:
        teacher: name of the teacher.
    """

    kind: Literal["single"] = "single"
    teacher: str

    def build(self, pool: Sequence[PoolMember]) -> "SingleRouter":
        """Build the router.

        Raises:
            ConfigError: the teacher is not in the pool.
        """
        language_filter = LanguageFilter(self, pool)
        language_filter.require([self.teacher], "router.teacher")
        return SingleRouter(self.teacher, language_filter)

    def unconditional(self, member: PoolMember) -> Raw:
        """Return the languages of the one teacher; the others get no prompts."""
        return {"asked": self.languages_open_to(member) if member.name == self.teacher else []}


class SingleRouter:
    """Always the same teacher."""

    def __init__(self, teacher: str, language_filter: LanguageFilter) -> None:
        self._teacher = teacher
        self._filter = language_filter

    def route(self, prompts: Sequence[Prompt]) -> list[Route | None]:
        """Return one route for each prompt, in order; None where the teacher does not support the language."""
        return [self._one(prompt) for prompt in prompts]

    def _one(self, prompt: Prompt) -> Route | None:
        if not self._filter.admits(self._teacher, prompt.language):
            return None
        return Route(
            prompt_id=prompt.prompt_id,
            router=f"single:{self._teacher}",
            teachers=(self._teacher,),
            propensity=1.0,
        )
