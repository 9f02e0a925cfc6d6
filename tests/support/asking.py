"""Requests to engines, for tests."""

import asyncio
from collections.abc import Sequence

from arbitrage.contracts.engines import NO_OPTIONS, Completion, DecodingOptions, Engine, Failure, GenerationRequest
from arbitrage.records import Message

Results = dict[str, Completion | Failure]


def a_request(
    text: str,
    *,
    candidate_id: str = "",
    prompt_id: str = "",
    sample_index: int = 0,
    seed: int = 0,
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_tokens: int = 16,
    source_id: str = "",
    language: str = "en",
    options: DecodingOptions = NO_OPTIONS,
    tools: str | None = None,
    response_format: str | None = None,
) -> GenerationRequest:
    """Return a request with one user message."""
    return GenerationRequest(
        candidate_id=candidate_id or f"c-{text[:40]}-{sample_index}",
        prompt_id=prompt_id or f"p-{text[:40]}",
        messages=(Message(role="user", content=text),),
        sample_index=sample_index,
        seed=seed,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        options=options,
        source_id=source_id,
        language=language,
        tools=tools,
        response_format=response_format,
    )


async def collect(engine: Engine, requests: Sequence[GenerationRequest]) -> Results:
    """Return the results by candidate id; fail if one comes twice or is missing."""
    results: Results = {}
    async for result in engine.generate(requests):
        assert result.candidate_id not in results
        results[result.candidate_id] = result
    assert set(results) == {request.candidate_id for request in requests}
    return results


def ask(engine: Engine, requests: Sequence[GenerationRequest]) -> Results:
    """Collect outside of an event loop."""
    return asyncio.run(collect(engine, requests))


async def exercise(engine: Engine, questions: Sequence[str]) -> None:
    """Hold an engine to its contract; it must be able to answer the questions."""
    good = [a_request(text, max_tokens=8) for text in questions]
    empty = a_request(" \n\t", candidate_id="empty")
    assert await collect(engine, []) == {}
    results = await collect(engine, [*good[:2], empty, *good[2:]])
    assert results.pop("empty") == Failure("empty", "empty_prompt")
    assert all(isinstance(result, Completion) for result in results.values())
    left, right = await asyncio.gather(collect(engine, good[:3]), collect(engine, good[3:]))
    assert _texts(left | right) == _texts(results)


def _texts(results: Results) -> dict[str, str | None]:
    return {key: result.text if isinstance(result, Completion) else None for key, result in results.items()}
