"""Settings of the engines that speak OpenAI's protocol: endpoints, credentials, timeouts and retries."""

import os
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator

from arbitrage.config import Operational, Raw
from arbitrage.errors import UserError
from arbitrage.redaction import is_secret_key
from arbitrage.teachers.engines.engine import EngineOptions

EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]  # a token of RFC 9110 §5.6.2


SentParameter = Literal[
    "temperature",
    "top_p",
    "seed",
    "max_tokens",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "min_tokens",
    "stop",
    "stop_token_ids",
    "bad_words",
    "logit_bias",
    "structured_output",
    "reasoning_effort",
    "reasoning_budget",
]


class EndpointSettings(EngineOptions):
    """Fields of the configs of all engines that speak OpenAI's protocol.

    Attributes:
        api_key_env: name of the environment variable that holds the key; None sends none.
        headers_env: further headers, each with the name of the environment variable that holds its value.
        send_seed: send each request's seed.
        leave_out: request fields that are not sent, for endpoints that refuse them, such as [top_k, min_p,
            repetition_penalty]. The endpoint's default then applies: without temperature, a greedy sample may not be
            greedy. All are sent by default, also those without effect, because servers such as vLLM otherwise take
            the values of the model's maker.
        no_finish_reason: what happens to a completion without a finish reason. `reject`: it may be cut off, so it is
            requested once more and then rejected. `stop`: it counts as complete; for endpoints that never send a
            finish reason.
        logprobs: request log-probabilities (an endpoint may report them after temperature; OpenAI's are before).
        max_tokens_field: name of the request field for the maximum number of tokens.
        extra_body: further fields of each request, such as {top_k: 20}. They are written to run.json, so secrets
            are refused here.
        timeout_s: timeout of one response, in seconds. Nothing is streamed, so an endpoint is silent until the
            response is complete.
        stall_timeout_s: timeout between two pieces of a response whose headers have arrived, in seconds.
        retry_for_s: seconds to keep trying while all endpoints are busy (429, 503), cannot be reached, or have not
            loaded the model yet.
    """

    api_key_env: Annotated[EnvironmentName | None, Operational] = None
    headers_env: Annotated[dict[HeaderName, EnvironmentName], Operational] = {}
    send_seed: bool = True
    leave_out: tuple[SentParameter, ...] = ()
    no_finish_reason: Literal["reject", "stop"] = "reject"
    logprobs: Annotated[bool, Operational] = False
    max_tokens_field: Annotated[Literal["max_tokens", "max_completion_tokens"], Operational] = "max_tokens"
    extra_body: dict[str, JsonValue] = {}
    timeout_s: Annotated[float, Field(gt=0.0), Operational] = 600.0
    stall_timeout_s: Annotated[float, Field(gt=0.0), Operational] = 120.0
    retry_for_s: Annotated[float, Field(ge=0.0), Operational] = 300.0

    @field_validator("extra_body")
    @classmethod
    def _holds_no_secret(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if (key := _secret_in(value)) is not None:
            raise ValueError(
                f"'{key}' looks like a secret: put it into an environment variable, and name that in api_key_env, or "
                "in headers_env for another header"
            )
        return value

    @field_validator("leave_out")
    @classmethod
    def _named_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(value)))

    def identity(self) -> Raw:
        """Return the settings that can change a completion. Newer settings are included only if they are used."""
        found = super().identity()
        defaults = {"leave_out": [], "no_finish_reason": "reject"}
        return {key: value for key, value in found.items() if key not in defaults or value != defaults[key]}

    @property
    def urls(self) -> tuple[str, ...]:
        """The endpoints."""
        raise TypeError(f"{type(self).__name__} does not say where its endpoints are")

    def headers(self, teacher: str) -> dict[str, str]:
        """Return the secret headers.

        Raises:
            UserError: a named variable is not set, or holds characters that a header cannot contain.
        """
        wanted = dict(self.headers_env)
        if self.api_key_env:
            wanted["Authorization"] = self.api_key_env
        headers = {}
        for header, variable in wanted.items():
            value = os.environ.get(variable, "").strip()
            if not value:
                raise UserError(
                    f"teacher '{teacher}': the environment variable {variable} is not set; "
                    f"{', '.join(self.urls)} needs it"
                )
            if not value.isprintable():
                raise UserError(
                    f"teacher '{teacher}': {variable} holds a character that a header cannot contain contain"
                )
            headers[header] = f"Bearer {value}" if header == "Authorization" else value
        return headers


class OpenAISettings(EndpointSettings):
    """Fields of `openai`'s config, for the parts of the client that the config builds.

    Attributes:
        base_url: up to and including the version, such as http://localhost:8000/v1; or a list of them, where
            several endpoints serve the same model. Requests go to the endpoint with most room, so that faster ones
            get more; one that dies is set aside, its requests go to the others, and it is tried again after growing
            pauses. An endpoint may move; the model's name and revision are what identifies the teacher.
        max_in_flight: maximum number of concurrent requests to one endpoint; fewer if it pushes back.
        num_tries: tries of a request that gets an error or a malformed response. Retries beyond a budget of one for
            every two responses wait 15 to 45 s, so that a failing endpoint gets no retry storm.
    """

    base_url: Annotated[str | tuple[str, ...], Operational]
    max_in_flight: Annotated[int, Field(ge=1), Operational] = 256
    num_tries: Annotated[int, Field(ge=1), Operational] = 4

    @field_validator("base_url", mode="before")
    @classmethod
    def _are_http(cls, value: object) -> str | tuple[str, ...]:
        if not isinstance(value, list | tuple):
            return http_url(value)
        urls = tuple(http_url(url) for url in value)
        if not urls:
            raise ValueError("expected a URL or a list of URLs, at least one")
        if repeated := sorted({url for url in urls if urls.count(url) > 1}):
            raise ValueError(f"names {repeated[0]} more than once")
        return urls

    @property
    def urls(self) -> tuple[str, ...]:
        """The endpoints."""
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url


_TOKENS_OF_TEXT = re.compile(r"(?:^|_)(?:bos|eos|pad|unk|sep|cls|mask|stop|start|end|special|think|image)_tokens?")


def _secret_in(value: JsonValue) -> str | None:
    """Return the first key, at any depth, that looks like the name of a secret and has a text, or None."""
    if isinstance(value, list):
        return next((key for each in value if (key := _secret_in(each)) is not None), None)
    if not isinstance(value, dict):
        return None
    for key, each in value.items():
        if isinstance(each, str) and is_secret_key(key) and not _TOKENS_OF_TEXT.search(key.lower()):
            return key
        if (inner := _secret_in(each)) is not None:
            return inner
    return None


def http_url(url: object) -> str:
    """Return the URL of an endpoint. Raises ValueError."""
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise ValueError("expected a URL that starts with http:// or https://, or a list of them")
    try:
        parts = urlsplit(url)
        has_address = bool((parts.hostname or "").encode("idna")) and parts.port != 0  # .port raises above 65535
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from error
    if "@" in parts.netloc:
        raise ValueError("a URL must not hold credentials; name their variable in api_key_env")
    if not has_address:
        raise ValueError("expected a URL that names a host")
    if parts.query or parts.fragment:
        raise ValueError("expected a URL without ? and #: /chat/completions is appended to it")
    return url.rstrip("/")
