"""Display names of steps and data sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arbitrage.contracts.steps import StepFacts

VERBS = {
    "prompts": "read prompts",
    "route": "route",
    "generate": "generate",
    "score": "score",
    "check": "check",
    "calibrate": "calibrate",
    "ensemble": "combine",
    "select": "select",
    "pair": "pair",
    "mix": "mix",
    "fuse": "fuse by",
    "review": "review by",
    "adjudicate": "adjudicate for",
    "answers": "read answers of",
    "judge": "judge by",
    "verdicts": "read verdicts of",
}


def title(facts: "StepFacts") -> str:
    """Return a step's display name, such as 'generate aya-8b'."""
    return f"{VERBS.get(facts.verb, facts.verb)} {facts.subject}".strip()


def shortest_names(data: Sequence[str]) -> list[str]:
    """Return the shortest path suffixes that are unique."""
    parts = [Path(item).parts or (item,) for item in data]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{i + 1}: {item}" for i, item in enumerate(data)]
