"""Map the finish reasons of servers and recordings to one set.

OpenAI's own set is closed (stop, length, content_filter, tool_calls, function_call), what servers that follow its
protocol send is not: Anthropic, Bedrock, Cohere, DeepSeek, Gemini, llama.cpp, Mistral, SGLang, TGI, vLLM, xAI and
Zhipu have words of their own. A value that is not listed here is `unknown`, and nothing may read it as `stop`.
"""

import re
from dataclasses import dataclass
from typing import Literal

from arbitrage.records import FinishReason

FinishKind = Literal["stop", "length", "filtered", "tool_calls", "fault", "absent", "unknown"]
"""`stop`: the model ended by itself. `length`: it was cut off. `filtered`: a safety filter or a refusal.
`tool_calls`: it calls a tool. `fault`: an error, an abort or a time limit ended it. `absent`: no value.
`unknown`: a value that is not in the mapping."""

_VALUES: dict[FinishKind, str] = {
    "stop": """
        stop stopped stop_sequence stop_token stop_word stop_str stop_string stop_criteria_met matched_stop word eos
        eos_token eos_token_id eot eot_id end end_turn end_of_turn end_of_text end_of_sequence endoftext endofsequence
        complete completed completion_complete finish finished done normal success succeeded""",
    "length": """
        length max_length max_len max_tokens max_output_tokens max_completion_tokens max_new_tokens max_context
        max_context_length max_seq_len max_model_len max_tokens_reached token_limit token_limit_reached limit
        length_limit length_capped output_length error_limit model_length model_context_window_exceeded context_length
        context_length_exceeded context_window_exceeded context_limit incomplete truncated repetition
        repetition_truncation""",
    "filtered": """
        content_filter content_filtered content_filter_error contentfilter content_policy content_policy_violation
        content_blocked content_moderation filter filtered moderation safety safety_check image_safety
        recitation image_recitation language prohibited_content image_prohibited_content blocklist blocked spii
        model_armor guardrail guardrails guardrail_intervened sensitive error_toxic toxic refusal refused""",
    "tool_calls": """
        tool_calls tool_call tool_use tool function_call function_calls function""",
    "fault": """
        error errored fail failed failure internal_error server_error network_error connection_error engine_error
        upstream_error provider_error unexpected_error abort aborted cancel canceled cancelled user_cancel
        client_cancelled interrupted insufficient_system_resource overloaded rate_limit timeout timed_out time_limit
        preempted disconnected other image_other malformed_function_call malformed_tool_call malformed_response
        malformed unexpected_tool_call too_many_tool_calls missing_thought_signature no_image pause_turn
        in_progress""",
    "absent": "null none nan unspecified n/a",
}
_KINDS = {value: kind for kind, values in _VALUES.items() for value in values.split()}

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PREFIXES = ("finish_reason_", "stop_reason_", "reason_")
_MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Finish:
    """Why a completion ended.

    Attributes:
        kind: meaning.
        value: the given value as text for messages, at most 60 characters.
    """

    kind: FinishKind
    value: str

    @property
    def reason(self) -> FinishReason | None:
        """The candidate's finish reason; None if the text is neither complete nor cut off at the limit."""
        match self.kind:
            case "stop":
                return FinishReason.STOP
            case "length":
                return FinishReason.LENGTH
        return None


def read_finish(value: object) -> Finish:
    """Return the meaning of a finish reason from any server.

    Case, hyphens, spaces, camel case and the name of an enumeration make no difference: `MAX_TOKENS`, `max-tokens`,
    `maxTokens` and `FinishReason.MAX_TOKENS` are one value. An object is read by its `type`, as SGLang gives it.
    """
    if isinstance(value, dict):
        value = value.get("type", value.get("reason"))
    if value is None or value != value:  # pandas writes a missing value as NaN
        return Finish("absent", "null")
    if not isinstance(value, str):
        is_short = isinstance(value, int | float) and abs(value) < 1e9
        return Finish("unknown", repr(value) if is_short else f"a value of type {type(value).__name__}")
    text = value.strip()[:_MAX_SHOWN]
    return Finish(_KINDS.get(_normal(text), "unknown"), text) if text else Finish("absent", "an empty string")


def _normal(text: str) -> str:
    word = _CAMEL.sub("_", text.rpartition(".")[2]).lower()
    word = re.sub(r"[\s_-]+", "_", word).strip("_")
    for prefix in _PREFIXES:
        word = word.removeprefix(prefix)
    return word
