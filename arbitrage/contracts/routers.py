"""Routers: which teachers a prompt is sent to."""

from collections.abc import Sequence
from typing import Protocol

from arbitrage.config import Config
from arbitrage.records import Prompt, Route


class PoolMember(Config):
    """What a router sees of a teacher."""

    name: str
    languages: tuple[str, ...]


class Router(Protocol):
    """Chooses the teachers of each prompt. A prompt that no teacher supports gets None and becomes a Reject."""

    def route(self, prompts: Sequence[Prompt]) -> list[Route | None]:
        """Return one route for each prompt, in order."""
        ...
