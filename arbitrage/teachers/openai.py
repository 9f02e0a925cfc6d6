"""Any endpoint that speaks OpenAI's `/v1/chat/completions`, `vllm serve` included.

https://platform.openai.com/docs/api-reference/chat. The endpoint applies the chat template, so it is the endpoint
that must keep control tokens inside user text from acting.
"""

import os
from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator

from arbitrage.config import Operational
from arbitrage.contracts import Engine
from arbitrage.errors import TeacherError, UserError
from arbitrage.teachers.engine import EngineBase, Finding, ModelSpec

EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class OpenAIEngine(EngineBase):
    """Config of `openai`. The teacher's `model` is the name the endpoint serves it by.

    Attributes:
        base_url: up to and including the version, such as http://localhost:8000/v1. An endpoint may move; the
            model's name and revision are what identifies the teacher.
        api_key_env: name of the environment variable that holds the key; None sends none.
        headers_env: further headers, each with the name of the environment variable that holds its value.
        send_seed: send each request's seed.
        logprobs: ask for log-probabilities (an endpoint may report them after temperature; OpenAI's are before).
        max_tokens_field: how the endpoint calls the limit of an answer's tokens.
        extra_body: further fields of each request, such as {top_k: 20}.
        max_in_flight: requests under way at once, at most; fewer if the endpoint pushes back.
        timeout_s: for one answer.
        retry_for_s: how long to try again where the endpoint is busy (429, 503) or cannot be reached.
        num_tries: how often to ask where it answers with an error or with garbage.
    """

    kind: Literal["openai"] = "openai"
    base_url: Annotated[str, Operational]
    api_key_env: Annotated[EnvironmentName | None, Operational] = None
    headers_env: Annotated[dict[str, EnvironmentName], Operational] = {}
    send_seed: bool = True
    logprobs: Annotated[bool, Operational] = False
    max_tokens_field: Annotated[Literal["max_tokens", "max_completion_tokens"], Operational] = "max_tokens"
    extra_body: dict[str, JsonValue] = {}
    max_in_flight: Annotated[int, Field(ge=1), Operational] = 256
    timeout_s: Annotated[float, Field(gt=0.0), Operational] = 600.0
    retry_for_s: Annotated[float, Field(ge=0.0), Operational] = 300.0
    num_tries: Annotated[int, Field(ge=1), Operational] = 4

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("expected a URL that starts with http:// or https://")
        if "@" in url.split("/")[2]:
            raise ValueError("a URL must not hold credentials; name their variable in api_key_env")
        return url.rstrip("/")

    def build(self, spec: ModelSpec) -> Engine:
        """Return the client; connects to nothing yet."""
        from arbitrage.teachers.openai_client import OpenAIClient

        return OpenAIClient(self, spec, self.headers(spec.teacher))

    def require(self, spec: ModelSpec) -> None:
        """Check that the named environment variables are set."""
        self.headers(spec.teacher)

    def headers(self, teacher: str) -> dict[str, str]:
        """Return the secret headers.

        Raises:
            UserError: a named variable is not set.
        """
        wanted = dict(self.headers_env)
        if self.api_key_env:
            wanted["Authorization"] = self.api_key_env
        headers = {}
        for header, variable in wanted.items():
            value = os.environ.get(variable, "").strip()
            if not value:
                raise UserError(
                    f"teacher '{teacher}': the environment variable {variable} is not set; {self.base_url} needs it"
                )
            headers[header] = f"Bearer {value}" if header == "Authorization" else value
        return headers

    async def check(self, spec: ModelSpec) -> list[Finding]:
        """Ask the endpoint for its models."""
        from arbitrage.teachers.openai_client import list_models

        try:
            headers = self.headers(spec.teacher)
            served = await list_models(self, spec, headers)
        except UserError as error:
            return [Finding("error", "key", str(error))]
        except TeacherError as error:
            return [Finding("error", "endpoint", str(error))]
        if spec.model not in served:
            known = ", ".join(served[:8]) or "nothing"
            return [Finding("error", "endpoint", f"{self.base_url} serves {known}, not {spec.model}")]
        return [Finding("ok", "endpoint", f"{self.base_url} serves {spec.model}")]
