"""The step `generate`: sample one teacher for the prompts routed to it."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from arbitrage.candidates.table import CandidateShard
from arbitrage.config import Raw
from arbitrage.contracts.engines import (
    Completion,
    DecodingOptions,
    Engine,
    Failure,
    GenerationRequest,
    SamplingParams,
)
from arbitrage.contracts.steps import LoadedModel, Step, StepConfig, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Load
from arbitrage.errors import ExecutionError
from arbitrage.inputs.values import count_of
from arbitrage.records import Candidate, Prompt, Record, Reject, ToolCall, content_id
from arbitrage.teachers.engines.engine import json_hash
from arbitrage.teachers.engines.logprobs import logprob_of
from arbitrage.teachers.pool import TeacherConfig
from arbitrage.teachers.reasoning import unfinished
from arbitrage.teachers.tools import checked_calls, structured_output_of

VERSION = 2


def generate(teacher: TeacherConfig, prompts: Step, routes: Step, sampling: SamplingParams) -> Step:
    """Return the step `generate-<teacher>`: Candidates for every prompt whose route names the teacher.

    Args:
        teacher: the teacher to sample.
        prompts: step that produces Prompt.
        routes: step that produces Route.
        sampling: sampling parameters; fields not given explicitly are the teacher's own.
    """
    config = GenerateConfig(
        teacher=teacher, sampling=teacher.resolved_sampling(sampling), revision=teacher.weights_revision()
    )
    routed = routes.config.identity_for(teacher.name)
    facts = StepFacts(verb="generate", label=teacher.name, teacher=teacher.name, is_budgeted=True)
    return Step(
        facts=facts,
        config=config,
        produces=Candidate,
        inputs={"prompts": (prompts,), "routes": (routes,)},
        resources=teacher.held_resources(),
        pool=facts.name,  # one client or engine for all shards, also if it reserves no cores
        narrows={} if routed is None else {"routes": {"asked": routed, "version": routes.version}},
        version=VERSION,
    )


class GenerateConfig(StepConfig):
    """Config of a generate step.

    Attributes:
        teacher: the teacher to sample.
        sampling: complete sampling parameters.
        revision: revision of the weights, read once when the run is planned.
    """

    step_kind: ClassVar[str] = "generate"

    teacher: TeacherConfig
    sampling: SamplingParams
    revision: str

    def identity(self) -> Raw:
        """Return the settings that can change a candidate."""
        return {"teacher": self.teacher.identity_at(self.revision), "sampling": self.sampling.identity()}

    @property
    def is_remote(self) -> bool:
        """Whether the model runs elsewhere, behind an endpoint."""
        return not self.teacher.engine.loads_model

    @property
    def is_deferred(self) -> bool:
        """Whether the teacher answers by batch."""
        return self.teacher.engine.is_deferred

    def loaded(self) -> LoadedModel:
        """Return the teacher's model."""
        teacher = self.teacher
        return LoadedModel(
            teacher.engine.kind, teacher.model, teacher.precision if teacher.engine.loads_model else None
        )

    def load_key(self) -> str | None:
        """Return the digest of what the engine loads."""
        return self.teacher.load_key(self.sampling)

    def replica_key(self) -> str | None:
        """Return the teacher's name and what its engine loads."""
        key = self.load_key()
        return None if key is None else f"{self.teacher.name} {key}"

    def build(self) -> "GenerateWorker":
        """Start the engine."""
        return GenerateWorker(self, self.teacher.engine.build(self.teacher.spec(self.sampling)))

    def requests(self, inputs: Inputs) -> "list[TeacherRequest]":
        """List a shard's requests: prompts that begin alike are adjacent, a prompt's samples are in order.

        Steps that send another text than the prompt override this.
        """
        name = self.teacher.name
        shard = CandidateShard(inputs)
        routed = {key for key, teachers in shard.teachers_by_prompt.items() if name in teachers}
        if missing := sorted(routed - shard.prompts_by_id.keys()):
            raise ExecutionError(f"routes name {len(missing)} prompts that are not there, such as {missing[0]}")
        prompts = [prompt for key, prompt in shard.prompts_by_id.items() if key in routed]
        prompts.sort(key=_beginning)
        return [TeacherRequest(p, r) for p in prompts for r in requests_for(p, self.sampling, self.teacher_hash)]

    def flaw_of(self, sent: "TeacherRequest", completion: Completion) -> str | None:
        """Return the reason to reject a completion; None where there is none.

        Steps that quote material override this, to reject completions that repeat it.
        """
        return None

    @cached_property
    def teacher_hash(self) -> str:
        """Digest of the teacher's identity: part of the ids of requests."""
        return json_hash(self.teacher.identity_at(self.revision))


@dataclass(frozen=True, slots=True)
class TeacherRequest:
    """A request and its prompt."""

    prompt: Prompt
    request: GenerationRequest


class GenerateWorker:
    """Samples one teacher, shard by shard."""

    def __init__(self, config: GenerateConfig, engine: Engine) -> None:
        self._config = config
        self._engine = engine

    def begin(self, inputs: Inputs) -> "TeacherShard":
        """Read this shard's requests."""
        requests = {each.request.candidate_id: each for each in self._config.requests(inputs)}
        announce = getattr(self._engine, "announce", None)
        if announce:
            announce(requests)
        return TeacherShard(self._config, self._engine, requests)

    def load(self) -> Load:
        """Return the engine's load, if it reports one."""
        load = getattr(self._engine, "load", None)
        return load() if load else Load()

    async def close(self) -> None:
        """Stop the engine."""
        await self._engine.close()


