"""How rewards and checks are named: a plain name in configs, `name@version` in `Score.reward`."""

from typing import Annotated

from pydantic import StringConstraints

RewardName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=80)]
"""A name that may stand in a step's name and in a directory."""


def versioned(name: str, version: int, model: str | None = None) -> str:
    """Return `name@version`, with the first 8 digits of a model's digest where there is a model."""
    return f"{name}@{version}" if model is None else f"{name}@{version}-{model[:8]}"


def base_name(reward: str) -> str:
    """Return the plain name of a `Score.reward` ('rm@1-0a1b2c3d' → 'rm')."""
    return reward.partition("@")[0]
