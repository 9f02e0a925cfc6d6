"""What servers that speak OpenAI's protocol really send, and what becomes of the row, its neighbours and the step.

Each case is answered to one prompt of twenty, for good; the others are served. The row alone must bear it, the reason
must be right, and the server's words must reach the reject.
"""

import asyncio
import json

import pytest
from aiohttp import web

from arbitrage.contracts.engines import Completion, Failure
from arbitrage.errors import TeacherAccessError, TeacherUnreachableError
from arbitrage.records import FinishReason
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai import retry
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from tests.support.asking import a_request, collect
from tests.support.mock_endpoint import after, answer, serve, well_behaved

SPEC = ModelSpec("remote", "m")
OTHERS = [a_request(f"q{i}") for i in range(19)]


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch):
    monkeypatch.setattr(retry, "_FIRST_S", 0.01)
    monkeypatch.setattr(retry, "_LONGEST_S", 0.05)


def said(body, status=200, **headers):
    return lambda: web.json_response(body, status=status, headers=headers)


def chat(content="text", finish="stop", **more):
    message = {"role": "assistant", "content": content} | more.pop("message", {})
    return said(
        {"choices": [{"index": 0, "message": message, "finish_reason": finish} | more.pop("choice", {})]} | more
    )


def raw(body, kind="application/json", status=200):
    return lambda: web.Response(body=body, status=status, headers={"Content-Type": kind})


async def ask_beside_others(misbehave, **options):
    """Return the row's result and how often it was sent; all its neighbours must be served."""

    async def behave(body, ordinal):
        if body["messages"][0]["content"] == "odd":
            return misbehave()
        return await well_behaved(body, ordinal)

    async with serve(behave) as endpoint:
        config = OpenAIConfig(base_url=endpoint.base_url, **({"retry_for_s": 0.5, "max_in_flight": 4} | options))
        client = config.build(SPEC)
        try:
            requests = [a_request("odd", candidate_id="odd"), *OTHERS]
            results = await asyncio.wait_for(collect(client, requests), 30)
        finally:
            await client.close()
    odd = results.pop("odd")
    assert [type(result) for result in results.values()] == [Completion] * len(OTHERS)
    return odd, sum(body["messages"][0]["content"] == "odd" for body in endpoint.bodies)


PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}, {"type": "text", "text": "one "}, "two"]
SECRET_PART = [{"type": "image_url", "image_url": {"url": "x"}}]
CHUNKS = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "fo"}}]},
    {"choices": [{"index": 0, "delta": {"content": "ur", "reasoning_content": "hm"}, "finish_reason": "length"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
]
EVENTS = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in CHUNKS).encode() + b"data: [DONE]\n\n"
ONE = {"choices": [{"index": 0, "message": {"content": "four ü"}, "finish_reason": "stop"}]}

TEXTS = {  # what is sent → the completion's text and finish reason
    "parts": (chat(PARTS), "one two", "stop"),
    "one-part": (chat({"type": "output_text", "text": "four"}), "four", "stop"),
    "null": (chat(None), "", "stop"),
    "empty-tool-calls": (chat("four", message={"tool_calls": [], "refusal": None, "function_call": None}), "four", "stop"),
    "delta": (said({"choices": [{"delta": {"content": "four"}, "finish_reason": "eos_token"}]}), "four", "stop"),
    "text": (said({"choices": [{"text": "four", "finish_reason": "MAX_TOKENS"}]}), "four", "length"),
    "model-length": (chat("fo", "model_length"), "fo", "length"),
    "typed-finish": (chat("fo", {"type": "length", "length": 16}), "fo", "length"),
    "second-choice-first": (
        said({"choices": [{"index": 1} | ONE["choices"][0] | {"index": 1, "message": {"content": "no"}}, ONE["choices"][0]]}),
        "four ü",
        "stop",
    ),
    "list-of-one": (said([ONE]), "four ü", "stop"),
    "null-error": (said(ONE | {"error": None, "detail": ""}), "four ü", "stop"),
    "byte-order-mark": (raw(b"\xef\xbb\xbf" + json.dumps(ONE).encode()), "four ü", "stop"),
    "latin-1": (raw(json.dumps(ONE, ensure_ascii=False).encode("latin-1"), "application/json; charset=iso-8859-1"), "four ü", "stop"),
    "utf-16": (raw(json.dumps(ONE).encode("utf-16"), "application/json; charset=utf-16"), "four ü", "stop"),
    "unknown-charset": (raw(json.dumps(ONE).encode(), "application/json; charset=klingon"), "four ü", "stop"),
    "text-plain": (raw(json.dumps(ONE).encode(), "text/plain"), "four ü", "stop"),
    "events": (raw(EVENTS, "text/event-stream"), "four", "length"),
    "created": (said(ONE, status=201), "four ü", "stop"),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "text", "finish"), TEXTS.values(), ids=TEXTS.keys())
