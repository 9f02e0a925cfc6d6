"""The records: every row that crosses a step border. Frozen, strict, no NaN; ids are content hashes.

The Arrow schema of each is derived in `arbitrage.tables` and pinned by `tests/golden/schemas.json`.
"""

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Record(BaseModel):
    """Base of all rows. `item_key`: the column for the accounting; `row_key`: columns that are unique in a row."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
    item_key: ClassVar[str] = "prompt_id"
    row_key: ClassVar[tuple[str, ...]] = ("prompt_id",)


class TextMessage(Record):
    """One chat turn that is text alone: what trainers read."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class ToolCall(Record):
    """One call of a tool by the assistant."""

    id: str
    name: str
    arguments: str  # a JSON object, canonical (`canonical_json`)


class Message(TextMessage):
    """One chat turn."""

    tool_calls: tuple[ToolCall, ...] = ()  # of the assistant
    tool_call_id: str | None = None  # of a tool's result: the call that it answers
    name: str | None = None  # of a tool's result: the tool

    @property
    def shown(self) -> str:
        """The turn as text, its calls included."""
        return with_calls(self.content, self.tool_calls)


class Translation(Record):
    """Where the text of a translated prompt comes from.

    Attributes:
        source_language: language of the text that was translated.
        source_prompt_id: id of the prompt that was translated.
        translator: the teacher that translated it; null while it is not translated yet.
        revision: of the translator, so that a test set made by the same one can be avoided.
        quality: final score of the translation in its run.
    """

    source_language: str
    source_prompt_id: str
    translator: str | None = None
    revision: str | None = None
    quality: float | None = None


class Prompt(Record):
    """A prompt: its messages, language and source."""

    prompt_id: str
    language: str  # BCP-47, or "und" where it is not known
    language_confidence: float | None = None  # of the identifier, 0..1; null where the tag was given
    messages: tuple[Message, ...] = Field(min_length=1)
    source: str
    source_id: str
    licence: str | None = None
    task: str | None = None
    reference: str | None = None  # a known right answer, for exact checks and the oracle
    tools: str | None = None  # tools that may be called: a JSON list in OpenAI's form
    response_format: str | None = None  # the form that a response must have: JSON, in OpenAI's form
    translation: Translation | None = None  # null where the prompt is not a translation


class Route(Record):
    """The teachers a prompt is sent to, best first."""

    prompt_id: str
    router: str
    teachers: tuple[str, ...] = Field(min_length=1)
    expected: tuple[float, ...] = ()  # predicted reward per teacher, same order; empty if the router predicts none
    propensity: float | None = None  # probability of this choice under the router's policy