@dataclass(frozen=True, slots=True)
class TeacherShard:
    """One shard's requests, by candidate id."""

    config: GenerateConfig
    engine: Engine
    requests: Mapping[str, TeacherRequest]

    @property
    def items(self) -> list[Item]:
        """List one item for each request."""
        name = self.config.teacher.name
        return [Item(candidate_id, each.prompt.language, name) for candidate_id, each in self.requests.items()]

    async def results(self, item_ids: Iterable[str]) -> AsyncGenerator[Record, None]:
        """Send the requests, and yield a Candidate or a Reject for each item as it arrives.

        Raises:
            TeacherError: the teacher cannot serve at all.
            ExecutionError: the engine returned a result for no request.
        """
        requests = (self.requests[item_id].request for item_id in item_ids)
        async with aclosing(self.engine.generate(requests)) as results:
            async for result in results:
                each = self.requests.get(result.candidate_id)
                if each is None:
                    engine = type(self.engine).__name__
                    raise ExecutionError(f"{engine} returned an unexpected result: {result.candidate_id}")
                yield self._record(each, result)

    def crash_reject(self, item_id: str) -> Record:
        """Reject a prompt that crashes the engine."""
        return self._reject(Failure(item_id, "engine_died", "the engine crashed whenever this prompt was sent"))

    def _record(self, sent: TeacherRequest, result: Completion | Failure) -> Candidate | Reject:
        if isinstance(result, Failure):
            return self._reject(result)
        if result.reasoning and result.is_empty:
            return self._reject(unfinished(result.candidate_id, result.finish_reason, result.completion_tokens))
        calls = checked_calls(sent.request, result)
        if isinstance(calls, Failure):
            return self._reject(calls)
        flaw = self.config.flaw_of(sent, result)
        if flaw is None:
            return self._candidate(sent, result, calls)
        return Reject(item_id=result.candidate_id, reason=flaw, detail=None)

    def _candidate(self, sent: TeacherRequest, completion: Completion, calls: tuple[ToolCall, ...]) -> Candidate:
        request = sent.request
        return Candidate(
            candidate_id=request.candidate_id,
            prompt_id=request.prompt_id,
            teacher=self.config.teacher.name,
            revision=self.config.revision,
            sample_index=request.sample_index,
            seed=request.seed,
            text=without_lone_surrogates(completion.text),
            reasoning=None if completion.reasoning is None else without_lone_surrogates(completion.reasoning),
            tool_calls=calls or None,
            finish_reason=completion.finish_reason,
            prompt_tokens=count_of(completion.prompt_tokens),
            completion_tokens=count_of(completion.completion_tokens),
            reasoning_tokens=count_of(completion.reasoning_tokens),
            cumulative_logprob=logprob_of(completion.cumulative_logprob),
            cost_usd=self._cost(completion),
        )

    def _cost(self, completion: Completion) -> float | None:
        prompt_tokens, completion_tokens = count_of(completion.prompt_tokens), count_of(completion.completion_tokens)
        if prompt_tokens is None or completion_tokens is None:
            return None
        return self.config.teacher.usd(prompt_tokens, completion_tokens)

    def _reject(self, failure: Failure) -> Reject:
        detail = None if failure.detail is None else without_lone_surrogates(failure.detail)
        return Reject(item_id=failure.candidate_id, reason=failure.reason, detail=detail)


def requests_for(prompt: Prompt, sampling: SamplingParams, teacher_hash: str) -> list[GenerationRequest]:
    """Return the n requests of a prompt, ids and seeds from hashes.

    Hedged sampling [2506.20544]: sample 0 is greedy, the n − 1 others use the temperature; so with n = 1 the only
    sample is greedy. An id does not depend on n; a greedy sample's id does not depend on temperature, top_p and seed
    either.
    """
    requests = []
    sampled_options, greedy_options = (_options(prompt, sampling, is_greedy=greedy) for greedy in (False, True))
    for index in range(sampling.n):
        is_greedy = sampling.temperature == 0 or (sampling.hedged and index == 0)
        temperature, top_p = (0.0, 1.0) if is_greedy else (sampling.temperature, sampling.top_p)
        options = greedy_options if is_greedy else sampled_options
        sampling_key = (repr(temperature), repr(top_p), sampling.max_tokens, None if is_greedy else sampling.seed)
        options_key = (json_hash(given),) if (given := options.identity()) else ()
        candidate_id = content_id("candidate", prompt.prompt_id, teacher_hash, *sampling_key, *options_key, index)
        requests.append(
            GenerationRequest(
                candidate_id=candidate_id,
                prompt_id=prompt.prompt_id,
                messages=prompt.messages,
                sample_index=index,
                seed=int(content_id("seed", candidate_id), 16) % 2**31,  # what every engine accepts
                temperature=temperature,
                top_p=top_p,
                max_tokens=sampling.max_tokens,
                options=options,
                source_id=prompt.source_id,
                language=prompt.language,
                tools=prompt.tools,
                response_format=prompt.response_format,
            )
        )
    return requests


def _options(prompt: Prompt, sampling: SamplingParams, *, is_greedy: bool) -> DecodingOptions:
    """Return the options of a prompt's requests: the form that the prompt asks for comes before the run's."""
    options = sampling.options(is_greedy=is_greedy)
    if prompt.response_format is None:
        return options
    return options.model_copy(update={"structured_output": structured_output_of(prompt.response_format)})


def _beginning(prompt: Prompt) -> tuple[list[str], str]:
    """Sort prompts with a common beginning next to each other: an engine computes the beginning once."""
    return [prompt.tools or "", *(message.content for message in prompt.messages)], prompt.prompt_id


def without_lone_surrogates(text: str) -> str:
    """Replace lone surrogates, which a JSON response may hold and UTF-8 cannot."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
