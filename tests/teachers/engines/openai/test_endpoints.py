"""Several endpoints for one teacher: fast and slow, busy, sick, hanging, dead and back again."""

import asyncio
import socket

import pytest
from aiohttp import web

from arbitrage.config import Config, parse
from arbitrage.contracts.engines import Completion, Failure
from arbitrage.contracts.workers import Load
from arbitrage.errors import ConfigError, TeacherAccessError, TeacherUnreachableError
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai import retry
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from arbitrage.teachers.pool import TeacherConfig
from tests.support.asking import a_request, collect
from tests.support.mock_endpoint import after, serve, stalled, well_behaved

SPEC = ModelSpec("remote", "m")
MANY = [a_request(f"q{i}") for i in range(200)]


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch):
    monkeypatch.setattr(retry, "_FIRST_S", 0.01)


def client_of(*urls, **options):
    return OpenAIConfig(base_url=urls, **({"retry_for_s": 5.0, "max_in_flight": 8} | options)).build(SPEC)


def always(status, **headers):
    return after(lambda _: web.Response(status=status, headers=headers), 10**6)


def taking(seconds):
    async def behave(body, ordinal):
        await asyncio.sleep(seconds)
        return await well_behaved(body, ordinal)

    return behave


def a_dead_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def all_completed(results):
    return all(isinstance(result, Completion) for result in results.values())


async def test_the_faster_endpoint_gets_more():
    async with serve(taking(0.01)) as fast, serve(taking(0.5)) as slow:
        assert all_completed(await collect(client_of(fast.base_url, slow.base_url), MANY))
    assert len(fast.bodies) > 2 * len(slow.bodies) > 0
    assert len(fast.bodies) + len(slow.bodies) == len(MANY)
    assert fast.most_in_flight <= 8
    assert slow.most_in_flight <= 8


async def test_an_endpoint_that_dies_loses_nothing_and_gets_work_again_when_it_is_back():
    """Stopped with requests under way once a third is answered, started again at two thirds."""
    requests = [a_request(f"q{i}") for i in range(600)]
    results, back = {}, None

    async def behave(body, ordinal):
        await asyncio.sleep(0.01)
        while len(results) >= 400 and (back is None or len(back.bodies) <= 10):  # holds on until the other is back
            await asyncio.sleep(0.01)
        return await well_behaved(body, ordinal)

    port = a_dead_port()
    mortal, reborn = serve(taking(0.01), port=port), serve(taking(0.01), port=port)
    async with serve(behave) as steady:
        before = await mortal.__aenter__()
        async for result in client_of(steady.base_url, before.base_url).generate(requests):
            results[result.candidate_id] = result
            if len(results) == 200:
                await mortal.__aexit__(None, None, None)
            if len(results) == 400:
                back = await reborn.__aenter__()
        await reborn.__aexit__(None, None, None)
    assert len(results) == len(requests)
    assert all_completed(results)
    assert len(before.bodies) > 50
    assert len(back.bodies) > 10


async def test_rows_wait_for_a_sole_endpoint_that_dies_and_comes_back():
    port = a_dead_port()
    mortal, reborn = serve(taking(0.01), port=port), serve(taking(0.01), port=port)
    before = await mortal.__aenter__()
    asking = asyncio.create_task(collect(client_of(before.base_url), MANY))
    while len(before.bodies) < 50:
        await asyncio.sleep(0.005)
    await mortal.__aexit__(None, None, None)
    await asyncio.sleep(0.2)
    async with reborn as back:
        assert all_completed(await asking)
        assert len(back.bodies) > 50


@pytest.mark.parametrize("status", [500, 502])
async def test_the_breaker_opens_and_rows_are_sent_elsewhere(status):
    async with serve(always(status)) as sick, serve(taking(0.005)) as well:
        client = client_of(sick.base_url, well.base_url)
        assert all_completed(await collect(client, MANY))
    assert 5 <= len(sick.bodies) <= 8 + 12  # those under way at first, and probes
    assert client.load().num_retries == len(sick.bodies)


async def test_a_restart_behind_a_proxy_costs_no_row():
    """A sole endpoint answers 502 to whatever comes, more often than a row has tries: its rows wait."""
    async with serve(after(lambda _: web.Response(status=502), 16 + 6)) as endpoint:
        client = client_of(endpoint.base_url, max_in_flight=16, num_tries=4)
        assert all_completed(await collect(client, MANY))


async def test_one_poisonous_prompt_does_not_make_its_endpoint_sick():
    """Sixteen samples of one prompt in a row fail, one at a time; a sick endpoint would have been paused after five."""

    async def behave(body, ordinal):
        is_poison = body["messages"][0]["content"] == "poison"
        return web.Response(status=500) if is_poison else await well_behaved(body, ordinal)

    poison = [a_request("poison", sample_index=i) for i in range(16)]
    async with serve(behave) as endpoint:
        client = client_of(endpoint.base_url, max_in_flight=1, num_tries=2)
        results = await collect(client, [*MANY[:5], *poison, *MANY[5:20]])
    failed = {key for key, result in results.items() if isinstance(result, Failure)}
    assert failed == {request.candidate_id for request in poison}
    assert len(endpoint.bodies) == 20 + 2 * 16


