"""What an OpenAI-compatible endpoint's status and JSON mean. Servers differ; no field is trusted to be there."""

import json
import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic_core import from_json

from arbitrage.contracts.engines import Completion, Failure, GenerationRequest
from arbitrage.inputs.messages import REASONING_PARTS, reasoning_beside
from arbitrage.inputs.values import count_of
from arbitrage.teachers.engines.engine import Result
from arbitrage.teachers.engines.finish_reasons import Finish, read_finish
from arbitrage.teachers.engines.logprobs import sum_of_logprobs
from arbitrage.teachers.engines.openai.event_stream import is_stream, joined
from arbitrage.teachers.engines.openai.http import ConnectionProblem, HttpResponse
from arbitrage.teachers.engines.openai.retry import retry_after_s
from arbitrage.teachers.engines.openai.server_errors import ServerError, error_within, read_error
from arbitrage.teachers.engines.openai.settings import SentParameter
from arbitrage.teachers.reasoning import unfinished
from arbitrage.text.reasoning_formats import ReasoningFormat, split_text

_REFUSALS = {
    "bad_key": "the key is missing or wrong",
    "no_credit": "the quota is spent, or the account has no credit",
    "denied": "no permission",
    "not_found": "no such model or path",
    "wrong_address": "that is no OpenAI-compatible endpoint",
}
_LEAVE_OUT = frozenset(get_args(SentParameter))


class MalformedResponse(Exception):
    """A response that cannot be read as what it should be."""


def classify_response(
    request: GenerationRequest,
    reply: HttpResponse,
    model: str,
    says_finish: bool = True,
    marks: ReasoningFormat | None = None,
) -> Result:
    """Return what a reply makes of a request.

    Args:
        request: the request.
        reply: what came back.
        model: for messages.
        says_finish: whether the endpoint gives finish reasons; where it does not, every answer counts as whole.
        marks: of reasoning that the endpoint leaves in the text; None where it is not to be split.

    Raises:
        ConnectionProblem: the reply makes nothing of it.
    """
    if not 200 <= reply.status < 300:
        return classify_error(request, reply, _error(reply), model)
    try:
        answer = joined(reply.body, _event) if is_stream(reply.body) else _object(_content(reply))
        choice = _choice(answer)
        error = error_within(choice) or error_within(answer)
        if error is None:
            return _result(request, answer, choice, says_finish, marks)
    except MalformedResponse as error:
        raise ConnectionProblem("malformed", str(error)) from error
    return classify_error(request, reply, error, model)


def classify_error(request: GenerationRequest, reply: HttpResponse, error: ServerError, model: str) -> Result:
    """Return the Failure of an error that is the row's own.

    Raises:
        ConnectionProblem: it is the endpoint's, or may be.
    """
    detail = f": {error.message}" if error.message else ""
    number = reply.status if error.status in (None, reply.status) else f"{reply.status} with an error {error.status}"
    match error.meaning:
        case "prompt_too_long" | "content_filter" | "bad_request" as reason:
            return Failure(request.candidate_id, reason, f"{number}{detail}{_hint(error)}")
        case "busy":
            wait_s = retry_after_s(reply.retry_after, reply.date)
            raise ConnectionProblem("busy", f"it answers {number}{detail}", wait_s)
        case "fault":
            raise ConnectionProblem("fault", f"the endpoint answers {number}{detail}")
        case "denied":
            raise ConnectionProblem("denied", access_error(reply, error, model))
        case "not_found":
            raise ConnectionProblem("not_found", access_error(reply, error, model))
    raise ConnectionProblem("no_access", access_error(reply, error, model))


def access_error(reply: HttpResponse, error: ServerError, model: str) -> str:
    """Return what a response says that refuses every request, not only this one."""
    if 300 <= reply.status < 400:
        return f"answers {reply.status} for model {model}: {_redirect(reply)}"
    if reply.status == 407:
        return f"answers 407 for model {model}: the proxy wants a name and a password in the proxy's URL"
    why = _REFUSALS.get(error.meaning, _REFUSALS["wrong_address"])
    detail = f" ({error.message})" if error.message else ""
    return f"answers {reply.status} for model {model}: {why}{detail}"


