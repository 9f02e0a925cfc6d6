"""Step names as a person reads them."""

VERBS = {
    "prompts": "read prompts",
    "route": "route",
    "generate": "generate",
    "score": "score",
    "check": "check",
    "calibrate": "calibrate",
    "ensemble": "weigh",
    "select": "select",
}


def title(step: str) -> str:
    """Return a step's name as a person reads it: 'generate-aya-8b' → 'generate aya-8b'."""
    verb, _, thing = step.partition("-")
    return f"{VERBS.get(verb, verb)} {thing}".strip()
