"""Interpret an endpoint's error: status, codes and message, wherever they are in the body.

OpenAI sends `{"error": {"message", "type", "param", "code"}}`. Others send it as a list (Gemini), beside
`object: error` (SGLang, older vLLM), as `detail` (FastAPI), as text or HTML (proxies), within a 200 or within a
choice (OpenRouter).
"""

import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from arbitrage.teachers.engines.finish_reasons import read_finish

Meaning = Literal[
    "prompt_too_long",
    "content_filter",
    "bad_request",
    "no_credit",
    "bad_key",
    "denied",
    "not_found",
    "wrong_address",
    "busy",
    "fault",
]
"""Caused by the row: `prompt_too_long`, `content_filter`, `bad_request`. By the endpoint: `no_credit`, `bad_key`,
`wrong_address`. By either, as other requests show: `denied`, `not_found`, `fault`. Overload: `busy`."""

_ROW_STATUSES = frozenset({400, 411, 413, 414, 422, 431})
_BUSY_STATUSES = frozenset({429, 503, 529})  # 529: overloaded, as Anthropic's endpoint says it
_BY_STATUS: dict[int, Meaning] = {
    401: "bad_key",
    402: "no_credit",
    403: "denied",
    404: "not_found",
    405: "wrong_address",
    407: "wrong_address",
    410: "not_found",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TOO_LONG = _words(
    """context_length_exceeded string_above_max_length context_window_exceeded contextwindowexceedederror
    model_context_window_exceeded exceed_context_size_error prompt_too_long input_too_long
    max_context_length_exceeded tokens_exceeded_error request_too_large"""
)
_TOO_LONG_PARAMS = _words("input_tokens input_text")  # as vLLM names what is too long
_FILTERED = _words(
    """responsibleaipolicyviolation data_inspection_failed datainspectionfailed content_policy moderation_blocked
    flagged contentpolicyviolationerror input_moderation unsafe_content content_violation"""
)
_NO_CREDIT = _words(
    """insufficient_quota insufficient_balance insufficient_credits insufficient_user_quota insufficient_funds
    billing_hard_limit_reached billing_not_active exceeded_current_quota_error payment_required account_deactivated
    credit_balance_too_low arrearage"""
)
_BAD_KEY = _words(
    """invalid_api_key incorrect_api_key missing_api_key api_key_invalid api_key_expired invalidapikey
    authentication_error authenticationerror invalid_authentication invalid_authentication_error unauthenticated
    unauthorized invalid_access_token invalid_token"""
)
_BUSY = _words(
    """rate_limit_exceeded rate_limit_error rate_limit_reached ratelimiterror rate_limited too_many_requests
    toomanyrequests overloaded overloaded_error engine_overloaded engine_overloaded_error server_overloaded
    resource_exhausted throttling throttlingexception slow_down model_loading model_not_ready loading unavailable
    service_unavailable service_unavailable_error serviceunavailable serviceunavailableerror unavailable_error
    capacity_exceeded no_capacity"""
)
_NO_MODEL = _words("model_not_found model_not_exist deploymentnotfound")
_NOT_FOUND = _words("not_found not_found_error notfounderror")
_BAD_REQUEST = _words(
    """invalid_request_error invalid_argument badrequesterror bad_request validation validation_error invalid_value
    invalid_prompt unsupported_parameter unsupported_value"""
)

_LONG_WORDS = re.compile(
    r"context (?:length|window|size)|maximum (?:model|context|input) length|prompt is too long|input is too long"
    r"|too many (?:input )?tokens|input token count|tokens? [^.]{0,80}(?:exceed|must be <=)"
    r"|exceeds? [^.]{0,80}tokens?",
    re.IGNORECASE,
)
"""Messages of servers that have no code for it. Only the name of the reject depends on it."""

_INSIDE = (
    "error",
    "errors",
    "detail",
    "details",
    "innererror",
    "inner_error",
    "metadata",
    "raw",
    "base_resp",
    "fault",
)
_CODE_KEYS = ("code", "type", "status", "reason", "error_type", "error_code", "status_code", "errortype", "errorcode")
_MESSAGE_KEYS = (
    "message",
    "msg",
    "error_message",
    "error_msg",
    "errormessage",
    "status_msg",
    "faultstring",
    "detail",
    "error",
    "raw",
    "title",
)
_MOST_OBJECTS = 32
_MOST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class ServerError:
    """An error as the server reports it.

    Attributes:
        status: of HTTP; where that is 200, the error's own, or None.
        codes: its codes, types and reasons, in lower case.
        params: request fields named in the error.
        message: one line of at most 300 characters; empty where there is none.
    """

    status: int | None
    codes: frozenset[str]
    params: frozenset[str]
    message: str

    @property
    def meaning(self) -> Meaning:
        """Meaning of the error. Codes are more specific than the status, which gateways replace by their own."""
        if any(code in _FILTERED or read_finish(code).kind == "filtered" for code in self.codes):
            return "content_filter"
        if self.codes & _TOO_LONG or self.params & _TOO_LONG_PARAMS:
            return "prompt_too_long"
        if self.codes & _NO_CREDIT:
            return "no_credit"
        if self.codes & _BAD_KEY and self.status not in (429, 503):
            return "bad_key"
        if self.codes & _NO_MODEL and self.status in (400, 403, 422, None):
            return "not_found"
        if self.status == 413 or (self.status in _ROW_STATUSES and not self.codes & _BUSY):
            return "prompt_too_long" if _LONG_WORDS.search(self.message) else "bad_request"
        if self.status in _BUSY_STATUSES or self.codes & _BUSY:
            return "busy"
        if self.status is None:
            return self._unnumbered()
        return "wrong_address" if self.status < 400 else _BY_STATUS.get(self.status, "fault")

    def _unnumbered(self) -> Meaning:
        if self.codes & _NOT_FOUND:
            return "not_found"
        if self.codes & _BAD_REQUEST:
            return "prompt_too_long" if _LONG_WORDS.search(self.message) else "bad_request"
        return "fault"


def read_error(status: int, found: object) -> ServerError:
    """Return the error in an unsuccessful response.

    Args:
        status: of HTTP.
        found: the body, parsed if it is JSON, else as text.
    """
    objects = _objects(found)
    codes = frozenset(code for each in objects for code in _codes(each))
    number = status if status >= 300 else next((int(code) for code in sorted(codes) if _is_status(code)), None)
    message = _clean(found) if isinstance(found, str) else _message(objects)
    params = frozenset(str(each["param"])[:80] for each in objects if isinstance(each.get("param"), str))
    return ServerError(number, codes, params, message)


def error_within(found: dict[str, Any]) -> ServerError | None:
    """Return the error in an object of a successful response, or None."""
    is_error = found.get("object") == "error" or found.get("type") == "error"
    if is_error or found.get("error") or found.get("errors"):
        return read_error(200, found)
    if "choices" not in found and "message" not in found and ("detail" in found or "base_resp" in found):
        return read_error(200, found)
    return None


def _objects(found: object) -> list[dict[str, Any]]:
    """Walk the objects that may describe the error, the inner ones first, because they are more specific."""
    outer: list[Any] = [found]
    inner: list[dict[str, Any]] = []
    while outer and len(inner) < _MOST_OBJECTS:
        node = outer.pop(0)
        if isinstance(node, str):
            node = _parsed(node)  # a provider's own error may be passed on as text
        if isinstance(node, list):
            outer[:0] = node[:8]
        elif isinstance(node, dict):
            lower = {str(key).lower(): value for key, value in node.items()}
            inner.append(lower)
            outer += [lower[key] for key in _INSIDE if lower.get(key)]
    return inner[::-1]


def _parsed(text: str) -> object:
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text[:65_536])
    except (ValueError, RecursionError):
        return None


