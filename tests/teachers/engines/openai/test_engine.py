"""The openai engine against a real server on loopback that misbehaves in every way we know."""

import asyncio
import json
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from statistics import fmean

import pytest
from aiohttp import web

from arbitrage.config import parse
from arbitrage.contracts.engines import NO_OPTIONS, Completion, DecodingOptions, Failure
from arbitrage.errors import ConfigError, TeacherAccessError, TeacherBusyError, TeacherUnreachableError, UserError
from arbitrage.records import FinishReason
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai import client, retry
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from arbitrage.teachers.engines.openai.request import body_of
from tests.support.asking import a_request, collect
from tests.support.mock_endpoint import Endpoint, after, answer, serve, stalled, well_behaved

SPEC = ModelSpec("remote", "m")


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch):
    monkeypatch.setattr(retry, "_FIRST_S", 0.01)


def engine(endpoint: Endpoint, spec: ModelSpec = SPEC, **options) -> client.OpenAIEngine:
    return OpenAIConfig(base_url=endpoint.base_url, **({"retry_for_s": 5.0} | options)).build(spec)


def one(**more):
    return a_request("hello", candidate_id="c", seed=17, temperature=0.5, top_p=0.9, max_tokens=5, **more)


async def ask_one(endpoint: Endpoint, options: DecodingOptions = NO_OPTIONS, **config):
    return (await collect(engine(endpoint, **config), [one(options=options)]))["c"]


async def test_what_is_sent_and_what_comes_back():
    async with serve(well_behaved) as endpoint:
        result = await ask_one(
            endpoint, extra_body={"top_k": 20}, spec=ModelSpec("t", "m", template_options={"a": 1})
        )
    assert result == Completion("c", "you said hello", FinishReason.STOP, 7, 3, None)
    assert endpoint.bodies == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 5,
            "seed": 17,
            "top_k": 20,
            "min_p": 0.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "repetition_penalty": 1.0,
            "chat_template_kwargs": {"a": 1},
        }
    ]


async def test_every_sampling_parameter_is_sent_by_the_protocols_name():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    given = {
        "top_k": 5,
        "min_p": 0.1,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "repetition_penalty": 1.1,
        "min_tokens": 2,
        "stop": ["END"],
        "stop_token_ids": [3],
        "bad_words": ["no"],
        "logit_bias": {"7": -1.0},
        "reasoning_effort": "low",
    }
    forms = [{"json_schema": schema}, {"regex": "a+"}, {"choice": ["yes", "no"]}]
    async with serve(well_behaved) as endpoint:
        for form in forms:
            options = parse({**given, "reasoning_budget": 9, "structured_output": form}, DecodingOptions, "test")
            await ask_one(endpoint, options=options)
        await ask_one(endpoint, options=DecodingOptions(top_k=5), leave_out=("min_p", "repetition_penalty", "top_k"))
    *bodies, left_out = endpoint.bodies
    for body in bodies:
        assert {name: body[name] for name in given} == given
        assert body["thinking_token_budget"] == 9
    assert bodies[0]["response_format"]["json_schema"]["schema"] == schema
    assert [body["structured_outputs"] for body in bodies[1:]] == [{"regex": "a+"}, {"choice": ["yes", "no"]}]
    assert not {"min_p", "repetition_penalty", "top_k"} & left_out.keys()


def test_strict_hosts_get_no_field_that_their_protocol_does_not_have():
    config = OpenAIConfig(base_url="https://api.openai.com/v1")
    sent = json.loads(body_of(config, ModelSpec("t", "m"), a_request("hello")))
    assert not {"top_k", "min_p", "repetition_penalty"} & sent.keys()
    asked = a_request("hello", options=DecodingOptions(top_k=3))
    assert json.loads(body_of(config, ModelSpec("t", "m"), asked))["top_k"] == 3


async def test_finish_reasons_and_logprobs():
    async def behave(_, ordinal):
        logprobs = {"content": [{"token": "y", "logprob": -0.5}, {"token": "s", "logprob": -1.0}]}
        cases = [
            answer("cut", finish_reason="length", logprobs=logprobs),
            answer("", finish_reason="content_filter"),
            answer(None),
        ]
        return cases[ordinal]

    async with serve(behave) as endpoint:
        cut, filtered, silent = [await ask_one(endpoint, logprobs=True) for _ in range(3)]
    assert (cut.finish_reason, cut.cumulative_logprob) == (FinishReason.LENGTH, -1.5)
    assert filtered == Failure("c", "content_filter")
    assert silent.text == ""
    assert endpoint.bodies[0]["logprobs"] is True


