"""What must not affect other rows: rows that always fail, a suspended process, open files, odd parameters."""

import asyncio
import resource
import signal
import sys
import textwrap

import pytest
from aiohttp import web

from arbitrage.config import parse
from arbitrage.contracts.engines import Completion, Failure
from arbitrage.errors import ConfigError, TeacherAccessError
from arbitrage.processes import open_files
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai import active_clock, retry
from arbitrage.teachers.engines.openai.active_clock import ActiveClock
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from arbitrage.teachers.engines.openai.retry_lane import RetryLane
from tests.support.asking import a_request, collect
from tests.support.mock_endpoint import serve, well_behaved
from tests.support.rude_server import head, reset, serve_rudely, whole
from tests.support.waiting import WITHIN_S

SPEC = ModelSpec("remote", "m")


@pytest.fixture
def _short_backoff(monkeypatch):
    monkeypatch.setattr(retry, "_FIRST_S", 0.01)


# --- rows that always fail ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_short_backoff")
@pytest.mark.parametrize(("in_flight", "one_in"), [(16, 10), (64, 16), (1, 10)])
async def test_rows_that_always_fail_do_not_hold_up_the_others(in_flight, one_in):
    """Counted in requests, not in seconds: how many are sent until the last healthy row is."""
    num_rows, last_healthy = 800, 0

    async def behave(body, ordinal):
        nonlocal last_healthy
        await asyncio.sleep(0.002)
        if int(body["messages"][0]["content"]) % one_in == 0:
            return web.Response(status=500)
        last_healthy = ordinal
        return await well_behaved(body, ordinal)

    async with serve(behave) as endpoint:
        client = OpenAIConfig(base_url=endpoint.base_url, max_in_flight=in_flight, num_tries=4).build(SPEC)
        results = await asyncio.wait_for(collect(client, [a_request(str(n)) for n in range(num_rows)]), WITHIN_S)
        await client.close()
    failed = [key for key, result in results.items() if isinstance(result, Failure)]
    assert len(failed) == num_rows // one_in
    assert len(endpoint.bodies) == num_rows + 3 * len(failed)  # each failing row had all its tries
    assert last_healthy < 1.2 * num_rows


@pytest.mark.usefixtures("_short_backoff")
async def test_rows_that_wait_are_bounded(monkeypatch):
    """No more rows are taken up than may be in flight and may wait."""
    monkeypatch.setattr("arbitrage.teachers.engines.openai.client._MOST_WAITING", 10)
    monkeypatch.setattr("arbitrage.teachers.engines.openai.client._WAITING_PER_PERMIT", 1)
    monkeypatch.setattr(retry, "_FIRST_S", 1000.0)
    monkeypatch.setattr(retry, "_LONGEST_S", 1000.0)
    taken = 0

    def requests():
        nonlocal taken
        for n in range(200):
            taken += 1
            yield a_request(str(n))

    async def behave(body, ordinal):
        healthy = int(body["messages"][0]["content"]) % 2
        return await well_behaved(body, ordinal) if healthy else web.Response(status=500)

    async with serve(behave) as endpoint:
        client = OpenAIConfig(base_url=endpoint.base_url, max_in_flight=4).build(SPEC)
        kept = []

        async def keep():
            async for result in client.generate(requests()):
                kept.append(result)  # noqa: PERF401 - as they come

        keeping = asyncio.create_task(keep())
        while client.load().num_waiting < 14:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert taken == len(kept) + 14  # 4 places and 10 that may wait
        assert 12 <= len(kept) <= 14
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await client.close()
    assert all(isinstance(result, Completion) for result in kept)