def _codes(each: dict[str, Any]) -> Iterator[str]:
    for key in _CODE_KEYS:
        value = each.get(key)
        if isinstance(value, str) or (isinstance(value, int) and abs(value) < 10**9):
            yield str(value)[:80].lower()
    if "flagged_input" in each:  # OpenRouter's moderation
        yield "flagged"


def _is_status(code: str) -> bool:
    return len(code) == 3 and code.isascii() and code.isdigit() and "400" <= code <= "599"


def _message(objects: Sequence[dict[str, Any]]) -> str:
    """Join the messages of the objects, the outermost first, without repetition."""
    parts: list[str] = []
    for each in reversed(objects):
        text = next((each[key] for key in _MESSAGE_KEYS if isinstance(each.get(key), str) and each[key].strip()), "")
        if isinstance(each.get("loc"), list):  # FastAPI: where in the request
            text = f"{'.'.join(str(part)[:80] for part in each['loc'][:8])}: {text}"
        if text and not text.lstrip().startswith("{") and not any(text in other for other in parts):
            parts.append(text)
    return _clean("; ".join(parts[:4]))


def _clean(text: str) -> str:
    """Return one line of printable text; of a page of HTML, its title."""
    if text.lstrip()[:1] == "<":
        title = re.search(r"<title[^>]{0,200}>([^<]{0,300})", text[:65_536], re.IGNORECASE)
        text = html.unescape(title[1]) if title else "a page of HTML"
    text = " ".join(text[:4_096].split())
    return "".join(c if c.isprintable() else "�" for c in text)[:_MOST_CHARACTERS]
