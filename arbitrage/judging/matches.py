"""Set two sides' answers to one prompt against each other."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from arbitrage.contracts.steps import Step
from arbitrage.contracts.workers import Inputs, Item
from arbitrage.records import Candidate, Prompt, content_id, nfc


@dataclass(frozen=True, slots=True)
class Sides:
    """The steps that hold what is judged: prompts, and the answers of A and of B."""

    prompts: Step
    a: Step
    b: Step

    def inputs(self) -> dict[str, tuple[Step, ...]]:
        """Return the inputs of a step that reads matches."""
        return {"prompts": (self.prompts,), "a": (self.a,), "b": (self.b,)}


@dataclass(frozen=True)
class Match:
    """Two answers to one prompt."""

    prompt: Prompt
    a: Candidate
    b: Candidate

    @cached_property
    def match_id(self) -> str:
        """Hash of both answers' ids: the same for every judge."""
        return content_id("match", self.a.candidate_id, self.b.candidate_id)

    @property
    def is_identical(self) -> bool:
        """Tell whether both say the same, up to Unicode form and surrounding space: a tie that nobody need judge."""
        return nfc(self.a.text).strip() == nfc(self.b.text).strip()

    @property
    def item(self) -> Item:
        """What a step owes for it."""
        return Item(self.match_id, self.prompt.language)


def matches(inputs: Inputs) -> list[Match]:
    """Join a shard's prompts to both sides' answers, the k-th sample of A to the k-th of B, in order of prompt id.

    A prompt that a side did not answer makes no match; the side's own step has counted why.
    """
    a, b = (_by_prompt(inputs.records(role, Candidate)) for role in ("a", "b"))
    prompts = sorted(inputs.records("prompts", Prompt), key=lambda p: p.prompt_id)
    return [
        Match(prompt, one, other)
        for prompt in prompts
        for one, other in zip(a[prompt.prompt_id], b[prompt.prompt_id], strict=False)
    ]


def _by_prompt(candidates: tuple[Candidate, ...]) -> defaultdict[str, list[Candidate]]:
    found: defaultdict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda c: (c.sample_index, c.candidate_id)):
        found[candidate.prompt_id].append(candidate)
    return found