async def test_the_lane_admits_few_while_fresh_rows_are_left_and_all_once_none_or_too_many_wait():
    lane, inside = RetryLane(32, many=5), []  # one place is earned from the beginning

    async def come_back(name):
        await lane.enter()
        inside.append(name)

    lane.fresh_begin()
    tasks = [asyncio.create_task(come_back(n)) for n in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert inside == [0]
    lane.fresh_sent(16)
    await asyncio.sleep(0)
    assert inside == [0, 1]
    lane.fresh_sent(15)
    await asyncio.sleep(0)
    assert inside == [0, 1]
    tasks += [asyncio.create_task(come_back(n)) for n in range(5, 9)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert inside == [0, 1, 2, 3]  # more than five waited
    lane.fresh_end()
    await asyncio.gather(*tasks)
    assert inside == list(range(9))


# --- a process that stands still ------------------------------------------------------------------------------

ASK = """
import asyncio, sys
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from tests.support.asking import a_request, collect

async def main():
    config = OpenAIConfig(base_url=sys.argv[1], timeout_s=2.5, stall_timeout_s=2.5, num_tries=1, retry_for_s=2.5)
    client = config.build(ModelSpec("remote", "m"))
    results = await collect(client, [a_request(f"q{n}") for n in range(8)])
    await client.close()
    print(sorted({type(result).__name__ for result in results.values()}))

if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("ending", ["answered", "dropped", "busy"])
@pytest.mark.process
async def test_a_pause_of_the_process_costs_no_row(loop, ending):
    """Stopped for longer than every time limit while eight requests are under way, each with its only try."""
    is_stopped, arrived = asyncio.Event(), asyncio.Event()

    async def behave(asked, writer):
        if asked.ordinal == 7:
            arrived.set()
        if asked.ordinal < 8:
            await is_stopped.wait()
            if ending == "dropped":
                reset(writer)
                return
        writer.write(
            head("Content-Length: 0", status="503 Busy") if asked.ordinal < 8 and ending == "busy" else whole()
        )

    async with serve_rudely(behave) as endpoint:
        command = (sys.executable, "-c", textwrap.dedent(ASK), endpoint.base_url, loop)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            await asyncio.wait_for(arrived.wait(), WITHIN_S)
            await asyncio.sleep(0.1)
            process.send_signal(signal.SIGSTOP)
            is_stopped.set()
            await asyncio.sleep(4.0)
            process.send_signal(signal.SIGCONT)
            out, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
        finally:
            if process.returncode is None:
                process.kill()
    assert out.decode().strip() == "['Completion']"
    assert len(endpoint.asked) == (8 if ending == "answered" else 16)  # what had arrived is read


async def test_time_of_a_suspended_process_does_not_count(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(active_clock.time, "clock_gettime", lambda _: now[0])
    clock = ActiveClock()
    now[0] += 100.0
    assert clock.now() == 1100.0  # it was not kept: idle time is time
    clock.keep(asyncio.get_running_loop())
    now[0] += 1.0
    assert (clock.now(), clock.stood_still_s) == (1101.0, 0.0)
    now[0] += 3600.0
    assert (clock.now(), clock.stood_still_s) == (1101.0, 3600.0)
    now[0] += 1.0
    assert clock.now() == 1102.0
    clock.leave()


async def test_a_time_limit_ends_its_block_and_only_its_own():
    clock = ActiveClock()
    limit = clock.limit(0.01)
    with pytest.raises(TimeoutError):
        async with limit:
            await asyncio.sleep(10)
    assert limit.has_passed
    limit = clock.limit(10.0)
    async with limit:
        await asyncio.sleep(0)
    assert not limit.has_passed


# --- open files -----------------------------------------------------------------------------------------------


@pytest.fixture
def few_files():
    """Lower the soft limit for a test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    yield 512, hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_soft_limit_is_raised_for_what_may_be_in_flight(few_files):
    urls = tuple(f"http://127.0.0.{n}:9/v1" for n in range(1, 6))
    client = OpenAIConfig(base_url=urls, max_in_flight=256).build(SPEC)
    client._open()
    try:
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 5 * 256 + open_files.SPARE
        assert client._num_permits() == 5 * 256
    finally:
        await client.close()


async def test_fewer_are_admitted_where_the_hard_limit_is_near(monkeypatch):
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(open_files.resource, "setrlimit", lambda *_: None)
    urls = tuple(f"http://127.0.0.{n}:9/v1" for n in range(1, 6))
    config = OpenAIConfig(base_url=urls, max_in_flight=256)
    left, right = config.build(SPEC), config.build(SPEC)
    left._open(), right._open()
    try:
        assert 5 <= right._num_permits() <= left._num_permits() < 1024 - open_files.SPARE
    finally:
        await left.close()
        await right.close()
    assert any(finding.what == "open files" and finding.level == "warn" for finding in config._few_files())


# --- parameters and secrets -----------------------------------------------------------------------------------


async def test_parameters_that_a_strict_endpoint_refuses_can_be_left_out():
    async def strict(body, ordinal):
        if odd := {"temperature", "top_p", "seed", "max_tokens"} & body.keys():
            message = f"`{min(odd)}` is not supported with this model"
            return web.json_response({"error": {"message": message, "param": min(odd)}}, status=400)
        return await well_behaved(body, ordinal)

    async with serve(strict) as endpoint:
        config = OpenAIConfig(base_url=endpoint.base_url)
        refused = (await collect(config.build(SPEC), [a_request("q", candidate_id="c")]))["c"]
        everything = ("top_p", "temperature", "seed", "max_tokens")
        served = config.model_copy(update={"leave_out": everything}).build(SPEC)
        assert isinstance((await collect(served, [a_request("q", candidate_id="c")]))["c"], Completion)
    assert "set leave_out: [max_tokens] in the teacher's engine" in refused.detail


def test_what_is_left_out_belongs_to_the_teachers_identity_and_costs_others_nothing():
    plain = OpenAIConfig(base_url="http://a/v1")
    assert not {"leave_out", "no_finish_reason"} & plain.identity().keys()
    left, right = (
        parse({"kind": "openai", "base_url": "http://a/v1", "leave_out": names}, OpenAIConfig, "pool.yaml")
        for names in (["top_p", "temperature"], ["temperature", "top_p", "top_p"])
    )
    assert left.identity() == right.identity() != plain.identity()
    with pytest.raises(
        ConfigError, match=r"leave_out\[0\]: \"topk\" is not one of temperature, top_p, seed, max_tokens"
    ):
        parse({"kind": "openai", "base_url": "http://a/v1", "leave_out": ["topk"]}, OpenAIConfig, "pool.yaml")


@pytest.mark.parametrize(
    "body",
    [{"api_key": "sk-very-secret"}, {"metadata": {"Authorization": "sk-very-secret"}},
     {"provider": [{"access_token": "sk-very-secret"}]}, {"x-auth-token": "sk-very-secret"}],
)  # fmt: skip
def test_secrets_in_extra_body_are_refused_and_not_repeated(body):
    with pytest.raises(ConfigError, match="looks like a secret: put it into an environment variable") as caught:
        parse({"engine": {"kind": "openai", "base_url": "http://a/v1", "extra_body": body}}, _Holder, "pool.yaml")
    assert "sk-very" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [{"stop_token_ids": [1, 2]}, {"return_tokens_as_token_ids": True}, {"eos_token": "</s>"}, {"max_tokens": 5},
     {"chat_template_kwargs": {"bos_token": "<s>"}}],
)  # fmt: skip
def test_fields_about_tokens_are_no_secrets(body):
    assert OpenAIConfig(base_url="http://a/v1", extra_body=body).extra_body == body


@pytest.mark.parametrize("url", ["https://me:pw-very-secret@host/v1", "https://pw-very-secret@host/v1"])
def test_credentials_in_an_address_are_not_repeated(url):
    with pytest.raises(ConfigError, match="must not hold credentials") as caught:
        parse({"engine": {"kind": "openai", "base_url": url}}, _Holder, "pool.yaml")
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500])
async def test_a_key_that_the_server_echoes_is_not_repeated(status, monkeypatch):
    """In a reject, in the error that ends a step, and in what a check finds."""
    monkeypatch.setenv("REMOTE_KEY", "sk-very-secret")

    async def echo(body, ordinal):
        error = {"message": "got Bearer sk-very-secret", "code": "sk-very-secret", "type": "invalid"}
        return web.json_response({"error": error}, status=status, headers={"Location": "/?key=sk-very-secret"})

    async with serve(echo, models=("other",)) as endpoint:
        options = {"api_key_env": "REMOTE_KEY", "num_tries": 1, "retry_for_s": 0.1}
        config = OpenAIConfig(base_url=endpoint.base_url, **options)
        told = [str(await config.check(SPEC))]
        client = config.build(SPEC)
        try:
            told += [str(result) async for result in client.generate([a_request(f"q{n}") for n in range(3)])]
        except Exception as error:  # noqa: BLE001 - of any kind
            told.append(str(error))
        await client.close()
    assert len(told) > 1
    assert "very-secret" not in " ".join(told)
    assert "***" in " ".join(told)


