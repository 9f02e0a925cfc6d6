"""Sample one teacher at random, all with equal probability: the control that any router must beat."""

from collections.abc import Sequence
from typing import Literal

from arbitrage.contracts.routers import PoolMember
from arbitrage.records import Prompt, Route, content_id
from routers.language_filter import LanguageFilter, LanguageFilterConfig


class UniformConfig(LanguageFilterConfig):
    """Send each prompt to one teacher that supports its language, drawn by a hash of the prompt's id and `seed`.

    Attributes:
        seed: another seed draws other teachers.
    """

    kind: Literal["uniform"] = "uniform"
    seed: int = 0

    def build(self, pool: Sequence[PoolMember]) -> "UniformRouter":
        """Build the router."""
        return UniformRouter(self.seed, LanguageFilter(self, pool))


class UniformRouter:
    """Draws by rendezvous hashing: a teacher that joins or leaves a pool of n changes only 1/n of the routes."""

    def __init__(self, seed: int, language_filter: LanguageFilter) -> None:
        self._seed = seed
        self._filter = language_filter

    def route(self, prompts: Sequence[Prompt]) -> list[Route | None]:
        """Return one route for each prompt, in order; None where no teacher supports the language."""
        return [self._one(prompt) for prompt in prompts]

    def _one(self, prompt: Prompt) -> Route | None:
        eligible = self._filter.eligible(prompt.language)
        if not eligible:
            return None
        drawn = max(eligible, key=lambda name: content_id("uniform", self._seed, prompt.prompt_id, name))
        return Route(prompt_id=prompt.prompt_id, router="uniform", teachers=(drawn,), propensity=1.0 / len(eligible))