async def test_many_poisonous_prompts_at_the_end_fail_and_end():
    async with serve(always(500)) as endpoint:
        results = await asyncio.wait_for(collect(client_of(endpoint.base_url, num_tries=2), MANY[:6]), 10)
    assert {result.reason for result in results.values()} == {"engine_error"}


async def test_a_busy_endpoint_sends_rows_to_the_other_at_once():
    async with serve(always(429, **{"Retry-After": "60"})) as busy, serve(well_behaved) as free:
        client = client_of(busy.base_url, free.base_url)
        assert all_completed(await asyncio.wait_for(collect(client, MANY), 10))
    load = client.load()
    assert 1 <= load.num_refusals == len(busy.bodies) <= 24
    assert load == Load(num_retries=0, num_refusals=load.num_refusals, num_in_flight=0, num_waiting=0)


async def test_a_hanging_endpoint_costs_no_row():
    async with serve(stalled) as hanging, serve(well_behaved) as well:
        client = client_of(hanging.base_url, well.base_url, timeout_s=1.5)
        assert all_completed(await asyncio.wait_for(collect(client, MANY), 10))
    assert len(hanging.bodies) <= 16


async def test_a_row_that_times_out_everywhere_is_a_timeout():
    async with serve(stalled) as left, serve(stalled) as right:
        client = client_of(left.base_url, right.base_url, timeout_s=0.2)
        results = await asyncio.wait_for(collect(client, MANY[:1]), 10)
    assert list(results.values()) == [Failure(MANY[0].candidate_id, "timeout", "no response in 0.2 s")]
    assert len(left.bodies) == len(right.bodies) == 1


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_one_endpoint_without_access_is_out_for_good(status):
    async with serve(always(status)) as closed, serve(well_behaved) as open_:
        client = client_of(closed.base_url, open_.base_url)
        assert all_completed(await collect(client, MANY))
        num_asked = len(closed.bodies)
        assert all_completed(await collect(client, MANY))
    assert 1 <= num_asked == len(closed.bodies) <= 8 + 8  # refused before anything is served, it is asked on a little


async def test_no_access_anywhere_names_each_endpoint():
    async with serve(always(401)) as left, serve(always(404)) as right:
        with pytest.raises(TeacherAccessError) as caught:
            await collect(client_of(left.base_url, right.base_url), MANY)
    assert f"{left.base_url} answers 401 for model m: the key is missing or wrong" in str(caught.value)
    assert f"{right.base_url} answers 404 for model m: no such model or path" in str(caught.value)


async def test_a_spent_quota_is_no_busy_endpoint():
    spent = {"error": {"code": "insufficient_quota", "message": "pay"}}
    async with serve(after(lambda _: web.json_response(spent, status=429), 10**6)) as endpoint:
        with pytest.raises(TeacherAccessError, match="answers 429 for model m: the quota is spent"):
            await collect(client_of(endpoint.base_url), MANY)


@pytest.mark.parametrize("status", [408, 409, 425, 504])
async def test_temporary_statuses_are_retried(status):
    async with serve(after(lambda _: web.Response(status=status), 1)) as endpoint:
        assert all_completed(await collect(client_of(endpoint.base_url), MANY[:1]))
    assert len(endpoint.bodies) == 2


async def test_unreachable_endpoints_end_the_step_and_are_named():
    urls = [f"http://127.0.0.1:{a_dead_port()}/v1" for _ in range(2)]
    with pytest.raises(TeacherUnreachableError) as caught:
        await asyncio.wait_for(collect(client_of(*urls, retry_for_s=0.3), MANY), 10)
    assert all(f"{url}: no connection (" in str(caught.value) for url in urls)
    assert "gave up after trying for 0.3 s" in str(caught.value)


async def test_one_dead_endpoint_does_not_end_the_step():
    """The other takes far longer over all rows than `retry_for_s`."""
    async with serve(taking(0.1)) as alive:
        client = client_of(f"http://127.0.0.1:{a_dead_port()}/v1", alive.base_url, retry_for_s=0.5)
        assert all_completed(await collect(client, MANY))


async def test_a_sole_endpoint_that_gives_only_faults_ends_the_step():
    async with serve(always(502)) as endpoint:
        with pytest.raises(TeacherUnreachableError, match="the endpoint answers 502; gave up"):
            await asyncio.wait_for(collect(client_of(endpoint.base_url, retry_for_s=0.5), MANY), 10)
    assert len(endpoint.bodies) <= 8 + 8


