"""The verb: ask one teacher for its answers to the prompts routed to it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from arbitrage.config import Raw
from arbitrage.contracts import (
    Completion,
    Engine,
    Failure,
    GenerationRequest,
    Inputs,
    Item,
    Output,
    Sampling,
    Step,
    StepConfig,
    Usage,
)
from arbitrage.errors import ExecutionError
from arbitrage.records import Candidate, Prompt, Reject, Route, content_id
from arbitrage.tables import to_table
from arbitrage.teachers.engine import Result, json_hash
from arbitrage.teachers.pool import TeacherConfig

VERSION = 1


def generate(teacher: TeacherConfig, prompts: Step, routes: Step, sampling: Sampling) -> Step:
    """Return the step `generate-<teacher>`: Candidates for every prompt whose route names the teacher.

    Args:
        teacher: whom to ask.
        prompts: step that produces Prompt.
        routes: step that produces Route.
        sampling: how to ask; fields not given explicitly are the teacher's own.
    """
    config = GenerateConfig(
        teacher=teacher, sampling=teacher.resolved_sampling(sampling), revision=teacher.weights_revision()
    )
    asked = routes.config.seen_by(teacher.name)
    return Step(
        name=f"generate-{teacher.name}",
        config=config,
        produces=Candidate,
        inputs={"prompts": (prompts,), "routes": (routes,)},
        resources=teacher.held_resources(),
        pool=f"generate-{teacher.name}",  # one client or engine for all shards, also where it holds no cores
        narrows={} if asked is None else {"routes": {"asked": asked, "version": routes.version}},
        version=VERSION,
    )


class GenerateConfig(StepConfig):
    """Config of a generate step.

    Attributes:
        teacher: whom to ask.
        sampling: how, with nothing left open.
        revision: what pins the weights, found out once when the run was planned.
    """

    teacher: TeacherConfig
    sampling: Sampling
    revision: str

    def identity(self) -> Raw:
        """Return what can change an answer."""
        return {"teacher": self.teacher.identity_at(self.revision), "sampling": self.sampling.identity()}

    def build(self) -> "GenerateWorker":
        """Start the engine."""
        return GenerateWorker(self, self.teacher.engine.build(self.teacher.spec()))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request beside the prompt it asks."""

    prompt: Prompt
    request: GenerationRequest


class GenerateWorker:
    """Asks one teacher, shard by shard."""

    def __init__(self, config: GenerateConfig, engine: Engine) -> None:
        self._config = config
        self._engine = engine
        self._teacher_hash = json_hash(config.teacher.identity_at(config.revision))

    def items(self, inputs: Inputs) -> list[Item]:
        """List the candidates this shard owes."""
        name = self._config.teacher.name
        return [Item(a.request.candidate_id, a.prompt.language, name) for a in self._asked(inputs)]

    async def run(self, inputs: Inputs) -> Output:
        """Ask, and return Candidates in the order of prompts, then sample_index.

        Raises:
            TeacherError: the teacher cannot serve at all.
            ExecutionError: the engine broke its contract.
        """
        asked = self._asked(inputs)
        results = await drain(self._engine, [a.request for a in asked])
        candidates: list[Candidate] = []
        rejects: list[Reject] = []
        for each in asked:
            result = results[each.request.candidate_id]
            if isinstance(result, Completion):
                candidates.append(self._candidate(each, result))
            else:
                rejects.append(self._reject(result))
        return Output(to_table(candidates, Candidate), to_table(rejects, Reject), _usage(candidates))

    async def close(self) -> None:
        """Stop the engine."""
        await self._engine.close()

    def _asked(self, inputs: Inputs) -> list[Asked]:
        name = self._config.teacher.name
        routed = {r.prompt_id for r in inputs.records("routes", Route) if name in r.teachers}
        prompts = [p for p in inputs.records("prompts", Prompt) if p.prompt_id in routed]
        if missing := sorted(routed - {p.prompt_id for p in prompts}):
            raise ExecutionError(f"routes name {len(missing)} prompts that are not there, such as {missing[0]}")
        return [Asked(p, r) for p in prompts for r in requests_for(p, self._config.sampling, self._teacher_hash)]

    def _candidate(self, asked: Asked, completion: Completion) -> Candidate:
        request = asked.request
        return Candidate(
            candidate_id=request.candidate_id,
            prompt_id=request.prompt_id,
            teacher=self._config.teacher.name,
            revision=self._config.revision,
            sample_index=request.sample_index,
            seed=request.seed,
            text=_sound(completion.text),
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            cumulative_logprob=_finite(completion.cumulative_logprob),
            cost_usd=self._cost(completion),
        )

    def _cost(self, completion: Completion) -> float | None:
        teacher = self._config.teacher
        if teacher.cost is None or completion.prompt_tokens is None or completion.completion_tokens is None:
            return None
        num_gpus = teacher.held_resources().gpus
        return teacher.cost.usd(completion.prompt_tokens, completion.completion_tokens, num_gpus)

    def _reject(self, failure: Failure) -> Reject:
        step = f"generate-{self._config.teacher.name}"
        detail = None if failure.detail is None else _sound(failure.detail)
        return Reject(item_id=failure.candidate_id, step=step, reason=failure.reason, detail=detail)


def requests_for(prompt: Prompt, sampling: Sampling, teacher_hash: str) -> list[GenerationRequest]:
    """Return the n requests of a prompt, ids and seeds from hashes.

    Hedged sampling [2506.20544]: sample 0 is greedy, the n − 1 others are warm; so with n = 1 the only answer is
    greedy. An id does not depend on n, and a greedy one not on temperature, top_p and seed.
    """
    requests = []
    for index in range(sampling.n):
        is_greedy = sampling.temperature == 0 or (sampling.hedged and index == 0)
        temperature, top_p = (0.0, 1.0) if is_greedy else (sampling.temperature, sampling.top_p)
        way = (repr(temperature), repr(top_p), sampling.max_tokens, None if is_greedy else sampling.seed)
        candidate_id = content_id("candidate", prompt.prompt_id, teacher_hash, *way, index)
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
                source_id=prompt.source_id,
                language=prompt.language,
            )
        )
    return requests


async def drain(engine: Engine, requests: Sequence[GenerationRequest]) -> dict[str, Result]:
    """Return the engine's results by candidate id.

    Raises:
        ExecutionError: a result is missing, double, or nobody's.
    """
    open_ids = {request.candidate_id for request in requests}
    results: dict[str, Result] = {}
    async for result in engine.generate(requests):
        if result.candidate_id not in open_ids:
            kind = "a second result" if result.candidate_id in results else "a result that nobody asked for"
            raise ExecutionError(f"{type(engine).__name__} gave {kind}: {result.candidate_id}")
        open_ids.remove(result.candidate_id)
        results[result.candidate_id] = result
    if open_ids:
        raise ExecutionError(
            f"{type(engine).__name__} gave no result for {len(open_ids)} of {len(requests)} requests, "
            f"such as {min(open_ids)}"
        )
    return results


def _usage(candidates: Sequence[Candidate]) -> Usage:
    return Usage(
        prompt_tokens=sum(c.prompt_tokens or 0 for c in candidates),
        completion_tokens=sum(c.completion_tokens or 0 for c in candidates),
        cost_usd=sum(c.cost_usd or 0.0 for c in candidates),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _sound(text: str) -> str:
    """Replace lone surrogates, which a JSON answer may hold and UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
