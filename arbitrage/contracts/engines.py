"""The engine protocol: requests in, completions and failures out."""

import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from arbitrage.config import Config, Operational, Raw, as_tuple
from arbitrage.records import FinishReason, Message
from arbitrage.text.tool_formats import WrittenCall

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much a model is to reason before it answers, in the words of OpenAI's `reasoning_effort`."""

TokenId = Annotated[int, Field(ge=0)]
Bias = Annotated[float, Field(ge=-100.0, le=100.0)]


class StructuredOutput(Config):
    """The form that a response must have; the engine samples no token that breaks it. Exactly one key is given.

    Attributes:
        json_schema: a JSON Schema.
        regex: a regular expression for the whole response.
        choice: the responses there may be.
    """

    json_schema: dict[str, JsonValue] | None = None
    regex: str | None = Field(default=None, min_length=1)
    choice: Annotated[tuple[str, ...] | None, BeforeValidator(as_tuple), Field(min_length=1)] = None

    @model_validator(mode="after")
    def _is_one_form(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of json_schema, regex and choice, not {' and '.join(given) or 'none'}")
        if self.json_schema is not None:
            _require_schema(self.json_schema)
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"regex is no regular expression: {error}") from error
        return self


def _require_schema(schema: Mapping[str, JsonValue]) -> None:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"json_schema is no JSON Schema: {error.message[:200]}") from error


def _by_token(value: Any) -> Any:
    """Read token ids that are written as text, as JSON's keys are."""
    if not isinstance(value, Mapping):
        return value
    return {
        int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() else key: v for key, v in value.items()
    }


def as_maker(value: Any) -> Any:
    """Read `sampling: maker` as `sampling: {maker: true}`."""
    return {"maker": True} if value == "maker" else value


class DecodingOptions(Config):
    """Sampling parameters beside temperature, `top_p` and `max_tokens`. What is not set has no effect.

    Each is sent to endpoints by the name it has here (docs/teachers.md); an engine that cannot do it refuses it.

    Attributes:
        top_k: number of most likely tokens that are sampled from.
        min_p: tokens are dropped whose probability is below this share of the most likely one's.
        presence_penalty: subtracted from the logits of tokens that the completion holds already.
        frequency_penalty: the same, for each time that it holds them.
        repetition_penalty: divides the logits of tokens in prompt and completion; 1 has no effect.
        min_tokens: minimum number of tokens of a completion.
        stop: texts that end a completion; the completion does not hold them.
        stop_token_ids: tokens that end a completion, beside those of the model.
        bad_words: texts that a completion may not hold.
        logit_bias: token id → what is added to its logit.
        structured_output: the form that a response must have.
        reasoning_effort: how much to reason before the answer; "none" switches reasoning off where it can be.
        reasoning_budget: maximum number of tokens of the reasoning; it is then ended, and the answer begins.
    """

    top_k: int | None = Field(default=None, ge=1)
    min_p: float | None = Field(default=None, ge=0.0, le=1.0)
    presence_penalty: float | None = Field(default=None, ge=-2.0, le=2.0)
    frequency_penalty: float | None = Field(default=None, ge=-2.0, le=2.0)
    repetition_penalty: float | None = Field(default=None, gt=0.0, le=10.0)
    min_tokens: int | None = Field(default=None, ge=1)
    stop: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(as_tuple)] = ()
    stop_token_ids: Annotated[tuple[TokenId, ...], BeforeValidator(as_tuple)] = ()
    bad_words: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(as_tuple)] = ()
    logit_bias: Annotated[Mapping[TokenId, Bias], BeforeValidator(_by_token)] = {}
    structured_output: StructuredOutput | None = None
    reasoning_effort: Effort | None = None
    reasoning_budget: int | None = Field(default=None, ge=1)

    def identity(self) -> Raw:
        """Return what can change a completion: what is not set is left out."""
        unset = {name for name in DecodingOptions.model_fields if not getattr(self, name)}
        return {name: value for name, value in super().identity().items() if name not in unset}

    def given(self) -> frozenset[str]:
        """Return the names of the parameters that are set."""
        return frozenset(name for name in DecodingOptions.model_fields if getattr(self, name))

    @model_validator(mode="after")
    def _budget_needs_reasoning(self) -> Self:
        if self.reasoning_budget is not None and self.reasoning_effort == "none":
            raise ValueError("reasoning_budget is set, but reasoning_effort is none; leave one of them out")
        return self


