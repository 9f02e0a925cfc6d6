"""Interpret status and JSON of OpenAI-compatible endpoints. Servers differ, so no field is assumed to exist."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic_core import from_json

from arbitrage.contracts.engines import Completion, Failure, GenerationRequest
from arbitrage.inputs.messages import REASONING_PARTS, reasoning_beside
from arbitrage.inputs.values import count_of
from arbitrage.records import FinishReason
from arbitrage.teachers.engines.engine import Result
from arbitrage.teachers.engines.finish_reasons import Finish, read_finish
from arbitrage.teachers.engines.logprobs import sum_of_logprobs
from arbitrage.teachers.engines.openai.event_stream import is_stream, joined
from arbitrage.teachers.engines.openai.http import ConnectionProblem, HttpResponse
from arbitrage.teachers.engines.openai.retry import retry_after_s
from arbitrage.teachers.engines.openai.server_errors import ServerError, error_within, read_error
from arbitrage.teachers.engines.openai.settings import SentParameter
from arbitrage.teachers.reasoning import unfinished
from arbitrage.teachers.tools import unfinished_call
from arbitrage.text.reasoning_formats import ReasoningFormat, split_text
from arbitrage.text.tool_formats import ToolFormat, WrittenCall, parse_calls

_REFUSALS = {
    "bad_key": "the key is missing or wrong",
    "no_credit": "the quota is spent, or the account has no credit",
    "denied": "no permission",
    "not_found": "no such model or path",
    "wrong_address": "that is no OpenAI-compatible endpoint",
}
_LEAVE_OUT = frozenset(get_args(SentParameter))


class MalformedResponse(Exception):
    """A response that cannot be read."""


def classify_response(
    request: GenerationRequest,
    response: HttpResponse,
    model: str,
    gives_finish_reason: bool = True,
    marks: ReasoningFormat | None = None,
    calls: ToolFormat | None = None,
) -> Result:
    """Return the result of a request from its response.

    Args:
        request: the request.
        response: the HTTP response.
        model: for messages.
        gives_finish_reason: whether the endpoint gives finish reasons; if not, every completion counts as complete.
        marks: of reasoning that the endpoint leaves in the text; None where it is not to be split.
        calls: form of calls of tools that the endpoint leaves in the text; None where its server reads them.

    Raises:
        ConnectionProblem: there is no result.
    """
    if not 200 <= response.status < 300:
        return classify_error(request, response, _error(response), model)
    try:
        answer = joined(response.body, _event) if is_stream(response.body) else _object(_content(response))
        choice = _choice(answer)
        error = error_within(choice) or error_within(answer)
        if error is None:
            return _result(request, answer, choice, gives_finish_reason, marks, calls)
    except MalformedResponse as error:
        raise ConnectionProblem("malformed", str(error)) from error
    return classify_error(request, response, error, model)


def classify_error(request: GenerationRequest, response: HttpResponse, error: ServerError, model: str) -> Result:
    """Return the Failure of an error that is caused by the row.

    Raises:
        ConnectionProblem: the endpoint causes it, or may cause it.
    """
    detail = f": {error.message}" if error.message else ""
    number = (
        response.status
        if error.status in (None, response.status)
        else f"{response.status} with an error {error.status}"
    )
    match error.meaning:
        case "prompt_too_long" | "content_filter" | "bad_request" as reason:
            return Failure(request.candidate_id, reason, f"{number}{detail}{_hint(error)}")
        case "busy":
            wait_s = retry_after_s(response.retry_after, response.date)
            raise ConnectionProblem("busy", f"it answers {number}{detail}", wait_s)
        case "fault":
            raise ConnectionProblem("fault", f"the endpoint answers {number}{detail}")
        case "denied":
            raise ConnectionProblem("denied", access_error(response, error, model))
        case "not_found":
            raise ConnectionProblem("not_found", access_error(response, error, model))
    raise ConnectionProblem("no_access", access_error(response, error, model))


def access_error(response: HttpResponse, error: ServerError, model: str) -> str:
    """Return the description of a response that refuses all requests, not only this one."""
    if 300 <= response.status < 400:
        return f"answers {response.status} for model {model}: {_redirect(response)}"
    if response.status == 407:
        return f"answers 407 for model {model}: the proxy needs a name and a password in its URL"
    why = _REFUSALS.get(error.meaning, _REFUSALS["wrong_address"])
    detail = f" ({error.message})" if error.message else ""
    return f"answers {response.status} for model {model}: {why}{detail}"


def parse_models(response: HttpResponse, model: str) -> list[str]:
    """Read the response of `/v1/models`: `{data: [{id}]}`, `{models: [{name}]}`, or a bare list of objects or names.

    Raises:
        MalformedResponse: it is not a list of models.
    """
    if response.status != 200:
        raise MalformedResponse(f"it {access_error(response, _error(response), model)}")
    found = _json(_content(response))
    data = found.get("data", found.get("models")) if isinstance(found, dict) else found
    if not isinstance(data, list):
        raise MalformedResponse("the response holds no list of models")
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
    gives_finish_reason: bool,
    marks: ReasoningFormat | None,
    form: ToolFormat | None,
) -> Result:
    """Read a chat completion."""
    message = _message(choice)
    finish = read_finish(choice.get("finish_reason", choice.get("stop_reason")))
    if finish.kind == "absent" and not gives_finish_reason:
        finish = read_finish("stop")
    text, refusal = _text(message.get("content"))
    refused = refusal or message.get("refusal")
    if refused and isinstance(refused, str):
        return Failure(request.candidate_id, "content_filter", f"the model refused: {refused[:200]}")
    calls = _calls(message)
    if calls and request.tools is None and finish.kind in ("stop", "length", "tool_calls"):
        return Failure(request.candidate_id, "tool_calls", "the completion calls a tool")
    if calls and finish.kind == "tool_calls":
        finish = read_finish("stop")
    if (reason := finish.reason) is None:
        return _unfinished(request, finish, text)
    usage = _object_at(answer, "usage")
    num_tokens = count_of(usage.get("completion_tokens"))
    parts = _split(request, _Parts(text, reasoning_beside(message), calls), marks, form, reason, num_tokens)
    if isinstance(parts, Failure):
        return parts
    details = _object_at(usage, "completion_tokens_details")
    return Completion(
        candidate_id=request.candidate_id,
        text=parts.text,
        reasoning=parts.reasoning,
        finish_reason=reason,
        prompt_tokens=count_of(usage.get("prompt_tokens")),
        completion_tokens=num_tokens,
        reasoning_tokens=count_of(details.get("reasoning_tokens", usage.get("reasoning_tokens"))),
        cumulative_logprob=_sum_logprobs(choice.get("logprobs")),
        tool_calls=parts.calls,
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    text: str
    reasoning: str | None
    calls: tuple[WrittenCall, ...]


def _split(
    request: GenerationRequest,
    parts: _Parts,
    marks: ReasoningFormat | None,
    form: ToolFormat | None,
    finish: FinishReason,
    num_tokens: int | None,
) -> _Parts | Failure:
    """Take out of the text what the server has left in it."""
    text, reasoning, calls = parts.text, parts.reasoning, parts.calls
    if reasoning is None and marks is not None:
        split = split_text(text, marks)
        text, reasoning = split.text, split.reasoning
        if split.is_open:
            return unfinished(request.candidate_id, finish, num_tokens)
    if form is not None and request.tools is not None and not calls:
        parsed = parse_calls(text, form)
        text, calls = parsed.text, parsed.calls
        if parsed.is_open:
            return unfinished_call(request.candidate_id, finish)
    if reasoning and not calls and not text.strip():
        return unfinished(request.candidate_id, finish, num_tokens)
    return _Parts(text, reasoning, calls)


def _calls(message: dict[str, Any]) -> tuple[WrittenCall, ...]:
    """Return the calls in a message: `tool_calls`, or the older `function_call`."""
    listed = message.get("tool_calls") or message.get("function_call") or ()
    calls = []
    for each in listed if isinstance(listed, list) else [listed] if listed else []:
        function = each.get("function", each) if isinstance(each, dict) else {}
        name, arguments = (
            (function.get(key) for key in ("name", "arguments")) if isinstance(function, dict) else ("", "")
        )
        written = arguments if isinstance(arguments, str) else json.dumps({} if arguments is None else arguments)
        calls.append(WrittenCall(name if isinstance(name, str) else "", written))
    return tuple(calls)


def _object_at(found: dict[str, Any], key: str) -> dict[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _unfinished(request: GenerationRequest, finish: Finish, text: str) -> Result:
    """Return the Failure of a completion that is not usable; raise if a retry may help."""
    match finish.kind:
        case "filtered":
            detail = None if finish.value == "content_filter" else f"finish_reason '{finish.value}'"
            return Failure(request.candidate_id, "content_filter", detail)
        case "tool_calls":
            return Failure(request.candidate_id, "tool_calls", f"finish_reason '{finish.value}'")
        case "unknown":
            detail = f"finish_reason '{finish.value}' is unknown, so the completion may not be complete"
            return Failure(request.candidate_id, "unknown_finish_reason", detail)
        case "absent":
            raise ConnectionProblem(
                "unfinished", f"finish_reason is {finish.value}: the completion may not be complete"
            )
    raise ConnectionProblem(
        "fault", f"the completion ended with finish_reason '{finish.value}' after {len(text)} characters"
    )


def _choice(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the first choice; an empty one if there is only an error."""
    choices = answer.get("choices")
    found = [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []
    if found:
        return next((each for each in found if each.get("index") == 0), found[0])
    if error_within(answer):
        return {}
    raise MalformedResponse("the response holds no choices[0].message")


def _message(choice: dict[str, Any]) -> dict[str, Any]:
    """Return a choice's message; some servers name it `delta`, or give only a `text`, as legacy completions do."""
    for key in ("message", "delta"):
        if isinstance(found := choice.get(key), dict):
            return found
    if isinstance(text := choice.get("text"), str):
        return {"content": text}
    raise MalformedResponse("the response holds no choices[0].message")


def _text(content: object) -> tuple[str, str]:
    """Return the text of a message's content, and its refusal; parts of reasoning belong to neither."""
    if content is None:  # where a tool was called, or reasoning used up all tokens
        return "", ""
    if isinstance(content, str):
        return content, ""
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list):
        raise MalformedResponse(f"the response's content is of type {type(content).__name__}")
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
            raise MalformedResponse(f"the response's content has a part of type {kind[:60]}")
    return "".join(texts), " ".join(refusals)


