"""The one mapping of finish reasons: what each server calls it, and that nothing unknown is read as `stop`."""

import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbitrage.records import FinishReason
from arbitrage.teachers.engines.finish_reasons import Finish, read_finish

KINDS = {
    "stop": "stop STOP eos eos_token end_turn stop_sequence COMPLETE completed FinishReason.STOP FINISH_REASON_STOP",
    "length": "length max_tokens MAX_TOKENS maxTokens max-tokens model_length max_output_tokens REASON_MAX_LEN limit "
    "model_context_window_exceeded repetition",
    "filtered": "content_filter content-filter contentFilter SAFETY RECITATION PROHIBITED_CONTENT BLOCKLIST SPII "
    "refusal sensitive guardrail_intervened ERROR_TOXIC",
    "tool_calls": "tool_calls toolCalls function_call tool_use TOOL_CALL REASON_TOOL_CALLS",
    "fault": "error ERROR abort cancelled USER_CANCEL insufficient_system_resource network_error OTHER "
    "MALFORMED_FUNCTION_CALL TIMEOUT pause_turn",
    "absent": "null None FINISH_REASON_UNSPECIFIED",
}


@pytest.mark.parametrize(("kind", "value"), [(kind, v) for kind, values in KINDS.items() for v in values.split()])
def test_a_known_value_has_its_kind(kind, value):
    assert read_finish(value) == Finish(kind, value)


class Reason(str, enum.Enum):  # noqa: UP042 - recordings hold such members, and str() of them is "Reason.LENGTH"
    LENGTH = "length"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Reason.LENGTH, "length"),
        ({"type": "length", "length": 512}, "length"),
        ({"type": "stop", "matched": 2}, "stop"),
        ({}, "absent"),
        (None, "absent"),
        (float("nan"), "absent"),
        (" \n", "absent"),
        (1, "unknown"),
        (10**5000, "unknown"),
        (True, "unknown"),
        (["stop"], "unknown"),
        ({"type": ["stop"]}, "unknown"),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_a_value_of_another_type_is_read_or_named(value, kind):
    assert read_finish(value).kind == kind


def test_only_what_stopped_or_was_cut_off_becomes_a_candidate():
    reasons = {kind: read_finish(values.split()[0]).reason for kind, values in KINDS.items()}
    assert reasons == dict.fromkeys(KINDS) | {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


@given(st.text(max_size=200))
def test_an_unknown_value_is_named_and_never_read_as_stop(value):
    finish = read_finish(f"?{value}")
    assert finish.reason is None
    assert 0 < len(finish.value) <= 60
