"""What is sent to an OpenAI-compatible endpoint."""

from typing import Any

from pydantic_core import to_json

from arbitrage.contracts.engines import GenerationRequest
from arbitrage.records import Message
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai.settings import OpenAISettings

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
"""A harmless request, which tells a refused row from a refused account."""


def body_of(config: OpenAISettings, spec: ModelSpec, request: GenerationRequest) -> bytes:
    """Return the body of a request for a chat completion, as JSON."""
    body: dict[str, Any] = {
        "model": spec.model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        config.max_tokens_field: request.max_tokens,
    }
    if config.send_seed:
        body["seed"] = request.seed
    if config.logprobs:
        body["logprobs"] = True
    if spec.template_options:
        body["chat_template_kwargs"] = dict(spec.template_options)
    for name in config.leave_out:
        body.pop(config.max_tokens_field if name == "max_tokens" else name, None)
    return to_json(body | config.extra_body)


def access_problem(config: OpenAISettings, spec: ModelSpec, url: str, why: str) -> str:
    """Say that an endpoint refuses us, and by which key."""
    key = f"key from {config.api_key_env}" if config.api_key_env else "no api_key_env given"
    return f"teacher '{spec.teacher}': {url} {why} ({key})"