@pytest.mark.parametrize(
    "first",
    [
        lambda _: web.Response(status=500, text="oops"),
        lambda _: web.Response(status=502),
        lambda _: web.Response(text="<html>not json"),
        lambda _: web.Response(body=b'{"choices": [\xff'),
        lambda _: web.Response(text="[" * 100_000),
        lambda _: web.json_response({"choices": []}),
        lambda _: web.json_response({"choices": [{"message": {"content": 5}}]}),
        lambda _: web.json_response(["a list"]),
    ],
    ids=["500", "502", "html", "not-utf8", "nested", "no-choices", "content-number", "list"],
)
async def test_faults_are_tried_again_and_then_fail_the_row_alone(first):
    async with serve(after(first, 2)) as endpoint:
        assert isinstance(await ask_one(endpoint), Completion)
        assert len(endpoint.bodies) == 3
    async with serve(after(first, 1_000)) as endpoint:
        result = await ask_one(endpoint, num_tries=3)
        assert isinstance(result, Failure)
        assert result.reason == "engine_error"
        assert len(endpoint.bodies) == 3


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date", "none", "nonsense"])
async def test_a_busy_endpoint_is_tried_again_when_it_says(status, form):
    def busy(_):
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)  # whole seconds: 1 to 2 s
        headers = {
            "seconds": {"Retry-After": "1"},
            "date": {"Retry-After": date},
            "nonsense": {"Retry-After": "soon"},
        }
        return web.Response(status=status, headers=headers.get(form, {}))

    async with serve(after(busy, 1)) as endpoint:
        started = time.monotonic()
        assert isinstance(await ask_one(endpoint), Completion)
        waited = time.monotonic() - started
    assert len(endpoint.bodies) == 2
    assert waited > 0.9 or form not in ("seconds", "date")


async def test_waits_longer_than_the_patience_end_the_step_in_one_sentence_without_a_restart():
    async with serve(after(lambda _: web.Response(status=429, headers={"Retry-After": "3600"}), 9)) as endpoint:
        with pytest.raises(TeacherBusyError) as caught:
            await ask_one(endpoint, retry_for_s=0.2)
    assert "answers 429, requests a pause of 3600 s; it serves again later than after retry_for_s (0.2 s)" in str(
        caught.value
    )
    assert not caught.value.retryable
    assert 1 <= len(endpoint.bodies) <= 3


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_bad_request_fails_alone_and_is_not_repeated(status):
    async def behave(body, ordinal):
        if body["messages"][0]["content"] == "bad":
            return web.json_response({"error": {"message": "no such thing"}}, status=status)
        return await well_behaved(body, ordinal)

    async with serve(behave) as endpoint:
        requests = [a_request("bad", candidate_id="bad"), *(a_request(f"q{i}") for i in range(20))]
        results = await collect(engine(endpoint), requests)
    assert results["bad"] == Failure("bad", "bad_request", f"{status}: no such thing")
    assert sum(isinstance(r, Completion) for r in results.values()) == 20
    assert len(endpoint.bodies) == 21


@pytest.mark.parametrize("error", [{"code": "context_length_exceeded"}, {"code": 400, "param": "input_tokens"}])
async def test_an_over_long_prompt_is_known_by_the_errors_code(error):
    refused = {"error": {"message": "whatever"} | error}
    async with serve(after(lambda _: web.json_response(refused, status=400), 9)) as endpoint:
        result = await ask_one(endpoint)
    assert isinstance(result, Failure)
    assert result.reason == "prompt_too_long"


@pytest.mark.parametrize("status", [401, 402, 403, 405, 301])
async def test_no_access_ends_the_step_at_once(status, monkeypatch):
    monkeypatch.setenv("REMOTE_KEY", "sk-very-secret")

    def refuse(_):
        return web.json_response({"error": {"message": "key sk-very-secret"}}, status=status)

    async with serve(after(refuse, 10**6)) as endpoint:
        client = engine(endpoint, api_key_env="REMOTE_KEY", max_in_flight=4)
        with pytest.raises(TeacherAccessError, match=rf"'remote'.*answers {status} for model m") as caught:
            await collect(client, [a_request(f"q{i}") for i in range(500)])
    assert not caught.value.retryable
    assert len(endpoint.bodies) <= 8
    assert "sk-very-secret" not in str(caught.value)