async def test_an_unusual_answer_is_read(sent, text, finish):
    odd, num_sent = await ask_beside_others(sent)
    assert isinstance(odd, Completion), odd
    assert (odd.text, odd.finish_reason, num_sent) == (text, FinishReason(finish), 1)


REASONING = {  # what is sent → the completion's text and reasoning
    "field": (chat("four", message={"reasoning": "hm"}), "four", "hm"),
    "older-field": (chat("four", message={"reasoning_content": "hm\n"}), "four", "hm"),
    "both": (chat("four", message={"reasoning": "hm", "reasoning_content": "hm"}), "four", "hm"),
    "null-and-field": (chat("four", message={"reasoning": None, "reasoning_content": "hm"}), "four", "hm"),
    "parts": (chat([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, "four"]), "four", "hm"),
    "parts-of-text": (chat([{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "four"}]), "four", "hm"),
    "none": (chat("four", message={"reasoning": ""}), "four", None),
}


@pytest.mark.parametrize(("sent", "text", "reasoning"), REASONING.values(), ids=REASONING)
async def test_reasoning_is_read_from_whatever_holds_it(sent, text, reasoning):
    odd, _ = await ask_beside_others(sent)
    assert (odd.text, odd.reasoning) == (text, reasoning)


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (chat(PARTS[:1], "length"), "max_tokens ended the reasoning"),
        (
            chat(None, "length", message={"reasoning": "hm", "reasoning_content": "hm"}),
            "max_tokens ended the reasoning",
        ),
        (chat(" \n", "stop", message={"reasoning": "hm"}), "the model stopped"),
    ],
)
async def test_reasoning_without_an_answer_is_a_reject(sent, detail):
    odd, num_sent = await ask_beside_others(sent)
    assert (odd.reason, num_sent) == ("reasoning_unfinished", 1)
    assert odd.detail.startswith(detail)


def error(message, http_status, **more):
    return said({"error": {"message": message} | more}, status=http_status)


