"""How many rows of each language are wanted, and by which lot prompts are kept."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from arbitrage.config import Config, EachLanguageOnce, LanguageTag
from arbitrage.records import content_id


class QuotaConfig(Config):
    """Rows wanted of each language.

    Attributes:
        default: of languages not named; null keeps all of theirs.
        languages: tag → rows.
        seed: of the lots.
    """

    default: int | None = Field(default=None, ge=0)
    languages: Annotated[Mapping[LanguageTag, Annotated[int, Field(ge=0)]], EachLanguageOnce] = {}
    seed: int = 0

    def wanted(self, language: str) -> int | None:
        """Return how many rows of a language are wanted; None for all."""
        return self.languages.get(language, self.default)

    def lot(self, prompt_id: str) -> str:
        """Return the lot a prompt draws: the lowest are kept."""
        return content_id("quota", self.seed, prompt_id)
