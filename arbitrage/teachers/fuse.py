"""The step `fuse`: one teacher writes a response from the best candidates, leaving out their worst parts.

[2510.00931] (METHODS §7): best-of-5 61.0, fused 65.4 on open-ended work; it loses where the answer is constrained
(mathematics), so it can be limited to tasks. Gains begin at two candidates and end at seven.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import Field

from arbitrage.candidates.ranked import RankedCandidate, rank_candidates
from arbitrage.candidates.table import CandidateShard
from arbitrage.config import Config, Operational, Raw
from arbitrage.contracts.engines import Completion, SamplingParams
from arbitrage.contracts.steps import Step, StepFacts
from arbitrage.contracts.workers import Inputs
from arbitrage.languages import speaks
from arbitrage.records import Candidate, Prompt, content_id
from arbitrage.teachers.generate import VERSION, GenerateConfig, TeacherRequest
from arbitrage.teachers.pool import TeacherConfig, usable_languages
from arbitrage.teachers.quoting import (
    MATERIAL,
    QUESTION_VERSION,
    conversation,
    language_line,
    mark_for,
    paragraphs,
    quoted,
    repeats,
    requests_about,
)

INSTRUCTION = (
    "Several models answered a user's request. Write the one answer that serves the user best. Take what is right "
    "and well said from the answers, discard their worst parts, and correct what is wrong even where all agree."
)

ECHO = "echoed_instruction"
"""Why a fused response is rejected; the prompt then keeps the best candidate."""

_MARK = re.compile(r"^\[request ([0-9a-f]{8})\]$", re.MULTILINE)

_ENDING = "Write your answer to the user and nothing else: no word about the answers above, or about how you chose."


class FusionConfig(Config):
    """The fusing teacher, and which prompts it fuses.

    Attributes:
        teacher: name in the pool file; sampled only in the languages it declares.
        max_candidates: maximum number of candidates it reads: the best by score, without duplicates.
        tasks: fuse only prompts of these tasks; null fuses all.
        except_tasks: tasks whose prompts keep the best candidate, such as those with one correct answer.
        only_if_better: keep a fused response only if it scores higher than the best candidate it was made from.
        instruction: the instruction that the teacher gets.
        sampling: sampling parameters; those not given come from its entry in the pool file.
    """

    teacher: str
    max_candidates: int = Field(default=5, ge=2, le=16)
    tasks: tuple[str, ...] | None = None
    except_tasks: tuple[str, ...] = ()
    only_if_better: bool = False
    instruction: str = INSTRUCTION
    sampling: SamplingParams = SamplingParams()

    def wants(self, prompt: Prompt) -> bool:
        """Tell whether prompts of a task are fused."""
        return prompt.task not in self.except_tasks and (self.tasks is None or prompt.task in self.tasks)


def fuse(
    config: FusionConfig,
    fuser: TeacherConfig,
    prompts: Step,
    candidates: Sequence[Step],
    final: Step,
    licences: Sequence[str],
) -> Step:
    """Return the step `fuse-<teacher>`: a Candidate for each prompt with at least two usable candidates.

    Args:
        config: the fusion config.
        fuser: the teacher's entry.
        prompts: step of Prompt rows.
        candidates: steps of Candidate rows, one for each teacher.
        final: step of Score rows, at most one for each candidate: the ensemble.
        licences: licences of the drafting teachers, which apply to fused responses, too.
    """
    step = FuseStep(
        teacher=fuser,
        sampling=fuser.resolved_sampling(config.sampling.model_copy(update={"n": 1})),
        revision=fuser.weights_revision(),
        fusion=config,
        source_licences=tuple(sorted(set(licences))),
    )
    facts = StepFacts(verb="fuse", label=fuser.name, teacher=fuser.name)
    return Step(
        facts=facts,
        config=step,
        produces=Candidate,
        inputs={"prompts": (prompts,), "candidates": tuple(candidates), "final": (final,)},
        resources=fuser.held_resources(),
        pool=facts.name,
        version=VERSION,
    )


@dataclass(frozen=True, slots=True)
class FusionSource:
    """A text, its best candidate, and the number of candidates with this text: agreement is useful information."""

    best: RankedCandidate
    num: int

    def title(self, place: int) -> str:
        """Return the title above the text."""
        return f"answer {place}" if self.num == 1 else f"answer {place}, given {self.num} times"


class FuseStep(GenerateConfig):
    """Samples the fusing teacher. `source_licences` are for exports, and change no candidate."""

    step_kind: ClassVar[str] = "fuse"

    fusion: FusionConfig
    source_licences: Annotated[tuple[str, ...], Operational] = ()

    def identity(self) -> Raw:
        """Return what can change a candidate."""
        own = self.fusion.identity()
        fusion = {name: own[name] for name in own if name != "only_if_better"}
        return super().identity() | {"fusion": fusion, "question": QUESTION_VERSION}

    def requests(self, inputs: Inputs) -> list[TeacherRequest]:
        """List a request for each prompt that has two candidates to fuse; not for one with tools."""
        tags = usable_languages(self.teacher)
        found = []
        for ranked in rank_candidates(CandidateShard(inputs)):
            read = distinct(ranked.candidates)[: self.fusion.max_candidates]
            prompt = ranked.prompt
            is_spoken = any(speaks(tag, prompt.language) for tag in tags)
            if len(read) > 1 and is_spoken and prompt.tools is None and self.fusion.wants(prompt):
                found += self._asked(prompt, read)
        return found

    def flaw_of(self, sent: TeacherRequest, completion: Completion) -> str | None:
        """Reject a response that repeats the instruction, or holds the marks around the quoted candidates."""
        marks = _MARK.findall(sent.request.messages[-1].content)
        is_leak = any(mark in completion.text for mark in marks)
        is_echo = any(repeats(completion.text, each) for each in (self.fusion.instruction, MATERIAL, _ENDING))
        return ECHO if is_leak or is_echo else None

    def _asked(self, prompt: Prompt, read: Sequence[FusionSource]) -> list[TeacherRequest]:
        question_id = content_id("fuse", *(f"{source.num}×{source.best.candidate.candidate_id}" for source in read))
        requests = requests_about(self, prompt, question_id, question_of(prompt, read, self.fusion.instruction))
        return [TeacherRequest(each.prompt, replace(each.request, prompt_id=prompt.prompt_id)) for each in requests]


def question_of(prompt: Prompt, read: Sequence[FusionSource], instruction: str) -> str:
    """Return the fusing teacher's prompt. The order of the candidates does not depend on their scores."""
    shown = sorted(read, key=lambda source: content_id("shown", source.best.candidate.candidate_id))
    mark = mark_for(conversation(prompt), *(source.best.text for source in shown))
    answers = (quoted(source.title(place), source.best.text, mark) for place, source in enumerate(shown, start=1))
    request = quoted("request", conversation(prompt), mark)
    return paragraphs((instruction, language_line(prompt), MATERIAL, request, *answers, _ENDING))


def distinct(ranked: Sequence[RankedCandidate]) -> list[FusionSource]:
    """Return the different texts, that of the best candidate first, and how often each occurs."""
    times = Counter(candidate.text for candidate in ranked)
    first = {candidate.text: candidate for candidate in reversed(ranked)}
    return [FusionSource(each, times[each.text]) for each in ranked if first[each.text] is each]
