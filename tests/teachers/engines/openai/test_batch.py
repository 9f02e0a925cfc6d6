"""`openai_batch` against a server that behaves like the documented API."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from arbitrage.config import ConfigError, parse
from arbitrage.contracts.engines import Completion, Failure
from arbitrage.errors import TeacherAccessError, TeacherBusyError, TeacherUnreachableError
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai.batch_config import OpenAIBatchConfig
from arbitrage.teachers.pool import TeacherConfig
from arbitrage.teachers.trial import run_trial
from tests.support.asking import a_request, collect
from tests.support.batch_server import BatchServer, echo, expired, output, refuse, serve_batches

SPEC = ModelSpec("remote", "m")
FAST = {"gather_s": 0.05, "poll_s": 0.01, "retry_for_s": 5.0, "api_key_env": "BATCH_KEY"}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_KEY", "good-key")


def requests(count: int, start: int = 0):
    return [a_request(f"question {i}", candidate_id=f"c{i}", seed=i) for i in range(start, start + count)]


def config_of(server: BatchServer, **options) -> OpenAIBatchConfig:
    return OpenAIBatchConfig(base_url=server.base_url, **(FAST | options))


@asynccontextmanager
async def engine_of(server: BatchServer, **options):
    engine = config_of(server, **options).build(SPEC)
    try:
        yield engine
    finally:
        await engine.close()


def text_of(number: int) -> str:
    return f"you said question {number}"


async def test_shards_are_gathered_into_one_batch_and_each_gets_its_answers():
    async with serve_batches() as server, engine_of(server) as engine:
        shards = await asyncio.gather(*(collect(engine, requests(3, start)) for start in (0, 3, 6)))
    assert [len(lines) for lines in server.lines] == [9]
    assert {key: each.text for shard in shards for key, each in shard.items()} == {
        f"c{i}": text_of(i) for i in range(9)
    }
    assert shards[0]["c0"] == Completion("c0", text_of(0), "stop", prompt_tokens=7, completion_tokens=3)
    line = server.lines[0][4]
    assert line["custom_id"] == "c4"
    assert line["body"]["model"] == "m"
    assert (line["body"]["seed"], line["body"]["max_tokens"]) == (4, 16)


async def test_a_batch_holds_no_more_requests_than_allowed_and_shards_stay_whole_where_they_fit():
    async with serve_batches() as server, engine_of(server, max_requests=5) as engine:
        await asyncio.gather(*(collect(engine, requests(n, start)) for n, start in ((3, 0), (3, 10), (7, 20))))
    assert sorted(len(lines) for lines in server.lines) == [2, 3, 3, 5]


async def test_a_second_process_waits_for_the_batch_of_the_first_and_nothing_is_submitted_twice():
    shard = requests(6)
    async with serve_batches(num_polls=None, page_size=2) as server:
        async with engine_of(server) as engine:
            engine.announce(each.candidate_id for each in shard)
            left = asyncio.create_task(collect(engine, shard))
            while not server.polls:
                await asyncio.sleep(0.01)
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
        for i in range(5):  # batches of others, on other pages of the list
            server.batches[f"other_{i}"] = server.batches["batch_0"] | {"id": f"other_{i}", "metadata": {"x": "y"}}
        server.num_polls = 1
        async with engine_of(server) as engine:
            engine.announce(each.candidate_id for each in shard)
            results = await collect(engine, shard[2:])  # the journal has two of them already
    assert sorted(results) == ["c2", "c3", "c4", "c5"]
    assert set(server.num_lines.values()) == set(server.num_answered.values()) == {1}
    assert "POST /v1/files" in server.calls
    assert server.calls.count("POST /v1/batches") == 1


async def test_what_a_found_batch_does_not_answer_is_submitted():
    shard = requests(4)

    def answer(line, ordinal):
        return expired(line) if ordinal == 0 and line["custom_id"] in ("c1", "c3") else echo(line)

    async with serve_batches(answer=answer, ending=lambda n: "completed" if n else "expired") as server:
        async with engine_of(server, num_tries=1) as engine:
            engine.announce(each.candidate_id for each in shard)
            first = await collect(engine, shard)
        async with engine_of(server, num_tries=1) as engine:
            engine.announce(each.candidate_id for each in shard)
            second = await collect(engine, shard)
    why = "the batch expired before its turn came (sent in 1 batches)"
    assert first["c1"] == Failure("c1", "timeout", why)
    assert {each.text for each in second.values()} == {text_of(i) for i in range(4)}
    assert [sorted(line["custom_id"] for line in lines) for lines in server.lines[1:]] == [["c1", "c3"]]
    assert set(server.num_answered.values()) == {1}


async def test_an_expired_batch_counts_as_far_as_it_came_and_the_rest_is_submitted_again():
    def answer(line, ordinal):
        return expired(line) if line["custom_id"] in ("c0", "c2") and ordinal < 2 else echo(line)

    endings = ["expired", "expired", "completed"]
    async with serve_batches(answer=answer, ending=endings.__getitem__) as server, engine_of(server) as engine:
        results = await collect(engine, requests(5))
        notes = engine.load().notes
    assert all(isinstance(each, Completion) for each in results.values())
    assert [len(lines) for lines in server.lines] == [5, 2, 2]
    assert set(server.num_answered.values()) == {1}
    assert "batch batch_0 expired: 2 requests without an answer" in notes


async def test_errors_of_lines_are_the_failures_that_they_are_without_a_batch():
    bad = {
        "c0": lambda line: refuse(line, 400, "context_length_exceeded"),
        "c1": lambda line: refuse(line, 400, "content_policy_violation"),
        "c2": lambda line: refuse(line, 429, "rate_limit_exceeded"),
        "c3": lambda line: refuse(line, 500, "server_error"),
        "c4": lambda line: output(line, 200, {"choices": []}),
        "c5": lambda line: {"custom_id": "c5", "response": None, "error": {"code": "odd", "message": "odd"}},
    }

    def answer(line, _):
        return bad.get(line["custom_id"], echo)(line)

    async with serve_batches(answer=answer) as server, engine_of(server, num_tries=2) as engine:
        results = await collect(engine, requests(8))
    reasons = {key: each.reason for key, each in results.items() if isinstance(each, Failure)}
    assert reasons == {
        "c0": "prompt_too_long",
        "c1": reasons["c1"],
        "c2": "engine_error",
        "c3": "engine_error",
        "c4": "engine_error",
        "c5": "engine_error",
    }
    assert reasons["c1"] in ("content_filter", "bad_request")
    assert results["c2"].detail == "it answers 429: no: rate_limit_exceeded (sent in 2 batches)"
    assert sorted(line["custom_id"] for line in server.lines[1]) == ["c2", "c3", "c4", "c5"]
    assert len(server.lines) == 2


async def test_lines_that_cannot_be_read_are_told_and_their_requests_sent_again():
    def garble(content: bytes, ordinal: int) -> bytes:
        if ordinal:
            return content
        lines = content.splitlines(keepends=True)
        junk = [b"{not json\n", b"[]\n", b"\n", b'{"custom_id": "somebody else\'s"}\n', b"\xff\xfe\n", lines[2] * 2]
        return b"".join([*junk, *lines[2:]])

    async with serve_batches(garble=garble) as server, engine_of(server) as engine:
        results = await collect(engine, requests(5))
        notes = engine.load().notes
    assert {each.text for each in results.values()} == {text_of(i) for i in range(5)}
    assert [line["custom_id"] for line in server.lines[1]] == ["c0", "c1"]
    assert "batch batch_0: 3 lines of its answers cannot be read" in notes


async def test_an_output_file_that_is_gone_is_told_and_bounded():
    async with serve_batches(garble=lambda *_: None) as server, engine_of(server, num_tries=2) as engine:
        results = await collect(engine, requests(2))
        notes = engine.load().notes
    assert {each.reason for each in results.values()} == {"engine_error"}
    assert len(server.lines) == 2
    assert "batch batch_1: its file file-gone (output_file_id) is not there any more" in notes


async def test_invalid_requests_are_rejected_by_their_line_and_the_others_sent():
    def invalid(ordinal, lines):
        return [
            {"code": "invalid_request", "message": "messages is too odd", "line": number, "param": "messages"}
            for number, line in enumerate(lines, 1)
            if line["custom_id"] in ("c1", "c4")
        ]

    async with serve_batches(invalid=invalid) as server, engine_of(server, num_tries=1) as engine:
        results = await collect(engine, requests(6))
    bad = {key: each for key, each in results.items() if isinstance(each, Failure)}
    assert {key: each.reason for key, each in bad.items()} == {"c1": "bad_request", "c4": "bad_request"}
    assert "messages is too odd" in bad["c1"].detail
    assert [len(lines) for lines in server.lines] == [6, 4]


@pytest.mark.parametrize(
    "errors",
    [
        [{"code": "model_not_found", "message": "The model m does not exist", "line": 1, "param": "body.model"}],
        [{"code": "billing_hard_limit_reached", "message": "The model m costs too much", "line": None}],
        [{"code": "odd", "message": "The model m is off", "line": 900}],
    ],
)
async def test_a_batch_that_is_refused_as_a_whole_ends_the_teacher(errors):
    async with serve_batches(invalid=lambda *_: errors) as server, engine_of(server) as engine:
        with pytest.raises(TeacherAccessError, match=r"refuses batch batch_0: The model m .*BATCH_KEY"):
            await collect(engine, requests(3))
    assert len(server.lines) == 1


async def test_lines_without_credit_end_the_teacher_after_the_answers():
    def answer(line, _):
        return refuse(line, 429, "insufficient_quota") if line["custom_id"] > "c1" else echo(line)

    async with serve_batches(answer=answer) as server, engine_of(server) as engine:
        seen: list[str] = []

        async def read() -> None:
            async for result in engine.generate(requests(4)):
                seen.append(result.candidate_id)  # noqa: PERF401 — an error comes after them

        with pytest.raises(TeacherAccessError, match=r"refuses 2 requests: .*quota"):
            await read()
    assert sorted(seen) == ["c0", "c1"]
    assert len(server.lines) == 1


async def test_a_cancelled_batch_is_not_submitted_again_by_the_run_that_waits_for_it():
    def answer(line, ordinal):
        return expired(line) if line["custom_id"] == "c1" and not ordinal else echo(line)

    async with serve_batches(answer=answer, ending=lambda n: "completed" if n else "cancelled") as server:
        async with engine_of(server) as engine:
            with pytest.raises(TeacherBusyError, match="batch_0 was cancelled; what it answered is kept"):
                await collect(engine, requests(2))
        async with engine_of(server) as engine:
            assert len(await collect(engine, requests(2))) == 2
    assert set(server.num_answered.values()) == {1}


async def test_a_batch_that_never_ends_is_left_and_found_again():
    async with serve_batches(num_polls=None) as server:
        async with engine_of(server, batch_timeout_s=0.1) as engine:
            with pytest.raises(
                TeacherBusyError, match=r"batch_0 is in_progress after 0 s .batch_timeout_s.; it keeps running"
            ):
                await collect(engine, requests(2))
        server.num_polls = 1
        async with engine_of(server) as engine:
            assert len(await collect(engine, requests(2))) == 2
    assert len(server.lines) == 1


async def test_a_lost_answer_to_the_creation_makes_no_second_batch():
    async with serve_batches(lost=1) as server, engine_of(server) as engine:
        assert len(await collect(engine, requests(2))) == 2
    assert len(server.lines) == 1


async def test_what_is_over_the_accounts_limit_goes_half_by_half():
    def invalid(_, lines):
        message = "Enqueued token limit reached for m"
        return [{"code": "token_limit_exceeded", "message": message, "line": None}] if len(lines) > 2 else []

    async with serve_batches(invalid=invalid) as server, engine_of(server) as engine:
        assert len(await collect(engine, requests(8))) == 8
    assert sorted(len(lines) for lines in server.lines) == [2, 2, 2, 2, 4, 4, 8]
    async with serve_batches(invalid=lambda *_: invalid(0, [1, 2, 3])) as server, engine_of(server) as engine:
        with pytest.raises(TeacherBusyError, match="Enqueued token limit"):
            await collect(engine, requests(2))


async def test_an_endpoint_without_metadata_is_told():
    async with serve_batches(keeps_metadata=False) as server, engine_of(server) as engine:
        assert len(await collect(engine, requests(1))) == 1
        assert any("keeps no metadata" in note for note in engine.load().notes)


async def test_a_wrong_key_is_said_in_one_sentence_without_the_key(monkeypatch):
    monkeypatch.setenv("BATCH_KEY", "wrong-key")
    async with serve_batches() as server, engine_of(server) as engine:
        with pytest.raises(TeacherAccessError, match=r"answers 401 for model m.*key from BATCH_KEY") as raised:
            await collect(engine, requests(1))
        found = await config_of(server).check(SPEC)
    assert "wrong-key" not in str(raised.value)
    assert [each.level for each in found] == ["error", "error"]


async def test_check_asks_for_models_and_batches():
    async with serve_batches() as server:
        assert [each.level for each in await config_of(server).check(SPEC)] == ["ok", "ok"]
    assert not server.lines


async def test_no_server_is_unreachable():
    engine = OpenAIBatchConfig(base_url="http://127.0.0.1:1/v1", **(FAST | {"retry_for_s": 0.1})).build(SPEC)
    with pytest.raises(TeacherUnreachableError, match="no connection"):
        await collect(engine, requests(1))
    await engine.close()


def test_one_endpoint_and_at_most_fifty_thousand_requests():
    for raw in ({"base_url": ["http://a/v1", "http://b/v1"]}, {"max_requests": 50_001}, {"max_in_flight": 3}):
        with pytest.raises(ConfigError):
            parse({"kind": "openai_batch"} | raw, OpenAIBatchConfig, "test")


def test_half_the_price():
    raw = {"name": "t", "model": "m", "languages": ("en",)}
    cost = {"usd_per_million_prompt_tokens": 2.0, "usd_per_million_completion_tokens": 8.0}
    batch, direct = (
        TeacherConfig.model_validate(raw | {"engine": engine, "cost": cost})
        for engine in ({"kind": "openai_batch"}, {"kind": "openai", "base_url": "http://h/v1"})
    )
    assert (direct.usd(10**6, 10**6), batch.usd(10**6, 10**6)) == (10.0, 5.0)
    assert TeacherConfig.model_validate(raw | {"engine": {"kind": "openai_batch"}}).usd(1, 1) is None


def test_a_trial_waits_for_no_batch():
    raw = {"name": "t", "model": "m", "languages": ("en",), "engine": {"kind": "openai_batch"}}
    found = run_trial(TeacherConfig.model_validate(raw), 16, "Hello")
    assert found.error == "engine 'openai_batch' answers up to a day later; try the model with kind: openai"
