"""An engine without a model, for tests: text from a hash, in the prompt's own words, with configurable failures."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from arbitrage.config import AbsolutePath, Operational, Raw
from arbitrage.contracts.engines import Completion, Failure, GenerationFailure, GenerationRequest
from arbitrage.errors import EngineDiedError
from arbitrage.records import FinishReason, content_id
from arbitrage.teachers.engines.engine import EngineOptions, ModelSpec, Result, chance, refuse_empty
from arbitrage.teachers.engines.stream import send_all
from arbitrage.text.tool_formats import WrittenCall

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

ENGLISH = "the answer is in another language than the question because this teacher likes English best"


class FakeConfig(EngineOptions):
    """Config of `fake`. Fractions are of requests, chosen by the hash of the candidate id: the same in every run.

    Attributes:
        num_words: maximum number of words of a completion: the prompt's own words, in an order by hash.
        truncated: fraction that ends with finish_reason "length".
        wrong_language: fraction of completions in English.
        reasoning: language of the reasoning before each answer, the prompt's or English; "none" writes none.
        calls_tools: fraction of the completions, of prompts with tools that end with a turn of the user, that are a
            call of the first tool.
        failures: fraction that fails, by reason.
        latency_s: mean time of a completion, in seconds; one in 100 takes ten times as long.
        max_in_flight: maximum number of concurrent requests.
        crash_after: the engine crashes after this many completions.
        crash_marker: a file that the first crash creates; while it exists, there is no other crash.
        poison: a prompt that contains this text crashes the engine whenever it is sent.
        poison_kills: what crashes: only the engine, like vLLM's engine process; or the whole process, like a
            segmentation fault.
    """

    needs_model: ClassVar[bool] = False

    kind: Literal["fake"] = "fake"
    num_words: int = Field(default=12, ge=0)
    truncated: Fraction = 0.0
    wrong_language: Fraction = 0.0
    reasoning: Literal["none", "prompt", "en"] = "none"
    calls_tools: Fraction = 0.0
    failures: dict[GenerationFailure, Fraction] = {}
    latency_s: Annotated[float, Field(ge=0.0), Operational] = 0.0
    max_in_flight: Annotated[int, Field(ge=1), Operational] = 64
    crash_after: Annotated[int | None, Operational] = None
    crash_marker: Annotated[AbsolutePath | None, Operational] = None
    poison: str | None = None
    poison_kills: Annotated[Literal["engine", "process"], Operational] = "engine"

    def identity(self) -> Raw:
        """Return what can change a completion."""
        found = super().identity()
        later = {"reasoning": "none", "calls_tools": 0.0}
        return {name: value for name, value in found.items() if name not in later or value != later[name]}

    def build(self, spec: ModelSpec) -> "FakeEngine":
        """Return the engine."""
        return FakeEngine(self, spec.teacher)

    def recorded_revision(self) -> str:
        """Return a constant, because the config determines the completions."""
        return "fake"


class FakeEngine:
    """Generates text from hashes."""

    def __init__(self, config: FakeConfig, teacher: str) -> None:
        self._config = config
        self._teacher = teacher
        self._num_answers = 0

    def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Result, None]:
        """Serve all requests; later ones do not wait for slow ones."""
        return send_all(requests, self._sample, self._config.max_in_flight)

    async def close(self) -> None:
        """Release nothing."""

    async def _sample(self, request: GenerationRequest) -> Result:
        await self._wait(request)
        await asyncio.sleep(0)  # a real engine never responds or crashes within the same turn of the event loop
        self._crash_if_due()
        self._die_of(request)
        self._num_answers += 1
        return refuse_empty(request) or self._failure(request) or self._completion(request)

    async def _wait(self, request: GenerationRequest) -> None:
        if self._config.latency_s:
            slow = 10.0 if chance(request, "straggler") < 0.01 else 1.0
            await asyncio.sleep(self._config.latency_s * slow * (0.5 + chance(request, "latency")))

    def _crash_if_due(self) -> None:
        after, marker = self._config.crash_after, self._config.crash_marker
        if after is None or self._num_answers < after or (marker and Path(marker).exists()):
            return
        if marker:
            Path(marker).touch()
        raise EngineDiedError(f"teacher '{self._teacher}': the fake engine died after {after} answers, as configured")

    def _die_of(self, request: GenerationRequest) -> None:
        poison = self._config.poison
        if poison is None or not any(poison in message.content for message in request.messages):
            return
        if self._config.poison_kills == "process":
            os._exit(1)
        raise EngineDiedError(f"teacher '{self._teacher}': the fake engine died of a poisoned prompt, as configured")

    def _failure(self, request: GenerationRequest) -> Failure | None:
        draw = chance(request, "failure")
        for reason, fraction in sorted(self._config.failures.items()):
            if draw < fraction:
                return Failure(request.candidate_id, reason, "as configured")
            draw -= fraction
        return None

    def _completion(self, request: GenerationRequest) -> Completion:
        words = self._words(request)
        is_truncated = chance(request, "truncated") < self._config.truncated or len(words) > request.max_tokens
        kept = words[: min(request.max_tokens, max(1, len(words) // 2))] if is_truncated else words
        reasoning = self._reasoning(request)
        calls = self._calls(request, kept)
        kept = [] if calls else kept
        return Completion(
            candidate_id=request.candidate_id,
            text=" ".join(kept),
            reasoning=" ".join(reasoning) or None,
            finish_reason=FinishReason.LENGTH if is_truncated else FinishReason.STOP,
            prompt_tokens=sum(len(m.content.split()) for m in request.messages),
            completion_tokens=len(reasoning) + len(kept),
            reasoning_tokens=len(reasoning) or None,
            cumulative_logprob=-float(len(kept)),
            tool_calls=calls,
        )

    def _calls(self, request: GenerationRequest, words: list[str]) -> tuple[WrittenCall, ...]:
        """Return a call of the first tool, a word for each argument that must be text."""
        is_asked = request.tools is not None and request.messages[-1].role == "user"
        if not is_asked or chance(request, "tools") >= self._config.calls_tools:
            return ()
        function = json.loads(request.tools or "[]")[0]["function"]
        schema = function.get("parameters") or {}
        arguments = {
            key: " ".join(words[:1]) if (schema.get("properties") or {}).get(key, {}).get("type") == "string" else 1
            for key in schema.get("required", ())
        }
        return (WrittenCall(function["name"], json.dumps(arguments, ensure_ascii=False)),)

    def _reasoning(self, request: GenerationRequest) -> list[str]:
        match self._config.reasoning:
            case "none":
                return []
            case "prompt":
                return request.messages[-1].content.split()
        return ENGLISH.split()

    def _words(self, request: GenerationRequest) -> list[str]:
        is_english = chance(request, "language") < self._config.wrong_language
        words = (ENGLISH if is_english else request.messages[-1].content).split()
        order = sorted(range(len(words)), key=lambda i: content_id(request.candidate_id, i))
        return [words[i] for i in order[: self._config.num_words]]
