"""What an OpenAI-compatible endpoint's status and JSON mean. Servers differ; no field is trusted to be there."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

from arbitrage.contracts.engines import Completion, Failure, GenerationFailure, GenerationRequest
from arbitrage.records import FinishReason
from arbitrage.teachers.engine import Result
from arbitrage.teachers.openai_wire import Reply, Trouble
from arbitrage.teachers.retry import retry_after_s

BUSY = frozenset({429, 503, 529})
"""Not now (529: overloaded, as Anthropic's endpoint says it)."""

_BAD_REQUEST = frozenset({400, 413, 422})
_TRY_AGAIN = frozenset({408, 409, 425})  # it timed out reading, met a conflict, or it is too early (RFC 8470)
_ACCESS = {
    401: "the key is missing or wrong",
    402: "the account has no credit",
    403: "no permission",
    404: "no such model or path",
}
_SPENT_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_TOO_LONG_CODES = frozenset({"context_length_exceeded", "string_above_max_length"})
_TOO_LONG_PARAMS = frozenset({"input_tokens", "input_text"})  # as vLLM names what is too long


class Garbage(Exception):
    """An answer of status 200 that holds no answer."""


def judge(request: GenerationRequest, reply: Reply, model: str, secrets: Sequence[str]) -> Result:
    """Return what a reply makes of a request.

    Args:
        request: what was asked.
        reply: what came back.
        model: for messages.
        secrets: what must not be in a message.

    Raises:
        Trouble: `busy`, `fault` or `no_access`; the reply makes nothing of it.
    """
    if reply.status == 200:
        try:
            return parse_answer(request, reply.body)
        except Garbage as error:
            raise Trouble("fault", str(error)) from error
    if reply.status in _BAD_REQUEST:
        reason, detail = refusal(reply.body, secrets)
        return Failure(request.candidate_id, reason, f"{reply.status}: {detail}")
    if reply.status in BUSY:
        if str(_error(reply.body).get("code")) in _SPENT_CODES:
            raise Trouble("no_access", f"answers {reply.status} for model {model}: the quota is spent")
        raise Trouble("busy", f"it answers {reply.status}", retry_after_s(reply.retry_after, reply.date))
    if reply.status >= 500 or reply.status in _TRY_AGAIN:
        raise Trouble("fault", f"the endpoint answers {reply.status}")
    raise Trouble("no_access", denial(reply.status, model))


def denial(status: int, model: str) -> str:
    """Return what a status says that refuses us for good."""
    return f"answers {status} for model {model}: {_ACCESS.get(status, 'that is no OpenAI-compatible endpoint')}"


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
    error = _error(body)
    is_too_long = str(error.get("code")) in _TOO_LONG_CODES or str(error.get("param")) in _TOO_LONG_PARAMS
    message = str(error.get("message"))
    for secret in secrets:
        message = message.replace(secret.removeprefix("Bearer "), "***")
    return "prompt_too_long" if is_too_long else "bad_request", message[:300]


def _error(body: bytes) -> dict[str, Any]:
    try:
        error = _object(body).get("error")
    except Garbage:
        return {"message": "no JSON"}
    return error if isinstance(error, dict) else {"message": error}


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = _parsed(body)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested without end
        raise Garbage("the answer is not JSON") from error
    if not isinstance(found, dict):
        raise Garbage(f"the answer is not an object but {type(found).__name__}")
    return found


def _parsed(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError:  # it may only hold half a surrogate pair, which the slower parser lets pass
        return json.loads(body)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _sum_logprobs(logprobs: object) -> float | None:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content:
        return None
    values = [token.get("logprob") if isinstance(token, dict) else None for token in content]
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    return sum(numbers) if len(numbers) == len(values) else None