def _hint(error: ServerError) -> str:
    """Say what to configure if an endpoint refuses a parameter."""
    named = {name for name in _LEAVE_OUT if name in error.params or re.search(rf"[`'\"]{name}[`'\"]", error.message)}
    if not named:
        return ""
    if "max_tokens" in named and "max_completion_tokens" in error.message:
        return "; set max_tokens_field: max_completion_tokens in the teacher's engine"
    return f"; if the endpoint never accepts it, set leave_out: [{', '.join(sorted(named))}] in the teacher's engine"


def _redirect(response: HttpResponse) -> str:
    if response.location is None:
        return "it redirects without saying where to"
    base, found, path = str(response.location).rpartition("/chat/completions")
    if not found or path:  # to another path than ours, such as one with a slash at its end
        return f"it redirects to {response.location}, where this client cannot follow; correct base_url"
    return f"it redirects to {response.location}; if that is right, put {base} into base_url"


def _error(response: HttpResponse) -> ServerError:
    text = _content(response)
    try:
        return read_error(response.status, _json(text))
    except MalformedResponse:
        return read_error(response.status, text if isinstance(text, str) else text.decode("utf-8", "replace"))


def _content(response: HttpResponse) -> bytes | str:
    """Return the body; as text if it has another encoding than JSON's own UTF-8."""
    if response.charset is None or response.charset.lower().replace("-", "").replace("_", "") in ("utf8", "usascii"):
        return response.body
    try:
        return response.body.decode(response.charset)
    except (LookupError, UnicodeDecodeError):
        return response.body


def _object(body: bytes | str) -> dict[str, Any]:
    found = _json(body)
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise MalformedResponse(f"the response is not an object but {type(found).__name__}")
    return found


def _json(body: bytes | str) -> Any:
    try:
        return _parsed(body)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested without end
        if not body.strip():
            raise MalformedResponse("the response is empty") from error
        raise MalformedResponse("the response is not JSON") from error


def _event(data: bytes) -> Any:
    try:
        return _parsed(data)
    except (ValueError, RecursionError) as error:
        raise MalformedResponse("an event of the response is not JSON") from error


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
