"""The step `translate`: the replies about segments become one Candidate for each prompt and sample, or a Reject."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from arbitrage.candidates.table import CandidateShard
from arbitrage.contracts.steps import PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.records import Candidate, FinishReason, Prompt, Reject, content_id
from arbitrage.rewards.text_checks import is_refusal
from arbitrage.tables import to_table
from arbitrage.translation.faults import FaultName, Pair, TranslationChecks, fault_of
from arbitrage.translation.forms import ReplyFault, TranslatorForm
from arbitrage.translation.generate import CutMessage, TranslateRequests, cut_messages

VERSION = 1

REFUSAL_CHARACTERS = 500
"""Longer replies that begin like a refusal are translations of a text that does."""

TranslateReject = ReplyFault | FaultName | Literal["no_reply", "refused"]
"""Why a translation is rejected. `no_reply`: the translator failed at a segment; its own step says how."""


@dataclass(frozen=True, slots=True)
class Translated:
    """The messages of a prompt in the target language, or what is wrong with them."""

    messages: tuple[str, ...] = ()
    reason: TranslateReject | None = None
    detail: str | None = None


Replies = Mapping[tuple[str, str, int], Candidate]
"""Translator, request's id and sample → reply."""


class Translate(PureStep):
    """Joins and checks the translations of one translator.

    Attributes:
        teacher: its name.
        form: how it is given the texts.
        samples: number of translations of each prompt.
        checks: limits of the checks.
    """

    step_kind: ClassVar[str] = "translate"

    teacher: str
    form: TranslatorForm
    samples: int
    checks: TranslationChecks = TranslationChecks()

    def items(self, inputs: Inputs) -> list[Item]:
        """List each sample of each prompt that is routed to the translator."""
        return [
            Item(translation_id(prompt, self.teacher, sample), prompt.language, self.teacher)
            for prompt in self._prompts(inputs)
            for sample in range(self.samples)
        ]

    async def run(self, inputs: Inputs) -> Output:
        """Return a Candidate for each translation without a fault."""
        replies = replies_in(inputs)
        rows: list[Candidate] = []
        rejects: list[Reject] = []
        for prompt in self._prompts(inputs):
            cut = cut_messages(prompt, self.form)
            for sample in range(self.samples):
                found = self.translated(prompt, cut, replies, sample)
                item_id = translation_id(prompt, self.teacher, sample)
                if found.reason is None:
                    rows.append(self._row(prompt, item_id, found.messages, self._parts(cut, replies, sample)))
                else:
                    rejects.append(Reject(item_id=item_id, reason=found.reason, detail=found.detail))
        return Output(to_table(rows, Candidate), to_table(rejects, Reject))

    def translated(self, prompt: Prompt, cut: Sequence[CutMessage], replies: Replies, sample: int) -> Translated:
        """Return one sample's translation of a prompt."""
        messages = []
        for message in cut:
            parts = []
            for question_id, job in message.jobs:
                reply = replies.get((self.teacher, question_id, sample))
                if reply is None:
                    return Translated(reason="no_reply", detail=f"'{job.text[:60]}'")
                read = self.form.read(reply, job)
                if read.fault is not None:
                    is_refused = is_refusal(reply.text, REFUSAL_CHARACTERS) and not is_refusal(
                        job.text, len(job.text)
                    )
                    return Translated(reason="refused" if is_refused else read.fault, detail=f"'{reply.text[:80]}'")
                parts.append(read.text)
            messages.append(message.joined(parts))
        return self._checked(prompt, tuple(messages))

    def _checked(self, prompt: Prompt, messages: tuple[str, ...]) -> Translated:
        assert prompt.translation is not None
        for original, text in zip(prompt.messages, messages, strict=True):
            if original.content == text and not original.content.strip():
                continue
            pair = Pair(original.content, text, prompt.translation.source_language, prompt.language)
            if is_refusal(text, REFUSAL_CHARACTERS) and not is_refusal(original.content, len(original.content)):
                return Translated(reason="refused", detail=f"'{text[:80]}'")
            if (fault := fault_of(pair, self.checks)) is not None:
                return Translated(reason=fault.name, detail=fault.detail)
        return Translated(messages)

    def _prompts(self, inputs: Inputs) -> list[Prompt]:
        shard = CandidateShard(inputs)
        routed = {key for key, teachers in shard.teachers_by_prompt.items() if self.teacher in teachers}
        return [prompt for key, prompt in shard.prompts_by_id.items() if key in routed]

    def _parts(self, cut: Sequence[CutMessage], replies: Replies, sample: int) -> list[Candidate]:
        return [replies[self.teacher, question_id, sample] for message in cut for question_id, _ in message.jobs]

    def _row(self, prompt: Prompt, item_id: str, messages: Sequence[str], parts: Sequence[Candidate]) -> Candidate:
        first = parts[0]
        return Candidate(
            candidate_id=item_id,
            prompt_id=prompt.prompt_id,
            teacher=self.teacher,
            revision=first.revision,
            sample_index=first.sample_index,
            seed=first.seed,
            text="\n\n".join(messages),
            finish_reason=FinishReason.STOP,
            prompt_tokens=total([part.prompt_tokens for part in parts]),
            completion_tokens=total([part.completion_tokens for part in parts]),
            reasoning_tokens=total([part.reasoning_tokens for part in parts]),
            cost_usd=total([part.cost_usd for part in parts]),
        )


def translate(
    config: TranslateRequests, checks: TranslationChecks, prompts: Step, routes: Step, replies: Step
) -> Step:
    """Return the step `translate-<teacher>`: the translations that a translator's replies hold."""
    name = config.teacher.name
    joined = Translate(teacher=name, form=config.form, samples=config.sampling.n, checks=checks)
    return Step(
        facts=StepFacts(verb="translate", label=name, teacher=name),
        config=joined,
        produces=Candidate,
        inputs={"prompts": (prompts,), "routes": (routes,), "replies": (replies,)},
        version=VERSION,
    )


def translation_id(prompt: Prompt, teacher: str, sample: int) -> str:
    """Return the id of one translation of a prompt."""
    return content_id("translated", prompt.prompt_id, teacher, sample)


def replies_in(inputs: Inputs) -> Replies:
    """Return the translators' replies of a shard."""
    return {(each.teacher, each.prompt_id, each.sample_index): each for each in inputs.records("replies", Candidate)}


N = TypeVar("N", int, float)


def total(values: Sequence[N | None]) -> N | None:
    """Return the sum; None where a value is not known."""
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(values) else None