async def test_retries_over_budget_wait_longest_and_lose_no_row(monkeypatch):
    """Every row fails at its first try, and is not sick: one in five is retried soon, the others late."""
    monkeypatch.setattr(retry, "_LONGEST_S", 0.2)
    seen = set()

    async def behave(body, ordinal):
        text = body["messages"][0]["content"]
        if text not in seen and ordinal % 2:  # half of them, so that the endpoint is not put aside
            seen.add(text)
            return web.Response(status=500)
        return await well_behaved(body, ordinal)

    async with serve(behave) as endpoint:
        client = client_of(endpoint.base_url, max_in_flight=32)
        assert all_completed(await asyncio.wait_for(collect(client, MANY), 15))
    assert client.load().num_retries == len(seen) > 40


async def test_load_counts_what_is_under_way_and_an_early_end_leaves_nothing():
    release = asyncio.Event()

    async def behave(body, ordinal):
        if ordinal:
            await release.wait()
        return await well_behaved(body, ordinal)

    async with serve(behave) as endpoint:
        client = client_of(endpoint.base_url, max_in_flight=8)
        one, other = client.generate(MANY[:100]), client.generate(MANY[100:])
        first = asyncio.create_task(anext(one))
        await first
        second = asyncio.create_task(anext(other))
        while client.load().num_in_flight < 8 or client.load().num_waiting < 7:
            await asyncio.sleep(0.005)
        assert client.load() == Load(num_retries=0, num_refusals=0, num_in_flight=8, num_waiting=7)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await one.aclose()
        await other.aclose()
        assert (client.load().num_in_flight, client.load().num_waiting) == (0, 0)
        release.set()
        assert all_completed(await collect(client, MANY))


def test_a_client_serves_one_event_loop_after_another():
    async def once(client):
        return await collect(client, MANY[:20])

    async def first():
        async with serve(always(500)) as sick, serve(well_behaved) as well:
            client = client_of(sick.base_url, well.base_url)
            assert all_completed(await once(client))
            return client, sick.base_url, well.base_url

    client, *urls = asyncio.run(first())

    async def second():
        ports = [int(url.split(":")[2].split("/")[0]) for url in urls]
        async with serve(well_behaved, port=ports[0]), serve(well_behaved, port=ports[1]):
            assert all_completed(await once(client))

    asyncio.run(second())


# --- config ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("urls", "complaint"),
    [
        ([], "expected a URL or a list of URLs, at least one"),
        (["http://a/v1", "ftp://b"], "expected a URL that starts with http"),
        (["http://a/v1", "http://a/v1/"], "names http://a/v1 more than once"),
        (["http://a/v1", 5], "expected a URL"),
        (7, "expected a URL"),
        ("http://a:99999/v1", "is no URL: [Pp]ort"),
        ("http:///v1", "names a host"),
        (["https://me:pw@host/v1"], "must not hold credentials"),
        ("https://host/v1?api-version=1", r"without \? and #"),
    ],
)
def test_strange_urls_are_refused_in_one_sentence(urls, complaint):
    with pytest.raises(ConfigError, match=f"engine.base_url: .*{complaint}") as caught:
        parse({"engine": {"kind": "openai", "base_url": urls}}, _Holder, "pool.yaml")
    assert str(caught.value).count("\n") == 0


def test_several_urls_survive_a_journey_and_stay_out_of_identity():
    raw = {"kind": "openai", "base_url": ["http://a/v1/", "http://b/v1"]}
    config = parse(raw, OpenAIConfig, "test")
    assert config.urls == config.base_url == ("http://a/v1", "http://b/v1")
    assert OpenAIConfig.model_validate_json(config.model_dump_json()) == config
    assert config.identity() == OpenAIConfig(base_url="http://c/v1").identity()


async def test_check_names_each_endpoint_and_one_that_serves_is_enough():
    async with serve(well_behaved) as good, serve(well_behaved, models=("other",)) as wrong:
        dead = f"http://127.0.0.1:{a_dead_port()}/v1"
        found = await OpenAIConfig(base_url=(good.base_url, wrong.base_url, dead)).check(SPEC)
        assert [finding.level for finding in found] == ["ok", "warn", "warn"]
        assert f"{wrong.base_url} serves other, not m; a test request succeeds" in found[1].detail
        assert f"{dead}: no connection" in found[2].detail
        wrong.behaviour = always(404)
        found = await OpenAIConfig(base_url=(wrong.base_url, dead)).check(SPEC)
        assert [finding.level for finding in found] == ["error", "error"]


class _Holder(Config):
    engine: OpenAIConfig


def test_a_teacher_may_name_several_endpoints():
    engine = {"kind": "openai", "base_url": ["http://a/v1", "http://b/v1"]}
    raw = {"name": "t", "engine": engine, "languages": ["en"], "model": "m"}
    assert parse(raw, TeacherConfig, "test").engine.urls == ("http://a/v1", "http://b/v1")
