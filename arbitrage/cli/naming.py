"""Steps and data sets as a person reads them."""

from collections.abc import Sequence
from pathlib import Path

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


def title(step: str) -> str:
    """Return a step's name as a person reads it: 'generate-aya-8b' → 'generate aya-8b'."""
    verb, _, thing = step.partition("-")
    return f"{VERBS.get(verb, verb)} {thing}".strip()


def shortest_names(data: Sequence[str]) -> list[str]:
    """Return the shortest ends of the paths that tell them apart."""
    parts = [Path(item).parts or (item,) for item in data]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{i + 1}: {item}" for i, item in enumerate(data)]
