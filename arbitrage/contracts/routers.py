"""Who says which teachers are asked."""

from collections.abc import Sequence
from typing import Protocol

from arbitrage.config import Config
from arbitrage.records import Prompt, Route


class PoolMember(Config):
    """What a router may know of a teacher."""

    name: str
    languages: tuple[str, ...]


class Router(Protocol):
    """Says who is asked. A prompt that no teacher may answer gets None and becomes a Reject."""

    def route(self, prompts: Sequence[Prompt]) -> list[Route | None]:
        """Return one route for each prompt, in order."""
        ...