class FinishReason(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    LENGTH = "length"
    ERROR = "error"


class Candidate(Record):
    """One completion of one teacher. Rewards, checks, judges and routers read the final answer alone.

    It is `text`, or `tool_calls`, or both; `shown` is both as text.
    """

    item_key: ClassVar[str] = "candidate_id"
    row_key: ClassVar[tuple[str, ...]] = ("candidate_id",)
    candidate_id: str
    prompt_id: str
    teacher: str
    revision: str
    sample_index: int
    seed: int
    text: str
    reasoning: str | None = None  # what the model wrote before the answer
    tool_calls: tuple[ToolCall, ...] | None = None  # of the prompt's tools
    finish_reason: FinishReason
    prompt_tokens: int | None = None
    completion_tokens: int | None = None  # of reasoning and answer
    reasoning_tokens: int | None = None  # of the reasoning, where it is known
    cumulative_logprob: float | None = None  # natural log, summed over completion tokens, at temperature 1
    cost_usd: float | None = None
    error: str | None = None

    @property
    def shown(self) -> str:
        """The final answer as text, its calls of tools included."""
        return with_calls(self.text, self.tool_calls or ())

    @property
    def reply(self) -> tuple[Message, ...]:
        """The final answer as chat turns."""
        return (Message(role="assistant", content=self.text, tool_calls=self.tool_calls or ()),)


class Score(Record):
    """One score for one candidate by one scorer: a value, or the reason why there is none."""

    item_key: ClassVar[str] = "candidate_id"
    row_key: ClassVar[tuple[str, ...]] = ("candidate_id", "reward")
    candidate_id: str
    prompt_id: str
    reward: str  # name@version
    value: float | None = None
    error: str | None = None

    @model_validator(mode="after")
    def _value_or_error(self) -> Self:
        if (self.value is None) == (self.error is None):
            raise ValueError("a Score has exactly one of value and error")
        return self


class Calibration(Record):
    """The scale of one reward in one language: subtract `mean`, divide by `sd`. Written by a corpus step."""

    item_key: ClassVar[str] = "language"
    row_key: ClassVar[tuple[str, ...]] = ("reward", "language")
    reward: str
    language: str
    family: str
    num_scores: int
    raw_mean: float
    raw_sd: float
    mean: float  # after shrinkage to family and global
    sd: float
    length_slope: float = 0.0  # calibrated points per unit of log(1 + characters), removed from scores
    mean_log_length: float = 0.0  # of the language's answers; the slope acts on the difference from it
    knots_raw: tuple[float, ...] = ()  # rank method: rising raw values and the calibrated value at each
    knots_z: tuple[float, ...] = ()


class ReviewerLevel(Record):
    """How many points one reviewer scores above its committee in one language. Written by a corpus step."""

    item_key: ClassVar[str] = "reviewer"
    row_key: ClassVar[tuple[str, ...]] = ("role", "reviewer", "language")
    role: Literal["reviewer", "adjudicator"]
    reviewer: str
    language: str
    num_scores: int  # of candidates that another member scored too
    level: float  # after shrinkage; 0 on average over the reviewers


class RouterPart(Record):
    """One part of a learned router: a flattened array, or JSON. Written by the training step."""

    item_key: ClassVar[str] = "name"
    row_key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    dtype: str  # of the array, as numpy names it; empty for JSON
    shape: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()  # values of an array of floats, the last axis fastest
    integers: tuple[int, ...] = ()  # values of an array of integers
    text: str | None = None  # the JSON


class SftExample(Record):
    """A conversation for supervised fine-tuning."""

    row_key: ClassVar[tuple[str, ...]] = ("candidate_id",)
    prompt_id: str
    language: str
    messages: tuple[Message, ...]
    reasoning: str | None = None  # before the last message
    tools: str | None = None  # of the prompt
    candidate_id: str
    teacher: str
    score: float | None
    strategy: str


class PreferencePair(Record):
    """Two responses to one prompt, the better one first.

    Attributes:
        iteration: the online round that sampled them; 0 for pairs made before there was a student.
    """

    row_key: ClassVar[tuple[str, ...]] = ("chosen_id", "rejected_id")
    prompt_id: str
    language: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    chosen_reasoning: str | None = None
    rejected_reasoning: str | None = None
    tools: str | None = None  # of the prompt
    chosen_id: str
    rejected_id: str
    chosen_teacher: str
    rejected_teacher: str
    chosen_score: float
    rejected_score: float
    score_gap: float
    reward: str
    policy: str
    iteration: int = 0


class Metric(Record):
    """One measured property of a text."""

    name: str
    value: float | None


class SteeredExample(Record):
    """A candidate chosen for a measurable property."""

    row_key: ClassVar[tuple[str, ...]] = ("candidate_id", "objective")
    prompt_id: str
    language: str
    candidate_id: str
    teacher: str
    objective: str
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    reasoning: str | None = None
    tools: str | None = None  # of the prompt
    metrics: tuple[Metric, ...]


class Measurement(Record):
    """One metric of one candidate: a value in the metric's own unit, or the reason why there is none."""

    item_key: ClassVar[str] = "candidate_id"
    row_key: ClassVar[tuple[str, ...]] = ("candidate_id", "metric")
    candidate_id: str
    prompt_id: str
    metric: str
    value: float | None = None
    reason: str | None = None  # of `arbitrage.text.measured.Reason`

    @model_validator(mode="after")
    def _value_or_reason(self) -> Self:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a Measurement has exactly one of value and reason")
        return self


class MetricScale(Record):
    """Distribution of one metric over the candidates of one language. Written by a corpus step."""

    item_key: ClassVar[str] = "language"
    row_key: ClassVar[tuple[str, ...]] = ("metric", "language")
    metric: str  # or 'reward', the final score
    language: str  # 'und': all languages
    family: str
    num_values: int
    raw_mean: float
    raw_sd: float
    mean: float  # after shrinkage to family and all
    sd: float  # above 0
    quantiles: tuple[float, ...]  # of the candidates' values, rising, evenly spaced from 0 to 1
    prompt_quantiles: tuple[float, ...]  # of the prompts' mean values


class TargetQuantiles(Record):
    """Distribution of one metric in one language of the target data set."""

    item_key: ClassVar[str] = "language"
    row_key: ClassVar[tuple[str, ...]] = ("metric", "language")
    metric: str
    language: str
    num_values: int
    quantiles: tuple[float, ...]  # rising, evenly spaced from 0 to 1


class SteeringChoice(Record):
    """Steering's choice for one prompt: the steered candidate, the control, and the farthest from the objectives.

    `_pull` is Σ weight · z(metric), `_reward` the final score in standard deviations of its language.
    """

    prompt_id: str
    language: str
    considered: tuple[str, ...]  # candidate ids, sorted: the k that steering and chance choose from
    steered_id: str
    steered_pull: float
    steered_reward: float
    control_id: str
    control_pull: float
    control_reward: float
    away_id: str | None = None  # the candidate farthest from the objectives that is no better by reward
    away_pull: float | None = None
    away_reward: float | None = None


class LanguageQuota(Record):
    """Wanted and available prompts of a language."""

    item_key: ClassVar[str] = "language"
    row_key: ClassVar[tuple[str, ...]] = ("language",)
    language: str
    wanted: int
    available: int
    last_lot: str | None = None  # the largest priority hash that is kept; null keeps all


class MixQuota(Record):
    """Available, wanted and kept preference pairs of a language, safety or not."""

    item_key: ClassVar[str] = "language"
    row_key: ClassVar[tuple[str, ...]] = ("language", "kind")
    language: str
    kind: Literal["general", "safety"]
    wanted: int
    available: int
    kept: int
    last_lot: str  # the largest priority hash that is kept; empty if none is


class Verdict(Record):
    """One judge's verdict on two responses to one prompt. A win needs agreement of both orders."""

    item_key: ClassVar[str] = "match_id"
    row_key: ClassVar[tuple[str, ...]] = ("match_id",)
    match_id: str
    prompt_id: str
    source_id: str  # of the prompt: equal in its translations
    language: str
    judge: str
    a_id: str
    b_id: str
    a_characters: int
    b_characters: int
    winner: Literal["a", "b", "tie"]
    how: Literal["consistent", "inconsistent", "scored", "identical", "failed"]  # the last two, and the second: ties
    a_first: Literal["a", "b", "tie"] | None = None  # the verdict with A shown first; null: not requested, or none
    b_first: Literal["a", "b", "tie"] | None = None
    a_score: float | None = None  # of a judge that scores
    b_score: float | None = None
    errors: tuple[str, ...] = ()  # why a verdict or a score is missing


class Reject(Record):
    """A row that stops at a step, with the reason."""

    item_key: ClassVar[str] = "item_id"
    row_key: ClassVar[tuple[str, ...]] = ("item_id",)
    item_id: str
    step: str = ""  # name of the step; filled in by execution (`with_step`), not by workers
    reason: str  # from the step's closed set
    detail: str | None = None


def content_id(*parts: str | int | None) -> str:
    """Hash parts to a 20-hex-digit id (80 bits: one expected collision among 10¹² rows)."""
    digest = hashlib.blake2b(digest_size=10)
    for part in parts:
        data = repr(part).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def is_translation(prompt: Prompt) -> bool:
    """Tell whether a prompt's candidates are translations of it: it is in the words of its source still."""
    return prompt.translation is not None and prompt.translation.translator is None


def base_name(reward: str) -> str:
    """Return the plain name of a `Score.reward` ('rm@1-0a1b2c3d' → 'rm')."""
    return reward.partition("@")[0]


def nfc(text: str) -> str:
    """Return text in Unicode normalisation form C, the form in which prompts are compared."""
    return unicodedata.normalize("NFC", text)


def canonical_json(value: object) -> str:
    """Return a value as JSON in the one form in which records hold it.

    Keys keep their order: a model sees the properties of a tool as its author wrote them.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def with_calls(text: str, calls: Sequence[ToolCall]) -> str:
    """Return a text and, below it, calls of tools, such as `find_flight({"to": "Lima"})`, each on a line."""
    if not calls:
        return text
    return "\n".join([*([text] if text.strip() else []), *(f"{call.name}({call.arguments})" for call in calls)])


def prompt_id_of(
    language: str, messages: Sequence[Message], tools: str | None = None, response_format: str | None = None
) -> str:
    """Return the id of a prompt: equal exactly when language, roles, NFC text, tools, calls and format are equal.

    Ids of calls make no difference.
    """
    parts = [part for m in messages for part in (m.role, nfc(m.content), *_calls_key(m))]
    beside = [part for part in (("tools", tools), ("response_format", response_format)) if part[1] is not None]
    return content_id("prompt", language, *parts, *(each for part in beside for each in part))


def _calls_key(message: Message) -> list[str]:
    calls = [part for call in message.tool_calls for part in (call.name, call.arguments)]
    return ["tool_calls", *calls] if calls else []
