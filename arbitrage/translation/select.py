"""The step `select-prompts`: the best translation of each prompt becomes a Prompt in the target language."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from arbitrage.candidates.ranked import RankedCandidate, rank_candidates
from arbitrage.candidates.table import CandidateShard
from arbitrage.contracts.steps import PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.records import Prompt, Reject
from arbitrage.selection.sft import reject_of
from arbitrage.tables import to_table
from arbitrage.translation.generate import cut_messages
from arbitrage.translation.translate import Replies, Translate, replies_in

SELECT = StepFacts(verb="select", label="prompts")


class SelectTranslations(PureStep):
    """Which translation of a prompt is kept.

    Attributes:
        minimum: smallest final score of a translation; none by default.
        translators: how each translator's replies are read.
    """

    step_kind: ClassVar[str] = "select_translations"

    minimum: float | None = None
    translators: Mapping[str, Translate] = {}

    async def run(self, inputs: Inputs) -> Output:
        """Return the best translation of each prompt, or a Reject."""
        prompts: list[Prompt] = []
        rejects: list[Reject] = []
        replies = replies_in(inputs)
        for ranked in rank_candidates(CandidateShard(inputs)):
            best = next(iter(ranked.candidates), None)
            if best is not None and (self.minimum is None or best.value >= self.minimum):
                prompts.append(self._prompt(ranked.prompt, best, replies))
            elif best is not None:
                detail = f"{best.value:g} by {best.candidate.teacher}"
                rejects.append(Reject(item_id=ranked.prompt.prompt_id, reason="below_minimum", detail=detail))
            else:
                rejects.append(reject_of(ranked))
        return Output(to_table(prompts, Prompt), to_table(rejects, Reject))

    def _prompt(self, prompt: Prompt, best: RankedCandidate, replies: Replies) -> Prompt:
        assert prompt.translation is not None
        candidate = best.candidate
        reading = self.translators[candidate.teacher]
        cut = cut_messages(prompt, reading.form)
        texts = reading.translated(prompt, cut, replies, candidate.sample_index).messages
        pairs = zip(prompt.messages, texts, strict=True)
        messages = (message.model_copy(update={"content": text}) for message, text in pairs)
        told = {"translator": candidate.teacher, "revision": candidate.revision, "quality": best.value}
        return prompt.model_copy(
            update={"messages": tuple(messages), "translation": prompt.translation.model_copy(update=told)}
        )


def select_translations(
    minimum: float | None, prompts: Step, replies: Sequence[Step], candidates: Sequence[Step], final: Step
) -> Step:
    """Return the step `select-prompts`.

    Args:
        minimum: smallest final score of a translation that is kept.
        prompts: the prompts to translate, by `expand`.
        replies: the translators' replies.
        candidates: their translations.
        final: the final scores.
    """
    readings = {step.config.teacher: step.config for step in candidates if isinstance(step.config, Translate)}
    return Step(
        SELECT,
        SelectTranslations(minimum=minimum, translators=readings),
        Prompt,
        {
            "prompts": (prompts,),
            "replies": tuple(replies),
            "candidates": tuple(candidates),
            "final": (final,),
        },
    )
