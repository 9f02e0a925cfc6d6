"""Facts of steps that tests build by hand, from short names such as "generate-a" or "score-rm-a"."""

from arbitrage.contracts.steps import StepFacts

OF_A_TEACHER = ("generate", "check", "score", "review", "measure", "adjudicate", "fuse")


def facts_of(name: str) -> StepFacts:
    """Return facts whose name is the given one."""
    verb, _, label = name.partition("-")
    scorer, _, teacher = label.partition("-") if verb in ("score", "review") else ("", "", label)
    return StepFacts(
        verb=verb,
        label=label,
        teacher=teacher if verb in OF_A_TEACHER and teacher else None,
        scorer=scorer or None,
        is_budgeted=verb in ("prompts", "generate"),
    )
