"""Any endpoint with OpenAI's `/v1/chat/completions`, such as `vllm serve`.

https://platform.openai.com/docs/api-reference/chat. The endpoint applies the chat template, so it must prevent
user text from becoming control tokens.
"""

from typing import Literal

from arbitrage.contracts.engines import Engine
from arbitrage.errors import UserError
from arbitrage.processes import open_files
from arbitrage.teachers.engines.engine import ModelSpec, UsabilityCheck
from arbitrage.teachers.engines.openai.settings import OpenAISettings


class OpenAIConfig(OpenAISettings):
    """Config of `openai`. The teacher's `model` is its name at the endpoint."""

    kind: Literal["openai"] = "openai"

    def build(self, spec: ModelSpec) -> Engine:
        """Return the client, without connecting."""
        from arbitrage.teachers.engines.openai.client import OpenAIEngine  # it loads aiohttp

        return OpenAIEngine(self, spec, self.headers(spec.teacher))

    def require(self, spec: ModelSpec) -> None:
        """Check that the named environment variables are set, and that the environment's proxy is usable."""
        from arbitrage.teachers.engines.openai.proxies import proxy_for  # it loads aiohttp

        self.headers(spec.teacher)
        for url in self.urls:
            proxy_for(url)

    async def check(self, spec: ModelSpec) -> list[UsabilityCheck]:
        """List the models of each endpoint. A failure is an error only if no endpoint serves the model."""
        try:
            headers = self.headers(spec.teacher)
        except UserError as error:
            return [UsabilityCheck("error", "key", str(error))]
        from arbitrage.teachers.engines.openai.check import check_endpoint  # it loads aiohttp

        findings = [await check_endpoint(self, url, spec, headers) for url in self.urls]
        is_served = any(finding.level != "error" for finding in findings)
        found = [
            UsabilityCheck("warn", f.what, f.detail) if is_served and f.level == "error" else f for f in findings
        ]
        return [*found, *self._few_files()]

    def _few_files(self) -> list[UsabilityCheck]:
        wanted, most = self.max_in_flight * len(self.urls), open_files.most_allowed()
        if wanted <= most:
            return []
        detail = f"{wanted} requests may be in flight, but the hard limit (ulimit -Hn) leaves room for {most}"
        return [UsabilityCheck("warn", "open files", detail)]
