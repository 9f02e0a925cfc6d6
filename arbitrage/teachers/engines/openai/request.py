"""The body of a request to an OpenAI-compatible endpoint."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import to_json

from arbitrage.contracts.engines import DecodingOptions, GenerationRequest
from arbitrage.models.turns import turn_of
from arbitrage.records import Message
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai.settings import EndpointSettings

PROBE = GenerationRequest(
    candidate_id="probe",
    prompt_id="probe",
    messages=(Message(role="user", content="Hello"),),
    sample_index=0,
    seed=0,
    temperature=0.0,
    top_p=1.0,
    max_tokens=16,
)
"""A harmless request, to distinguish a refused row from a refused account."""


_NO_EFFECT: Mapping[str, float | int] = {
    "top_k": -1,
    "min_p": 0.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
}
"""Values that switch a parameter off. Sent where it is not set, as vLLM and SGLang else take the maker's value."""

_STANDARD = frozenset(("presence_penalty", "frequency_penalty"))
_STRICT_HOSTS = frozenset(
    ("api.openai.com", "api.mistral.ai", "generativelanguage.googleapis.com", "api.anthropic.com", "api.groq.com")
)
"""They refuse fields that OpenAI's protocol does not have. Other such endpoints are told of by `leave_out`."""

_FIELDS = {"reasoning_budget": "thinking_token_budget"}
"""Names of parameters in the protocol, where they differ from ours: this one is vLLM's."""


def body_of(config: EndpointSettings, spec: ModelSpec, request: GenerationRequest) -> bytes:
    """Return the body of a request for a chat completion, as JSON."""
    body: dict[str, Any] = {
        "model": spec.model,
        "messages": [turn_of(m, arguments_as_text=True) for m in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        config.max_tokens_field: request.max_tokens,
        **_options(config, request.options),
    }
    if request.tools is not None:
        body["tools"] = json.loads(request.tools)
    if request.response_format is not None:
        body["response_format"] = json.loads(request.response_format)  # as its author wrote it, name and strictness
    if config.send_seed:
        body["seed"] = request.seed
    if config.logprobs:
        body["logprobs"] = True
    if spec.template_options:
        body["chat_template_kwargs"] = dict(spec.template_options)
    for name in config.leave_out:
        body.pop(config.max_tokens_field if name == "max_tokens" else _FIELDS.get(name, name), None)
        if name == "structured_output":
            body.pop("response_format", None)
            body.pop("structured_outputs", None)
    return to_json(body | config.extra_body)


def _options(config: EndpointSettings, options: DecodingOptions) -> dict[str, Any]:
    is_strict = any(urlsplit(url).hostname in _STRICT_HOSTS for url in config.urls)
    found: dict[str, Any] = {k: v for k, v in _NO_EFFECT.items() if not is_strict or k in _STANDARD}
    for name in options.given() - {"structured_output"}:
        found[_FIELDS.get(name, name)] = getattr(options, name)
    form = options.structured_output
    if form is not None and form.json_schema is not None:
        found["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "response", "schema": form.json_schema, "strict": True},
        }
    elif form is not None:
        found["structured_outputs"] = {"regex": form.regex} if form.regex is not None else {"choice": form.choice}
    return found


def access_problem(config: EndpointSettings, spec: ModelSpec, url: str, why: str) -> str:
    """Describe that an endpoint refuses access, and for which key."""
    key = f"key from {config.api_key_env}" if config.api_key_env else "no api_key_env given"
    return f"teacher '{spec.teacher}': {url} {why} ({key})"
