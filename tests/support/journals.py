"""Rows for journals of one shard."""

from typing import Any

from arbitrage.records import Candidate, FinishReason

MADE_FROM = {"prompts-1": "abc"}


def a_candidate(number: int, **values: Any) -> Candidate:
    """Return the candidate `c<number>`, with whatever values it is given, as an engine that validates nothing would."""
    sound = Candidate(
        candidate_id=f"c{number}",
        prompt_id=f"p{number}",
        teacher="t",
        revision="1",
        sample_index=0,
        seed=0,
        text="text",
        finish_reason=FinishReason.STOP,
    )
    return sound.model_copy(update=values)
