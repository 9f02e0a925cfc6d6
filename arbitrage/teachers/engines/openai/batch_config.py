"""OpenAI's Batch API, and endpoints that copy it: answers within a day, at half the price.

https://platform.openai.com/docs/guides/batch. Requests are uploaded as a file and answers downloaded as another, so
there is nothing to pace; what can be lost is a batch that was paid for, and the engine finds it again.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from arbitrage.config import Operational
from arbitrage.contracts.engines import Engine
from arbitrage.errors import TeacherError, UserError
from arbitrage.teachers.engines.engine import ModelSpec, UsabilityCheck
from arbitrage.teachers.engines.openai.settings import EndpointSettings, http_url


class OpenAIBatchConfig(EndpointSettings):
    """Config of `openai_batch`. The teacher's `model` is the name the endpoint serves it by.

    Attributes:
        base_url: up to and including the version, such as https://api.openai.com/v1.
        max_requests: maximum number of requests of one batch. Endpoints also limit the tokens that an account may
            have enqueued: a batch over that limit waits for the others, and is halved if there are none.
        gather_s: seconds without a further shard until the requests gathered so far are submitted.
        poll_s: seconds until the status of a batch is requested first; later pauses grow up to five minutes.
        batch_timeout_s: seconds after which a batch that has not ended is no longer waited for. The run ends, the
            batch keeps running, and rerunning the same command collects it.
        num_tries: batches that a request is sent in, at most, before it is rejected.
        timeout_s: timeout of one upload or download, in seconds.
        retry_for_s: seconds to keep trying to upload, submit and download while the endpoint is busy or cannot be
            reached. A batch that is waited for may be out of reach for longer.
    """

    kind: Literal["openai_batch"] = "openai_batch"
    base_url: Annotated[str, Operational] = "https://api.openai.com/v1"
    max_requests: Annotated[int, Field(ge=1, le=50_000), Operational] = 50_000
    gather_s: Annotated[float, Field(ge=0.0), Operational] = 10.0
    poll_s: Annotated[float, Field(gt=0.0), Operational] = 15.0
    batch_timeout_s: Annotated[float, Field(gt=0.0), Operational] = 26 * 3600.0
    num_tries: Annotated[int, Field(ge=1), Operational] = 3
    timeout_s: Annotated[float, Field(gt=0.0), Operational] = 600.0
    retry_for_s: Annotated[float, Field(ge=0.0), Operational] = 300.0

    is_deferred: ClassVar[bool] = True
    price_factor: ClassVar[float] = 0.5

    @field_validator("base_url", mode="before")
    @classmethod
    def _is_http(cls, value: object) -> str:
        if isinstance(value, list | tuple):
            raise ValueError("expected one URL: a batch is stored at one endpoint")
        return http_url(value)

    @property
    def urls(self) -> tuple[str, ...]:
        """The endpoint."""
        return (self.base_url,)

    def build(self, spec: ModelSpec) -> Engine:
        """Return the client; connects to nothing yet."""
        from arbitrage.teachers.engines.openai.batch import OpenAIBatchEngine  # it loads aiohttp

        return OpenAIBatchEngine(self, spec, self.headers(spec.teacher))

    def require(self, spec: ModelSpec) -> None:
        """Check that the named environment variables are set, and that the environment's proxy can be used."""
        from arbitrage.teachers.engines.openai.proxies import proxy_for  # it loads aiohttp

        self.headers(spec.teacher)
        proxy_for(self.base_url)

    async def check(self, spec: ModelSpec) -> list[UsabilityCheck]:
        """Ask the endpoint for its models and for its batches."""
        try:
            headers = self.headers(spec.teacher)
        except UserError as error:
            return [UsabilityCheck("error", "key", str(error))]
        from arbitrage.teachers.engines.openai.batch_api import BatchApi  # they load aiohttp
        from arbitrage.teachers.engines.openai.check import check_endpoint

        api = BatchApi(self.model_copy(update={"retry_for_s": 0.0}), spec, headers)
        try:
            await api.batches()
            found = UsabilityCheck("ok", "batches", f"{self.base_url} lists its batches")
        except TeacherError as error:
            found = UsabilityCheck("error", "batches", str(error))
        finally:
            await api.close()
        return [await check_endpoint(self, self.base_url, spec, headers), found]
