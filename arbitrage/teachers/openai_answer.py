"""What an OpenAI-compatible endpoint's JSON means. Servers differ; nothing here trusts a field to be there."""

import json
from collections.abc import Sequence
from typing import Any

from arbitrage.contracts import Completion, Failure, GenerationFailure, GenerationRequest
from arbitrage.records import FinishReason
from arbitrage.teachers.engine import Result

_TOO_LONG_CODES = frozenset({"context_length_exceeded", "string_above_max_length"})
_TOO_LONG_PARAMS = frozenset({"input_tokens", "input_text"})  # as vLLM names what is too long


class Garbage(Exception):
    """An answer of status 200 that holds no answer."""


def parse_answer(request: GenerationRequest, body: bytes) -> Result:
    """Read a chat completion.

    Raises:
        Garbage: not JSON, no choices, or no message.
    """
    answer = _object(body)
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise Garbage("the answer holds no choices[0].message")
    text = message.get("content")
    if not isinstance(text, str | None):
        raise Garbage(f"the answer's content is of type {type(text).__name__}")
    finish = choice.get("finish_reason")
    if finish == "content_filter":
        return Failure(request.candidate_id, "content_filter")
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Completion(
        candidate_id=request.candidate_id,
        text=text or "",  # null where a tool was called, or where thinking used up all tokens
        finish_reason=FinishReason.LENGTH if finish == "length" else FinishReason.STOP,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cumulative_logprob=_sum_logprobs(choice.get("logprobs")),
    )


def parse_models(body: bytes) -> list[str]:
    """Read the answer of `/v1/models`.

    Raises:
        Garbage: it is no list of models.
    """
    data = _object(body).get("data")
    if not isinstance(data, list):
        raise Garbage("the answer holds no list of models")
    return [str(model["id"]) for model in data if isinstance(model, dict) and "id" in model]


def refusal(body: bytes, secrets: Sequence[str]) -> tuple[GenerationFailure, str]:
    """Return why a request was refused, by the error's code, and its message with secrets blotted out."""
    try:
        error: Any = _object(body).get("error")
    except Garbage:
        return "bad_request", "no JSON"
    error = error if isinstance(error, dict) else {"message": error}
    is_too_long = error.get("code") in _TOO_LONG_CODES or error.get("param") in _TOO_LONG_PARAMS
    message = str(error.get("message"))
    for secret in secrets:
        message = message.replace(secret.removeprefix("Bearer "), "***")
    return "prompt_too_long" if is_too_long else "bad_request", message[:300]


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested without end
        raise Garbage("the answer is not JSON") from error
    if not isinstance(found, dict):
        raise Garbage(f"the answer is not an object but {type(found).__name__}")
    return found


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _sum_logprobs(logprobs: object) -> float | None:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content:
        return None
    values = [token.get("logprob") if isinstance(token, dict) else None for token in content]
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    return sum(numbers) if len(numbers) == len(values) else None
