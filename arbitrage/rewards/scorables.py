"""Join a shard's candidates to their prompts."""

from collections.abc import Iterable

from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.workers import Inputs, Item
from arbitrage.errors import ConservationError
from arbitrage.records import Candidate, Prompt


def scorables(inputs: Inputs) -> list[Scorable]:
    """Return each candidate of the role "drafts" beside its prompt, in the order of the drafts.

    Raises:
        ConservationError: a candidate answers a prompt that is not in this shard.
    """
    prompts = {prompt.prompt_id: prompt for prompt in inputs.records("prompts", Prompt)}
    pairs = []
    for candidate in inputs.records("drafts", Candidate):
        prompt = prompts.get(candidate.prompt_id)
        if prompt is None:
            raise ConservationError(
                f"candidate {candidate.candidate_id} of {candidate.teacher} answers prompt {candidate.prompt_id}, "
                f"which is not among the {len(prompts)} prompts of its shard"
            )
        pairs.append(Scorable(prompt=prompt, candidate=candidate))
    return pairs


def owed(pairs: Iterable[Scorable]) -> list[Item]:
    """List the candidates that a scoring step owes an opinion on."""
    return [Item(s.candidate.candidate_id, s.prompt.language, s.candidate.teacher) for s in pairs]
