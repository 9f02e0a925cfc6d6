"""The step `generate` for translators: a request for each segment of each message of each prompt routed to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from arbitrage.config import Raw
from arbitrage.contracts.engines import SamplingParams
from arbitrage.contracts.steps import Step, StepFacts
from arbitrage.contracts.workers import Inputs
from arbitrage.errors import ExecutionError
from arbitrage.records import Candidate, Prompt, content_id
from arbitrage.teachers.generate import VERSION, GenerateConfig, TeacherRequest
from arbitrage.teachers.pool import TeacherConfig
from arbitrage.teachers.quoting import QUESTION_VERSION, requests_about
from arbitrage.translation.forms import Job, TranslatorForm
from arbitrage.translation.segments import Segment, segments_of, with_translations

TRANSLATION_VERSION = 1
"""Increase it when texts are cut, sent or read differently."""


class TranslateRequests(GenerateConfig):
    """Samples a translator.

    Attributes:
        form: how it is given the texts.
    """

    step_kind: ClassVar[str] = "generate_translations"

    form: TranslatorForm

    def identity(self) -> Raw:
        """Return the settings that can change a reply."""
        own = {"form": self.form.identity(), "question": QUESTION_VERSION, "translation": TRANSLATION_VERSION}
        return super().identity() | own

    def requests(self, inputs: Inputs) -> list[TeacherRequest]:
        """List the requests, segment by segment."""
        return [
            request
            for prompt in super().requests(inputs)
            if prompt.request.sample_index == 0
            for question_id, job in jobs_of(prompt.prompt, self.form)
            for request in requests_about(self, prompt.prompt, question_id, self.form.message(job))
        ]


def generate_translations(
    teacher: TeacherConfig, form: TranslatorForm, prompts: Step, routes: Step, sampling: SamplingParams
) -> Step:
    """Return the step `generate-<teacher>`: its replies about the segments of the prompts routed to it."""
    config = TranslateRequests(
        teacher=teacher,
        sampling=teacher.resolved_sampling(sampling),
        revision=teacher.weights_revision(),
        form=form,
    )
    facts = StepFacts(verb="generate", label=teacher.name, teacher=teacher.name, is_budgeted=True)
    routed = routes.config.identity_for(teacher.name)
    return Step(
        facts=facts,
        config=config,
        produces=Candidate,
        inputs={"prompts": (prompts,), "routes": (routes,)},
        resources=teacher.held_resources(),
        pool=facts.name,
        narrows={} if routed is None else {"routes": {"asked": routed, "version": routes.version}},
        version=VERSION,
    )


@dataclass(frozen=True, slots=True)
class CutMessage:
    """A message of a prompt, cut into segments; the ids and jobs of those to translate, in order."""

    segments: tuple[Segment, ...]
    jobs: tuple[tuple[str, Job], ...]

    def joined(self, translations: list[str]) -> str:
        """Return the message in the target language."""
        return with_translations(self.segments, translations)


def cut_messages(prompt: Prompt, form: TranslatorForm) -> list[CutMessage]:
    """Cut the messages of a prompt that is to be translated.

    Raises:
        ExecutionError: the prompt does not say what it is translated from.
    """
    if prompt.translation is None:
        raise ExecutionError(f"prompt {prompt.prompt_id} is not to be translated")
    source = prompt.translation.source_language
    found = []
    for place, message in enumerate(prompt.messages):
        if form.is_recorded:
            segments = [Segment(message.content, is_kept=not message.content.strip())]
        else:
            segments = segments_of(message.content, source, form.most_characters)
        texts = [segment.text for segment in segments if not segment.is_kept]
        jobs = (
            (content_id("segment", prompt.prompt_id, place, number), Job(text, source, prompt.language))
            for number, text in enumerate(texts)
        )
        found.append(CutMessage(tuple(segments), tuple(jobs)))
    return found


def jobs_of(prompt: Prompt, form: TranslatorForm) -> Iterator[tuple[str, Job]]:
    """Yield for each request about a prompt its id, which is the `prompt_id` of the reply, and the text."""
    for message in cut_messages(prompt, form):
        yield from message.jobs
