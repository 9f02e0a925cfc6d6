"""Check whether an endpoint serves a model, no more strictly than a run would.

The list of models is cheap to read, but gateways may omit models, list them under other names or list none; then a
short completion is requested.
"""

from collections.abc import Mapping

from yarl import URL

from arbitrage.teachers.engines.engine import ModelSpec, UsabilityCheck
from arbitrage.teachers.engines.openai.active_clock import ActiveClock
from arbitrage.teachers.engines.openai.http import ConnectionProblem, HttpClient, HttpResponse
from arbitrage.teachers.engines.openai.protocol import (
    MalformedResponse,
    classify_response,
    is_model,
    listed,
    parse_models,
)
from arbitrage.teachers.engines.openai.request import PROBE, access_problem, body_of
from arbitrage.teachers.engines.openai.row import without_secrets
from arbitrage.teachers.engines.openai.settings import EndpointSettings

_TIMEOUT_S = 60.0

_REFUSALS = frozenset({"denied", "not_found", "no_access", "unreachable"})
"""Problems that would end a run. Faults do not: a run retries, and other prompts may succeed."""


async def check_endpoint(
    config: EndpointSettings, url: str, spec: ModelSpec, headers: Mapping[str, str]
) -> UsabilityCheck:
    """Return the finding about one endpoint."""
    patient = config.model_copy(update={"timeout_s": min(config.timeout_s, _TIMEOUT_S)})
    secrets = tuple(headers.values())
    try:
        why = await _not_listed(patient, url, spec, headers)
        if why is None:
            return UsabilityCheck("ok", "endpoint", f"{url} serves {spec.model}")
        problem = await _refusal(patient, url, spec, headers)
    except ConnectionProblem as found:
        return UsabilityCheck("error", "endpoint", without_secrets(_told(config, spec, url, found), secrets))
    if problem is None:
        return UsabilityCheck("warn", "endpoint", without_secrets(f"{url} {why}; a test request succeeds", secrets))
    if problem.kind == "not_found" and "lists no models" not in why:
        return UsabilityCheck("error", "endpoint", without_secrets(f"{url} {why}", secrets))
    if problem.kind in _REFUSALS:
        return UsabilityCheck(
            "error", "endpoint", without_secrets(access_problem(config, spec, url, str(problem)), secrets)
        )
    return UsabilityCheck(
        "warn", "endpoint", without_secrets(f"{url} {why}; a test request fails: {problem}", secrets)
    )


async def _not_listed(config: EndpointSettings, url: str, spec: ModelSpec, headers: Mapping[str, str]) -> str | None:
    """Return why the list of models does not show that one is served; None if it does."""
    try:
        served = parse_models(await _send(config, headers, URL(f"{url}/models")), spec.model)
    except MalformedResponse as error:
        return f"lists no models ({error})"
    if any(is_model(name, spec.model) for name in served):
        return None
    return f"serves {listed(served)}, not {spec.model}"


async def _refusal(
    config: EndpointSettings, url: str, spec: ModelSpec, headers: Mapping[str, str]
) -> ConnectionProblem | None:
    """Request a short completion; return the problem, or None if it was served, or refused as a bad request."""
    try:
        reply = await _send(config, headers, URL(f"{url}/chat/completions"), body_of(config, spec, PROBE))
        classify_response(PROBE, reply, spec.model)
    except ConnectionProblem as problem:
        return problem
    return None


async def _send(
    config: EndpointSettings, headers: Mapping[str, str], url: URL, body: bytes | None = None
) -> HttpResponse:
    """Send one request on its own connection."""
    http = HttpClient(config, headers, ActiveClock())
    try:
        return await http.send("GET" if body is None else "POST", url, body)
    finally:
        await http.close()


def _told(config: EndpointSettings, spec: ModelSpec, url: str, problem: ConnectionProblem) -> str:
    if problem.kind == "no_access":
        return access_problem(config, spec, url, str(problem))
    return f"teacher '{spec.teacher}': {url}: {problem}"
