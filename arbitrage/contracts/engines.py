"""What serves a teacher: requests in, completions and failures out."""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import Field

from arbitrage.config import Config
from arbitrage.records import FinishReason, Message


class SamplingParams(Config):
    """Sampling parameters. Hedged sampling [2506.20544]: n − 1 warm samples and one greedy one.

    Attributes:
        n: number of candidates that each teacher samples for a prompt.
        temperature: sampling temperature; 0 is greedy.
        top_p: nucleus sampling: share of the probability mass that is sampled from.
        max_tokens: maximum number of tokens of a completion.
        hedged: one of the `n` candidates is greedy (hedged sampling); where `n` is 1, it is that one.
        seed: another seed samples other candidates.
    """

    n: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float, Field(ge=0.0)] = 0.7
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    max_tokens: Annotated[int, Field(ge=1)] = 512
    hedged: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One candidate to be sampled. Requests of one prompt come one after the other (prefix caches like that)."""

    candidate_id: str
    prompt_id: str
    messages: tuple[Message, ...]
    sample_index: int
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    source_id: str = ""  # of the prompt: recordings made elsewhere know it by this
    language: str = "und"  # of the prompt


@dataclass(frozen=True, slots=True)
class Completion:
    """Result of a request. `cumulative_logprob`: natural log, summed over completion tokens, at temperature 1."""

    candidate_id: str
    text: str
    finish_reason: FinishReason
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cumulative_logprob: float | None = None


GenerationFailure = Literal[
    "empty_prompt",
    "prompt_too_long",
    "bad_request",
    "content_filter",
    "tool_calls",
    "unknown_finish_reason",
    "engine_error",
    "engine_died",
    "timeout",
    "no_recording",
]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one request has no completion; becomes a Reject. Other requests are not affected."""

    candidate_id: str
    reason: GenerationFailure
    detail: str | None = None


class Engine(Protocol):
    """Runs a teacher. Yields each result as it arrives, in any order, exactly one for each request.

    It takes the next request when it has room for it, no earlier: what it took and has not completed is in flight.

    Raises (from the iterator) only what ends the whole step: TeacherAccessError, TeacherUnreachableError,
    EngineDiedError.
    """

    def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Completion | Failure, None]:
        """Generate a completion for every request."""
        ...

    async def close(self) -> None:
        """Release processes, connections and memory."""
        ...