class _Holder(OpenAIConfig.__base__):
    engine: OpenAIConfig


# --- a check is no stricter than a run ------------------------------------------------------------------------

LISTS = {
    "as-openai": ({"object": "list", "data": [{"id": "m"}]}, "ok"),
    "bare-list": ([{"id": "m", "object": "model"}], "ok"),
    "names": (["m"], "ok"),
    "prefix": ({"data": [{"id": "models/m"}]}, "ok"),
    "tag": ({"data": [{"id": "m:latest"}]}, "ok"),
    "ollama": ({"models": [{"name": "m:latest", "model": "m:latest"}]}, "ok"),
    "others": ({"data": [{"id": "a"}, {"id": "b"}]}, "warn"),
    "empty": ({"data": []}, "warn"),
    "no-list": ({"hello": 1}, "warn"),
}  # fmt: skip


@pytest.mark.parametrize(("listing", "level"), LISTS.values(), ids=LISTS.keys())
async def test_a_model_that_is_served_passes_however_models_are_listed(listing, level):
    found = await check_listing(lambda: web.json_response(listing), well_behaved)
    assert [finding.level for finding in found] == [level]


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 500, 501])
async def test_an_endpoint_that_lists_no_models_passes_with_a_warning(status):
    found = await check_listing(lambda: web.Response(status=status), well_behaved)
    assert [finding.level for finding in found] == ["warn"]
    assert "lists no models" in found[0].detail
    assert f"answers {status}" in found[0].detail


@pytest.mark.parametrize(("status", "level"), [(401, "error"), (403, "error"), (404, "error"), (429, "warn")])
async def test_an_endpoint_that_does_not_serve_the_model_fails_the_check(status, level):
    async def refuse(body, ordinal):
        return web.Response(status=status)

    found = await check_listing(lambda: web.json_response({"data": [{"id": "a"}]}), refuse)
    assert [finding.level for finding in found] == [level]


async def check_listing(listing, behave):
    async def chat(request):
        return await behave(await request.json(), 0)

    async def models(_):
        return listing()

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        return await OpenAIConfig(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}/v1").check(SPEC)
    finally:
        await runner.cleanup()


async def test_a_refused_account_ends_the_step_even_where_all_rows_but_one_are_done():
    async def behave(body, ordinal):
        return await well_behaved(body, ordinal) if ordinal < 19 else web.Response(status=402)

    async with serve(behave) as endpoint:
        client = OpenAIConfig(base_url=endpoint.base_url, max_in_flight=1, num_tries=1).build(SPEC)
        with pytest.raises(TeacherAccessError, match="answers 402"):
            await collect(client, [a_request(f"q{n}") for n in range(20)])
        await client.close()
