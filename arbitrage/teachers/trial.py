"""`arbitrage teachers try`: start a teacher where it would run, send it a few prompts, and measure.

Runs in a process of its own, which ends with its engine: the memory of one teacher is free for the next.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from arbitrage.contracts.engines import Completion, Engine, Failure, GenerationRequest, SamplingParams
from arbitrage.errors import ArbitrageError
from arbitrage.languages import UNKNOWN, name_of
from arbitrage.models.loading import first_line
from arbitrage.models.measured import gpu_memory, memory_warning, peak_gb, weights_gb
from arbitrage.records import Message, Prompt, prompt_id_of
from arbitrage.teachers.generate import requests_for
from arbitrage.teachers.pool import TeacherConfig
from arbitrage.text.identify import identify, is_same_language

MAX_LANGUAGES = 3


@dataclass(frozen=True, slots=True)
class TrialSample:
    """What one prompt brought.

    Attributes:
        language: of the prompt.
        text: the answer; empty where there is none.
        reasoning_tokens: of the reasoning before it; None where it is not known.
        written_in: the language identified; "und" where the text is too short to tell.
        is_in_language: whether that is the prompt's; None where it is not known.
        failure: why there is no answer.
    """

    language: str
    text: str = ""
    reasoning_tokens: int | None = None
    written_in: str = UNKNOWN
    is_in_language: bool | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """What a teacher did.

    Attributes:
        teacher: its name.
        error: why it could not be tried, in one line.
        warning: about memory, before it started.
        host: the machine it ran on.
        start_s: seconds until the engine could take a request.
        tokens_per_s: completion tokens a second, over all prompts together.
        kv_cache_tokens: tokens that the engine's key-value cache holds.
        weights_gb: size of the weights' files, where they are on this machine.
        memory_gb: the process's peak memory, its children's included; of a GPU, what was in use at the end.
        gpu: name and memory of the GPU, where there is one.
        samples: one for each prompt.
    """

    teacher: str
    error: str | None = None
    warning: str | None = None
    host: str = ""
    start_s: float | None = None
    tokens_per_s: float | None = None
    kv_cache_tokens: int | None = None
    weights_gb: float | None = None
    memory_gb: float | None = None
    gpu: str | None = None
    samples: tuple[TrialSample, ...] = ()


def run_trial(teacher: TeacherConfig, max_tokens: int, question: str) -> Trial:
    """Start a teacher's engine, send it a prompt in each of its first languages, and end it.

    Args:
        teacher: the teacher.
        max_tokens: limit of each completion.
        question: the prompt; `{language}` stands for the language's English name.
    """
    import socket

    host = socket.gethostname()
    if teacher.engine.is_deferred:
        cause = f"engine '{teacher.engine.kind}' answers up to a day later; try the model with kind: openai"
        return Trial(teacher.name, error=cause, host=host)
    warning = None
    try:
        warning = _memory_warning(teacher)
        if warning:
            print(f"! {teacher.name}: {warning}", file=sys.stderr, flush=True)
        return replace(asyncio.run(_run(teacher, max_tokens, question, host)), warning=warning)
    except Exception as error:  # noqa: BLE001 — of a model's code: the next teacher is to be tried all the same
        cause = str(error) if isinstance(error, ArbitrageError) else f"{type(error).__name__}: {first_line(error)}"
        shown = cause.splitlines()[0] if cause else type(error).__name__
        return Trial(teacher.name, error=shown, warning=warning, host=host)


def _memory_warning(teacher: TeacherConfig) -> str | None:
    """Compare the weights with the memory of the GPUs that a replica holds, before the engine starts."""
    gpus = teacher.held_resources().gpus
    card = gpu_memory() if gpus else None
    share = getattr(teacher.engine, "gpu_memory_utilization", 1.0)
    return memory_warning(_weights_of(teacher), card[1] if card else None, gpus, share)


def _weights_of(teacher: TeacherConfig) -> float | None:
    return weights_gb(teacher.model, teacher.revision) if teacher.engine.loads_model else None


async def _run(teacher: TeacherConfig, max_tokens: int, question: str, host: str) -> Trial:
    sampling = teacher.resolved_sampling(SamplingParams(n=1, max_tokens=max_tokens, hedged=False))
    started = time.monotonic()
    engine = teacher.engine.build(teacher.spec(sampling))
    start_s = time.monotonic() - started
    try:
        requests = _requests(teacher, sampling, question)
        await _collect(engine, requests[:1])  # the first compiles and fills caches
        started = time.monotonic()
        results = await _collect(engine, requests)
        seconds = time.monotonic() - started
        num_tokens = sum(r.completion_tokens or 0 for r in results if isinstance(r, Completion))
        card = gpu_memory()
        return Trial(
            teacher=teacher.name,
            host=host,
            start_s=start_s,
            tokens_per_s=num_tokens / seconds if num_tokens else None,
            kv_cache_tokens=_kv_cache_tokens(engine),
            weights_gb=_weights_of(teacher),
            memory_gb=card[2] if card else peak_gb(),
            gpu=f"{card[0]} ({card[1]:.0f} GB)" if card else None,
            samples=tuple(_sample(request, result) for request, result in zip(requests, results, strict=True)),
        )
    finally:
        await engine.close()


def _requests(teacher: TeacherConfig, sampling: SamplingParams, question: str) -> list[GenerationRequest]:
    found = []
    for tag in teacher.languages[:MAX_LANGUAGES]:
        messages = (Message(role="user", content=question.replace("{language}", name_of(tag))),)
        key = prompt_id_of(tag, messages)
        prompt = Prompt(prompt_id=key, language=tag, messages=messages, source="try", source_id=key)
        found += requests_for(prompt, sampling, teacher.name)
    return found


async def _collect(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Completion | Failure]:
    found = {result.candidate_id: result async for result in engine.generate(requests)}
    return [found[request.candidate_id] for request in requests]


def _sample(request: GenerationRequest, result: Completion | Failure) -> TrialSample:
    if isinstance(result, Failure):
        return TrialSample(request.language, failure=": ".join(filter(None, (result.reason, result.detail))))
    found = identify(result.text)
    written_in = found.language if found.is_reliable else UNKNOWN
    is_known = UNKNOWN not in (written_in, request.language)
    return TrialSample(
        language=request.language,
        text=result.text,
        reasoning_tokens=result.reasoning_tokens,
        written_in=written_in,
        is_in_language=is_same_language(written_in, request.language) if is_known else None,
    )


def _kv_cache_tokens(engine: Any) -> int | None:
    count = getattr(engine, "kv_cache_tokens", None)
    return None if count is None else int(count())