def parse_models(reply: HttpResponse, model: str) -> list[str]:
    """Read the answer of `/v1/models`: `{data: [{id}]}`, `{models: [{name}]}`, or a bare list of objects or names.

    Raises:
        MalformedResponse: it is no list of models.
    """
    if reply.status != 200:
        raise MalformedResponse(f"it {access_error(reply, _error(reply), model)}")
    found = _json(_content(reply))
    data = found.get("data", found.get("models")) if isinstance(found, dict) else found
    if not isinstance(data, list):
        raise MalformedResponse("the answer holds no list of models")
    named = [each.get("id", each.get("name", each.get("model"))) if isinstance(each, dict) else each for each in data]
    return [name for name in named if isinstance(name, str)]


def listed(names: Sequence[str]) -> str:
    """Return the first of many names, for messages."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "nothing"


def is_model(served: str, model: str) -> bool:
    """Tell whether two names are one model: Gemini lists `models/m`, Ollama `m:latest`."""
    return _bare(served) == _bare(model)


def _bare(name: str) -> str:
    return name.removeprefix("models/").removesuffix(":latest")


def _result(
    request: GenerationRequest,
    answer: dict[str, Any],
    choice: dict[str, Any],
    says_finish: bool,
    marks: ReasoningFormat | None,
) -> Result:
    """Read a chat completion."""
    message = _message(choice)
    finish = read_finish(choice.get("finish_reason", choice.get("stop_reason")))
    if finish.kind == "absent" and not says_finish:
        finish = read_finish("stop")
    text, refusal = _text(message.get("content"))
    refused = refusal or message.get("refusal")
    if refused and isinstance(refused, str):
        return Failure(request.candidate_id, "content_filter", f"the model refused: {refused[:200]}")
    if finish.kind in ("stop", "length", "tool_calls") and (
        message.get("tool_calls") or message.get("function_call")
    ):
        return Failure(request.candidate_id, "tool_calls", "the answer calls a tool")
    if (reason := finish.reason) is None:
        return _unfinished(request, finish, text)
    usage = _object_at(answer, "usage")
    reasoning, num_tokens = reasoning_beside(message), count_of(usage.get("completion_tokens"))
    if reasoning is None and marks is not None:
        split = split_text(text, marks)
        text, reasoning = split.text, split.reasoning
        if split.is_open:
            return unfinished(request.candidate_id, reason, num_tokens)
    if reasoning and not text.strip():
        return unfinished(request.candidate_id, reason, num_tokens)
    details = _object_at(usage, "completion_tokens_details")
    return Completion(
        candidate_id=request.candidate_id,
        text=text,
        reasoning=reasoning,
        finish_reason=reason,
        prompt_tokens=count_of(usage.get("prompt_tokens")),
        completion_tokens=num_tokens,
        reasoning_tokens=count_of(details.get("reasoning_tokens", usage.get("reasoning_tokens"))),
        cumulative_logprob=_sum_logprobs(choice.get("logprobs")),
    )


def _object_at(found: dict[str, Any], key: str) -> dict[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _unfinished(request: GenerationRequest, finish: Finish, text: str) -> Result:
    """Return the Failure of an answer that is none; raise where a retry may help."""
    match finish.kind:
        case "filtered":
            detail = None if finish.value == "content_filter" else f"finish_reason '{finish.value}'"
            return Failure(request.candidate_id, "content_filter", detail)
        case "tool_calls":
            return Failure(request.candidate_id, "tool_calls", f"finish_reason '{finish.value}'")
        case "unknown":
            detail = f"finish_reason '{finish.value}' is not known: whether the answer is whole is not known either"
            return Failure(request.candidate_id, "unknown_finish_reason", detail)
        case "absent":
            raise ConnectionProblem(
                "unfinished", f"finish_reason is {finish.value}: whether the answer is whole is not known"
            )
    raise ConnectionProblem(
        "fault", f"the answer ended with finish_reason '{finish.value}' after {len(text)} characters"
    )


def _choice(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the first choice; an empty one where there is none but an error."""
    choices = answer.get("choices")
    found = [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []
    if found:
        return next((each for each in found if each.get("index") == 0), found[0])
    if error_within(answer):
        return {}
    raise MalformedResponse("the answer holds no choices[0].message")


def _message(choice: dict[str, Any]) -> dict[str, Any]:
    """Return a choice's message; some servers call it `delta`, or give a `text` alone, as legacy completions do."""
    for key in ("message", "delta"):
        if isinstance(found := choice.get(key), dict):
            return found
    if isinstance(text := choice.get("text"), str):
        return {"content": text}
    raise MalformedResponse("the answer holds no choices[0].message")


def _text(content: object) -> tuple[str, str]:
    """Return the text of a message's content, and its refusal; reasoning among its parts is neither."""
    if content is None:  # where a tool was called, or where thinking used up all tokens
        return "", ""
    if isinstance(content, str):
        return content, ""
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list):
        raise MalformedResponse(f"the answer's content is of type {type(content).__name__}")
    texts, refusals = [], []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = str(part.get("type", "text")) if isinstance(part, dict) else type(part).__name__
        if kind in ("text", "output_text") and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "refusal":
            refusals.append(str(part.get("refusal"))[:200])
        elif kind not in REASONING_PARTS:
            raise MalformedResponse(f"the answer's content has a part of type {kind[:60]}")
    return "".join(texts), " ".join(refusals)