GEMINI = [
    {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "The input token count (9) exceeds the maximum"}}
]
ROUTER = {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"], "flagged_input": "x"}}}
NESTED = {
    "error": {
        "code": 400,
        "message": "Provider returned error",
        "metadata": {"raw": '{"error":{"message":"too hot"}}'},
    }
}
FASTAPI = {"detail": [{"loc": ["body", "seed"], "msg": "extra fields not permitted", "type": "value_error.extra"}]}
SGLANG = {"object": "error", "message": "longer than the model's context length (8 tokens)", "code": 400}
AZURE = {"error": {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "filtered"}}

REJECTS = {  # what is sent → reason, a piece of the detail, times sent
    "400": (error("no such thing", 400), "bad_request", "400: no such thing", 1),
    "400-plain-text": (raw(b"bad luck", "text/plain", 400), "bad_request", "400: bad luck", 1),
    "400-html": (raw(b"<html><title>No &amp; no</title>", "text/html", 400), "bad_request", "400: No & no", 1),
    "400-nothing": (raw(b"", status=400), "bad_request", "400", 1),
    "400-not-utf8": (raw(b"\xff\xfe\xfd", status=400), "bad_request", "400: ", 1),
    "400-list": (said(GEMINI, 400), "prompt_too_long", "input token count", 1),
    "400-top-level": (said(SGLANG, 400), "prompt_too_long", "context length", 1),
    "400-nested-deeply": (said({"error": {"error": {"error": {"message": "deep"}}}}, 400), "bad_request", "400: deep", 1),
    "400-text": (said({"error": "plain"}, 400), "bad_request", "400: plain", 1),
    "400-provider": (said(NESTED, 400), "bad_request", "Provider returned error; too hot", 1),
    "400-code": (error("x", 400, code="context_length_exceeded"), "prompt_too_long", "400: x", 1),
    "400-llama.cpp": (error("x", 400, type="exceed_context_size_error", code=400), "prompt_too_long", "400: x", 1),
    "400-param": (error("x", 400, param="input_tokens"), "prompt_too_long", "400: x", 1),
    "400-filter": (error("x", 400, code="content_filter"), "content_filter", "400: x", 1),
    "400-azure": (said(AZURE, 400), "content_filter", "400: filtered", 1),
    "403-flagged": (said(ROUTER, 403), "content_filter", "403: flagged", 1),
    "413": (error("too large", 413), "bad_request", "413: too large", 1),
    "414": (error("too long a URI", 414), "bad_request", "414", 1),
    "422-fastapi": (said(FASTAPI, 422), "bad_request", "422: body.seed: extra fields not permitted", 1),
    "422-tgi": (said({"error": "`inputs` tokens + `max_new_tokens` must be <= 4096", "error_type": "validation"}, 422),
                "prompt_too_long", "must be <= 4096", 1),
    "200-with-400": (error("bad", 200, code=400), "bad_request", "200 with an error 400: bad", 1),
    "200-with-text-code": (error("bad", 200, code="400"), "bad_request", "an error 400", 1),
    "200-object-error": (said({"object": "error", "message": "broke", "code": 500}), "engine_error", "broke", 4),
    "200-detail": (said({"detail": "broke"}), "engine_error", "broke", 4),
    "200-error-list": (said([{"error": {"code": 503, "message": "full"}}]), "engine_error", "full", None),
    "200-with-429": (error("slow down", 200, code=429), "engine_error", "slow down", None),
    "429": (error("slow down", 429), "engine_error", "refused as busy", None),
    "choice-error": (chat("half a sen", "error", choice={"error": {"code": 502, "message": "gone"}}), "engine_error", "gone", 4),
    "finish-error": (chat("half a sen", "error"), "engine_error", "finish_reason 'error'", 4),
    "finish-abort": (chat("", "abort"), "engine_error", "finish_reason 'abort'", 4),
    "finish-resource": (chat("ha", "insufficient_system_resource"), "engine_error", "insufficient_system_resource", 4),
    "finish-safety": (chat("", "SAFETY"), "content_filter", "SAFETY", 1),
    "finish-unknown": (chat("whole?", "zorp"), "unknown_finish_reason", "'zorp'", 1),
    "finish-number": (chat("whole?", 1), "unknown_finish_reason", "'1'", 1),
    "finish-null": (chat("whole?", None), "unknown_finish_reason", "no_finish_reason: stop", 2),
    "refusal": (chat(None, message={"refusal": "I cannot help with that."}), "content_filter", "I cannot help", 1),
    "refusal-part": (chat([{"type": "refusal", "refusal": "No."}]), "content_filter", "No.", 1),
    "tool-calls": (chat(None, "tool_calls", message={"tool_calls": [{"id": "1"}]}), "tool_calls", "calls a tool", 1),
    "tool-calls-with-stop": (chat("Wait", "stop", message={"tool_calls": [{"id": "1"}]}), "tool_calls", "calls a tool", 1),
    "function-call": (chat(None, "function_call"), "tool_calls", "function_call", 1),
    "image": (chat(SECRET_PART), "engine_error", "part of type image_url", 4),
    "no-choices": (said({"choices": []}), "engine_error", "no choices[0].message", 4),
    "choices-null": (said({"choices": None}), "engine_error", "no choices[0].message", 4),
    "choice-is-text": (said({"choices": ["four"]}), "engine_error", "no choices[0].message", 4),
    "no-message": (said({"choices": [{"finish_reason": "stop"}]}), "engine_error", "no choices[0].message", 4),
    "empty-body": (raw(b""), "engine_error", "the response is empty", 4),
    "no-content": (raw(b"", status=204), "engine_error", "the response is empty", 4),
    "html": (raw(b"<html>hello", "text/html"), "engine_error", "not JSON", 4),
    "cut-json": (raw(b'{"choices": [{"message": {"cont'), "engine_error", "not JSON", 4),
    "events-cut": (raw(EVENTS[:120], "text/event-stream"), "engine_error", "not JSON", 4),
    "events-error": (raw(b'data: {"error": {"code": 502, "message": "gone"}}\n\n', "text/event-stream"), "engine_error", "gone", 4),
    "404-one-row": (error("no such thread", 404), "bad_request", "404", 4),
    "401-one-row": (error("bad session", 401), "bad_request", "401", 4),
    "403-one-row": (error("flagged", 403), "bad_request", "flagged", 4),
} | {
    str(status): (error("odd", status), "engine_error", f"{status}: odd", 4)
    for status in (406, 408, 409, 418, 423, 424, 425, 451, 498, 499, 500, 502, 504, 520, 524, 598)
}  # fmt: skip


@pytest.mark.parametrize(("sent", "reason", "detail", "times"), REJECTS.values(), ids=REJECTS.keys())
async def test_a_row_bears_its_own_fault_and_its_server_is_quoted(sent, reason, detail, times):
    odd, num_sent = await ask_beside_others(sent)
    assert isinstance(odd, Failure), odd
    assert odd.reason == reason
    assert detail in odd.detail
    assert "\n" not in odd.detail
    assert len(odd.detail) < 500
    if times is not None:
        assert num_sent == times


async def test_an_answer_without_finish_reason_counts_as_whole_where_the_config_says_so():
    odd, _ = await ask_beside_others(chat("four", None), no_finish_reason="stop")
    assert odd == Completion("odd", "four", FinishReason.STOP)


NUMBERS = {
    "huge": (10**30, None), "negative": (-1, None), "float": (7.0, 7), "half": (7.5, None), "text": ("7", 7), "word": ("seven", None),
    "true": (True, None), "null": (None, None), "list": ([7], None), "zero": (0, 0), "nan": (float("nan"), None),
    "infinite": (float("inf"), None),
}  # fmt: skip


@pytest.mark.parametrize(("told", "kept"), NUMBERS.values(), ids=NUMBERS.keys())
async def test_absurd_counts_become_null(told, kept):
    odd, _ = await ask_beside_others(chat("four", usage={"prompt_tokens": told, "completion_tokens": told}))
    assert (odd.text, odd.prompt_tokens, odd.completion_tokens) == ("four", kept, kept)


LOGPROBS = {
    "two": ([-0.5, -1], -1.5), "nan": ([float("nan")], None), "infinite": ([float("-inf")], None),
    "huge": ([-(10**30)], None), "huge-sum": ([-9e8, -9e8], None), "positive": ([2.0], None), "rounding": ([1e-9], 0.0),
    "true": ([True], None), "text": (["-1"], None), "none": ([], None), "one-missing": ([-1.0, None], None),
}  # fmt: skip


@pytest.mark.parametrize(("told", "kept"), LOGPROBS.values(), ids=LOGPROBS.keys())
async def test_absurd_logprobs_become_null(told, kept):
    tokens = {"content": [{"token": "x", "logprob": value} for value in told]}
    odd, _ = await ask_beside_others(chat("four", choice={"logprobs": tokens}), logprobs=True)
    assert (odd.text, odd.cumulative_logprob) == ("four", kept)


@pytest.mark.parametrize("usage", [None, [], "7", {"prompt_tokens": {}}])
@pytest.mark.parametrize("logprobs", [None, [], "x", {"content": 5}, {"content": [None]}, {"content": {}}])
async def test_odd_usage_and_logprobs_cost_no_row(usage, logprobs):
    odd, _ = await ask_beside_others(chat("four", choice={"logprobs": logprobs}, usage=usage))
    assert odd == Completion("odd", "four", FinishReason.STOP)


# --- an endpoint that refuses all, or not yet -----------------------------------------------------------------


async def ask_all(misbehave, num_rows=20, models=("m",), **options):
    async with serve(misbehave, models=models) as endpoint:
        config = OpenAIConfig(base_url=endpoint.base_url, **({"retry_for_s": 0.5, "max_in_flight": 4} | options))
        client = config.build(SPEC)
        try:
            requests = [a_request(f"q{i}") for i in range(num_rows)]
            return await asyncio.wait_for(collect(client, requests), 30), endpoint
        finally:
            await client.close()


async def keep(stream, kept):
    async for result in stream:
        kept[result.candidate_id] = result


def always(response):
    return after(lambda _: response(), 10**6)


ACCESS = {
    "401": (error("no key", 401), r"answers 401 for model m: the key is missing or wrong \(no key\)"),
    "402": (error("pay", 402), "answers 402 .* the quota is spent, or the account has no credit"),
    "403": (error("go away", 403), r"answers 403 for model m: no permission \(go away\)"),
    "404": (error("not here", 404), "answers 404 for model m: no such model or path .* gave up after waiting 0.5 s"),
    "400-bad-key": (error("x", 400, status="INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}]), "the key is missing"),
    "400-no-model": (error("x", 400, code="model_not_found"), "no such model or path"),
    "200-bad-key": (error("x", 200, code=401), "the key is missing or wrong"),
    "429-spent": (error("pay", 429, code="insufficient_quota"), "answers 429 for model m: the quota is spent"),
    "307": (lambda: web.Response(status=307, headers={"Location": "https://me:pw@other.example/v2/chat/completions?key=x"}),
            r"redirects to https://other.example/v2/chat/completions; if that is right, put https://other.example/v2 into"),
    "301-slash": (lambda: web.Response(status=301, headers={"Location": "/v1/chat/completions/"}), "redirects to http://127.0.0.1:.*/"),
    "302-nowhere": (lambda: web.Response(status=302), "redirects without saying where to"),
    "407": (lambda: web.Response(status=407), "the proxy needs a name and a password"),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "sentence"), ACCESS.values(), ids=ACCESS.keys())
@pytest.mark.parametrize("num_rows", [1, 20])
async def test_an_endpoint_that_refuses_all_ends_the_step(sent, sentence, num_rows):
    with pytest.raises(TeacherAccessError, match=sentence) as caught:
        await ask_all(always(sent), num_rows)
    assert not caught.value.retryable


@pytest.mark.parametrize("num_rows", [1, 3])
async def test_a_few_refused_rows_with_nothing_beside_them_are_told_from_a_refused_account(num_rows):
    """Nothing shows whether others are served, so a harmless request finds it out."""

    async def behave(body, ordinal):
        is_probe = body["messages"][0]["content"] == "Hello"
        return await well_behaved(body, ordinal) if is_probe else error("flagged", 403)()

    results, _ = await ask_all(behave, num_rows)
    assert {result.reason for result in results.values()} == {"bad_request"}


async def test_a_key_that_expires_half_way_ends_the_step_with_all_answers_kept():
    kept = {}

    async def behave(body, ordinal):
        return await well_behaved(body, ordinal) if ordinal < 50 else error("expired", 401)()

    async with serve(behave) as endpoint:
        client = OpenAIConfig(base_url=endpoint.base_url, max_in_flight=4, retry_for_s=0.5).build(SPEC)
        with pytest.raises(TeacherAccessError, match="expired"):
            await keep(client.generate([a_request(f"q{i}") for i in range(200)]), kept)
        await client.close()
    assert len(kept) == 50
    assert all(isinstance(result, Completion) for result in kept.values())


@pytest.mark.parametrize("models", [("m",), ()])
async def test_a_model_that_is_still_being_loaded_is_waited_for(models):
    loading = error("model 'm' not found", 404)
    results, _ = await ask_all(after(lambda _: loading(), 8), models=models, retry_for_s=20.0)
    assert all(isinstance(result, Completion) for result in results.values())


async def test_a_model_that_the_endpoint_does_not_list_is_not_waited_for():
    with pytest.raises(TeacherAccessError, match=r"no such model or path .*; it serves a, b") as caught:
        await ask_all(always(error("no", 404)), models=("a", "b"), retry_for_s=1000.0)
    assert not caught.value.retryable


async def test_an_endpoint_of_another_protocol_ends_the_step_for_good():
    with pytest.raises(
        TeacherAccessError, match="gives responses that are no chat completions: the response is not JSON"
    ):
        await ask_all(always(raw(b"<html>welcome", "text/html")))


async def test_an_endpoint_that_served_before_and_now_gives_pages_is_tried_again():
    page = raw(b"<html>maintenance", "text/html")

    async def behave(body, ordinal):
        return page() if 5 <= ordinal < 11 else await well_behaved(body, ordinal)

    results, _ = await ask_all(behave, num_rows=40, retry_for_s=10.0)
    assert all(isinstance(result, Completion) for result in results.values())


async def test_answers_in_flight_are_kept_when_a_far_retry_after_ends_the_step():
    """Two of four are under way when the others are told to come back in an hour."""
    kept = {}

    async def behave(body, ordinal):
        if ordinal < 2:
            await asyncio.sleep(0.5)
            return answer("slow")
        return web.json_response({"error": {"message": "daily limit"}}, status=429, headers={"Retry-After": "3600"})

    async with serve(behave) as endpoint:
        client = OpenAIConfig(base_url=endpoint.base_url, max_in_flight=4, retry_for_s=0.2).build(SPEC)
        left, right = client.generate(OTHERS[:10]), client.generate(OTHERS[10:])
        outcomes = await asyncio.gather(keep(left, kept), keep(right, kept), return_exceptions=True)
        await client.close()
    assert [type(outcome).__name__ for outcome in outcomes] == ["TeacherBusyError"] * 2
    assert "daily limit, requests a pause of 3600 s; it serves again later than after retry_for_s" in str(outcomes[0])
    assert [result.text for result in kept.values()] == ["slow", "slow"]


async def test_one_long_retry_after_does_not_affect_other_rows():
    first = [True]

    async def behave(body, ordinal):
        if body["messages"][0]["content"] == "q0" and first.pop() if first else False:
            return web.Response(status=429, headers={"Retry-After": "3600"})
        await asyncio.sleep(0.01)
        return await well_behaved(body, ordinal)

    results, _ = await ask_all(behave, retry_for_s=1.0)
    assert all(isinstance(result, Completion) for result in results.values())


async def test_the_error_of_a_dead_endpoint_is_raised_once_and_the_client_serves_again():
    async def behave(body, ordinal):
        return await well_behaved(body, ordinal)

    async with serve(behave) as endpoint:
        port = int(endpoint.base_url.split(":")[2].split("/")[0])
    client = OpenAIConfig(base_url=endpoint.base_url, retry_for_s=0.1).build(SPEC)
    with pytest.raises(TeacherUnreachableError):
        await collect(client, OTHERS)
    async with serve(behave, port=port):
        results = await collect(client, OTHERS)
        await client.close()
    assert all(isinstance(result, Completion) for result in results.values())