async def test_the_key_is_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv("REMOTE_KEY", "sk-very-secret")
    monkeypatch.setenv("ORGANISATION", "org-7")

    def refuse(_):
        return web.json_response({"error": {"message": "bad key sk-very-secret"}}, status=400)

    options = {"api_key_env": "REMOTE_KEY", "headers_env": {"X-Org": "ORGANISATION"}}
    async with serve(after(refuse, 1)) as endpoint:
        result = await ask_one(endpoint, **options)
    assert endpoint.headers[0]["Authorization"] == "Bearer sk-very-secret"
    assert endpoint.headers[0]["X-Org"] == "org-7"
    assert isinstance(result, Failure)
    assert "sk-very-secret" not in str(result)
    config = OpenAIConfig(base_url=endpoint.base_url, **options)
    assert "secret" not in config.model_dump_json() + str(config.identity())


def test_a_missing_key_is_said_before_anything_starts(monkeypatch):
    monkeypatch.delenv("REMOTE_KEY", raising=False)
    config = OpenAIConfig(base_url="http://127.0.0.1:1/v1", api_key_env="REMOTE_KEY")
    for start in (config.build, config.require):
        with pytest.raises(UserError, match="'remote': the environment variable REMOTE_KEY is not set"):
            start(SPEC)


async def test_a_stall_is_a_timeout_of_that_row_alone():
    async def behave(body, ordinal):
        slow = body["messages"][0]["content"] == "slow"
        return await (stalled if slow else well_behaved)(body, ordinal)

    async with serve(behave) as endpoint:
        client = engine(endpoint, timeout_s=1.5)
        results = await collect(client, [a_request("slow", candidate_id="slow"), a_request("fast")])
    assert results["slow"] == Failure("slow", "timeout", "no response in 1.5 s")
    assert isinstance(results[a_request("fast").candidate_id], Completion)


async def test_connection_refused_is_tried_again_within_the_budget():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = OpenAIConfig(base_url=f"http://127.0.0.1:{port}/v1", retry_for_s=0.4)
    started = time.monotonic()
    with pytest.raises(TeacherUnreachableError, match=r"'remote': http://127.0.0.1:\d+/v1: no connection"):
        await collect(config.build(SPEC), [one(), a_request("x")])
    assert time.monotonic() - started > 0.1


async def test_an_endpoint_that_comes_up_late_is_waited_for():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = OpenAIConfig(base_url=f"http://127.0.0.1:{port}/v1", retry_for_s=10).build(SPEC)
    asking = asyncio.create_task(collect(client, [one()]))
    await asyncio.sleep(0.2)
    endpoint = Endpoint(well_behaved)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", endpoint.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        assert isinstance((await asking)["c"], Completion)
    finally:
        await runner.cleanup()


async def test_concurrency_settles_at_the_servers_limit():
    """A server that refuses the 21st request in flight: nearly all its places used, few refusals."""
    true_limit, num_requests, refused, served = 20, 600, 0, []
    endpoint: Endpoint

    async def behave(body, ordinal):
        nonlocal refused
        if endpoint.in_flight > true_limit:
            refused += 1
            return web.Response(status=429, headers={"Retry-After": "0.05"})
        served.append(endpoint.in_flight)
        await asyncio.sleep(0.2)
        return await well_behaved(body, ordinal)

    async with serve(behave) as endpoint:
        results = await collect(engine(endpoint, retry_for_s=60), [a_request(f"q{i}") for i in range(num_requests)])
    assert all(isinstance(r, Completion) for r in results.values())
    assert fmean(served[num_requests // 2 : -true_limit]) > 0.5 * true_limit
    assert refused < 0.16 * num_requests  # 44 of them in the first round, at 64 in flight


async def test_a_slow_row_does_not_delay_others():
    async def behave(body, ordinal):
        await asyncio.sleep(1.0 if body["messages"][0]["content"] == "q0" else 0.01)
        return await well_behaved(body, ordinal)

    async with serve(behave) as endpoint:
        client = engine(endpoint, max_in_flight=4)
        order = [r.candidate_id async for r in client.generate([a_request(f"q{i}") for i in range(60)])]
    assert order[-1] == a_request("q0").candidate_id
    assert endpoint.most_in_flight == 4


@pytest.mark.parametrize(
    ("url", "complaint"),
    [("localhost:8000/v1", "expected a URL"), ("https://me:pw@host/v1", "must not hold credentials")],
)
def test_a_strange_url_is_refused(url, complaint):
    with pytest.raises(ConfigError, match=f"engine.base_url: .*{complaint}"):
        parse({"engine": {"kind": "openai", "base_url": url}}, _Holder, "pool.yaml")


class _Holder(OpenAIConfig.__base__):
    engine: OpenAIConfig