def _hint(error: ServerError) -> str:
    """Say what to configure where an endpoint refuses a parameter."""
    named = {name for name in _LEAVE_OUT if name in error.params or re.search(rf"[`'\"]{name}[`'\"]", error.message)}
    if not named:
        return ""
    if "max_tokens" in named and "max_completion_tokens" in error.message:
        return "; say max_tokens_field: max_completion_tokens in the teacher's engine"
    return f"; if the endpoint never takes it, say leave_out: [{', '.join(sorted(named))}] in the teacher's engine"


def _redirect(reply: HttpResponse) -> str:
    if reply.location is None:
        return "it redirects without saying where to"
    base, found, path = str(reply.location).rpartition("/chat/completions")
    if not found or path:  # to another path than ours, such as one with a slash at its end
        return f"it redirects to {reply.location}, where this client cannot follow; correct base_url"
    return f"it redirects to {reply.location}; if that is right, put {base} into base_url"


def _error(reply: HttpResponse) -> ServerError:
    text = _content(reply)
    try:
        return read_error(reply.status, _json(text))
    except MalformedResponse:
        return read_error(reply.status, text if isinstance(text, str) else text.decode("utf-8", "replace"))


def _content(reply: HttpResponse) -> bytes | str:
    """Return the body, as text where it is in another encoding than JSON's own UTF-8."""
    if reply.charset is None or reply.charset.lower().replace("-", "").replace("_", "") in ("utf8", "usascii"):
        return reply.body
    try:
        return reply.body.decode(reply.charset)
    except (LookupError, UnicodeDecodeError):
        return reply.body


def _object(body: bytes | str) -> dict[str, Any]:
    found = _json(body)
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise MalformedResponse(f"the answer is not an object but {type(found).__name__}")
    return found


def _json(body: bytes | str) -> Any:
    try:
        return _parsed(body)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested without end
        if not body.strip():
            raise MalformedResponse("the answer is empty") from error
        raise MalformedResponse("the answer is not JSON") from error


def _event(data: bytes) -> Any:
    try:
        return _parsed(data)
    except (ValueError, RecursionError) as error:
        raise MalformedResponse("an event of the answer is not JSON") from error


def _parsed(body: bytes | str) -> Any:
    try:
        return from_json(body)
    except ValueError:  # it may begin with a byte order mark, or hold half a surrogate pair
        return json.loads(body.decode("utf-8-sig") if isinstance(body, bytes) and body[:1] == b"\xef" else body)


def _sum_logprobs(logprobs: object) -> float | None:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return None
    return sum_of_logprobs(token.get("logprob") if isinstance(token, dict) else None for token in content)