NO_OPTIONS = DecodingOptions()


class SamplingParams(DecodingOptions):
    """Sampling parameters. Hedged sampling [2506.20544]: one greedy sample and n − 1 others.

    Attributes:
        n: number of candidates that each teacher samples for a prompt.
        temperature: sampling temperature; 0 is greedy.
        top_p: nucleus sampling: share of the probability mass that is sampled from.
        max_tokens: maximum number of tokens of a completion, its reasoning included.
        hedged: one of the `n` candidates is greedy (hedged sampling); if `n` is 1, it is that one.
        seed: another seed samples other candidates.
        maker: parameters that are not given are those of each model's own `generation_config.json`.
    """

    n: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float, Field(ge=0.0)] = 0.7
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    max_tokens: Annotated[int, Field(ge=1)] = 512
    hedged: bool = True
    seed: int = 0
    maker: Annotated[bool, Operational] = False  # resolved into the others when the run is planned

    _is_maker = model_validator(mode="before")(as_maker)

    def options(self, *, is_greedy: bool) -> DecodingOptions:
        """Return what a request carries beside temperature, top_p and max_tokens.

        The most likely token is always among those that top_k and min_p keep: of a greedy sample they are left out.
        """
        given = {name: getattr(self, name) for name in self.given()}
        if is_greedy:
            given = {name: value for name, value in given.items() if name not in ("top_k", "min_p")}
        return DecodingOptions.model_construct(**given)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Request for one candidate. Requests of one prompt are adjacent, for prefix caching."""

    candidate_id: str
    prompt_id: str
    messages: tuple[Message, ...]
    sample_index: int
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    options: DecodingOptions = NO_OPTIONS
    source_id: str = ""  # of the prompt: recordings may be joined on it
    language: str = "und"  # of the prompt
    tools: str | None = None  # of the prompt
    response_format: str | None = None  # of the prompt; `options.structured_output` says the same


@dataclass(frozen=True, slots=True)
class Completion:
    """Result of a request.

    Attributes:
        text: the final answer alone.
        reasoning: what the model wrote before it; None where there is none.
        completion_tokens: of both.
        reasoning_tokens: of the reasoning; None where it is not known.
        cumulative_logprob: natural log, summed over completion tokens, at temperature 1.
        tool_calls: calls of tools as the model wrote them.
    """

    candidate_id: str
    text: str
    finish_reason: FinishReason
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cumulative_logprob: float | None = None
    reasoning: str | None = None
    reasoning_tokens: int | None = None
    tool_calls: tuple[WrittenCall, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is neither text nor a call."""
        return not self.tool_calls and not self.text.strip()


GenerationFailure = Literal[
    "empty_prompt",
    "prompt_too_long",
    "bad_request",
    "content_filter",
    "reasoning_unfinished",
    "tool_calls",
    "tool_call_unfinished",
    "tool_unknown",
    "tool_arguments_invalid",
    "tools_unsupported",
    "response_format_unsupported",
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

    It takes the next request only when it has room for it: requests taken and not completed are in flight.

    Raises (from the iterator) only errors that end the whole step: TeacherAccessError, TeacherUnreachableError,
    EngineDiedError.
    """

    def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Completion | Failure, None]:
        """Generate a completion for every request."""
        ...

    async def close(self) -> None:
        """Release processes, connections and memory."""
        ...
