"""Steps and data sets as a person reads them."""

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
    "ensemble": "weigh",
    "select": "select",
    "pair": "pair",
    "mix": "mix",
    "fuse": "fuse by",
    "review": "review by",
    "adjudicate": "settle for",
    "answers": "read answers of",
    "judge": "ask the judge",
    "verdicts": "read verdicts of",
}


def title(facts: "StepFacts") -> str:
    """Return a step's name as a person reads it, such as 'generate aya-8b'."""
    return f"{VERBS.get(facts.verb, facts.verb)} {facts.subject}".strip()


def shortest_names(data: Sequence[str]) -> list[str]:
    """Return the shortest ends of the paths that tell them apart."""
    parts = [Path(item).parts or (item,) for item in data]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{i + 1}: {item}" for i, item in enumerate(data)]
