"""The openai engine against raw sockets: half-closed, stalled, truncated, endless."""

import asyncio
import gzip
import tracemalloc

import pytest

from arbitrage.contracts.engines import Completion, Failure
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai import retry
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from tests.support.asking import a_request, collect
from tests.support.rude_server import BODY, head, reset, serve_rudely, whole

HALF = BODY[: len(BODY) // 2]
SIZED = head(f"Content-Length: {len(BODY)}")
CHUNKED = head("Transfer-Encoding: chunked")


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch):
    monkeypatch.setattr(retry, "_FIRST_S", 0.01)


async def ask_rudely(answer, num_rows=1, **options):
    """Return the results, the server's story, and the client."""
    async with serve_rudely(answer) as server:
        config = OpenAIConfig(base_url=server.base_url, **({"retry_for_s": 5.0, "timeout_s": 20.0} | options))
        client = config.build(ModelSpec("remote", "m"))
        requests = [a_request(f"q{i}", candidate_id=f"c{i}") for i in range(num_rows)]
        try:
            return await asyncio.wait_for(collect(client, requests), 20), server, client
        finally:
            await client.close()


def then_close(*pieces: bytes):
    async def answer(_, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.close()

    return answer


def packed(body: bytes) -> bytes:
    return head(f"Content-Length: {len(body)}", "Content-Encoding: gzip") + body


async def half_close(_, writer):
    writer.write_eof()
    await asyncio.sleep(5)


async def reset_at_once(_, writer):
    reset(writer)


async def reset_half_way(_, writer):
    writer.write(SIZED + HALF)
    await writer.drain()
    await asyncio.sleep(0.02)
    reset(writer)


BROKEN = {
    "closed-after-the-request": then_close(),
    "half-closed-after-the-request": half_close,
    "reset-after-the-request": reset_at_once,
    "closed-within-headers": then_close(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "closed-after-headers": then_close(SIZED),
    "closed-mid-body": then_close(SIZED + HALF),
    "reset-mid-body": reset_half_way,
    "truncated-chunk": then_close(CHUNKED + b"%x\r\n" % len(BODY) + HALF),
    "no-last-chunk": then_close(CHUNKED + b"%x\r\n%s\r\n" % (len(BODY), BODY)),
    "chunk-size-garbage": then_close(CHUNKED + b"zz\r\n" + BODY),
    "not-http": then_close(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "not-gzip": then_close(head(f"Content-Length: {len(BODY)}", "Content-Encoding: gzip") + BODY),
    "gzip-cut-short": then_close(packed(gzip.compress(BODY)[:-20])),
    "never-asked-for-brotli": then_close(head(f"Content-Length: {len(BODY)}", "Content-Encoding: br") + BODY),
    "two-sizes": then_close(head("Content-Length: 5", "Content-Length: 6") + BODY),
    "endless-header": then_close(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000),
    "empty-body": then_close(head("Content-Length: 0")),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_answer_is_tried_again_and_then_fails_the_row_alone(broken):
    async def mends(asked, writer):
        if asked.ordinal < 2:
            await broken(asked, writer)
        else:
            writer.write(whole())

    results, server, client = await ask_rudely(mends, num_tries=3)
    assert isinstance(results["c0"], Completion)
    assert len(server.asked) == 3
    assert client.load().num_retries == 2

    results, server, client = await ask_rudely(broken, num_tries=3)
    assert isinstance(results["c0"], Failure)
    assert results["c0"].reason == "engine_error"
    assert len(server.asked) == 3
    assert (client.load().num_in_flight, client.load().num_waiting) == (0, 0)


@pytest.mark.parametrize("ending", ["closed", "half-closed", "reset"])
async def test_a_kept_alive_connection_closed_between_requests_costs_no_try(ending):
    """Every connection serves one request and breaks under the second: each row still has its one try."""

    async def answer(asked, writer):
        if asked.on_connection == 0:
            writer.write(whole())
        elif ending == "closed":
            writer.close()
        elif ending == "reset":
            reset(writer)
        else:
            await half_close(asked, writer)

    results, server, _ = await ask_rudely(answer, num_rows=6, max_in_flight=1, num_tries=1)
    assert [type(r) for r in results.values()] == [Completion] * 6
    assert server.num_connections == 6
    assert len(server.asked) == 11  # five of them in vain


async def test_a_server_that_closes_each_connection_costs_no_try():
    results, server, _ = await ask_rudely(then_close(whole()), num_rows=40, max_in_flight=8, num_tries=1)
    assert all(isinstance(r, Completion) for r in results.values())
    assert server.num_connections == 40


async def test_silence_before_the_headers_is_no_stall_but_work():
    async def thinks(_, writer):
        await asyncio.sleep(0.3)
        writer.write(whole())

    results, server, _ = await ask_rudely(thinks, stall_timeout_s=0.05, num_tries=1)
    assert isinstance(results["c0"], Completion)
    assert len(server.asked) == 1


async def test_silence_for_too_long_is_a_timeout_and_not_repeated():
    async def silent(_, __):
        await asyncio.sleep(10)

    results, server, _ = await ask_rudely(silent, timeout_s=0.2)
    assert results["c0"] == Failure("c0", "timeout", "no response in 0.2 s")
    assert len(server.asked) == 1


@pytest.mark.parametrize("begun", [SIZED, SIZED + HALF, CHUNKED + b"1\r\n{\r\n"], ids=["headers", "half", "chunk"])
async def test_a_stall_after_the_headers_is_tried_again_long_before_the_timeout(begun):
    async def stalls(asked, writer):
        if asked.ordinal == 1:
            writer.write(whole())
            return
        writer.write(begun)
        await asyncio.sleep(10)

    results, server, _ = await ask_rudely(stalls, stall_timeout_s=0.1)
    assert isinstance(results["c0"], Completion)
    assert len(server.asked) == 2
    results, _, _ = await ask_rudely(stalls, stall_timeout_s=0.1, num_tries=1)
    assert results["c0"] == Failure("c0", "engine_error", "the response stalled for 0.1 s")


async def test_a_body_that_drips_is_read_to_its_end():
    async def drips(_, writer):
        writer.write(SIZED)
        for at in range(0, len(BODY), 20):
            await asyncio.sleep(0.05)
            writer.write(BODY[at : at + 20])

    results, server, _ = await ask_rudely(drips, stall_timeout_s=2.0, num_tries=1)
    assert isinstance(results["c0"], Completion)
    assert len(server.asked) == 1


async def test_a_gigantic_body_is_not_read():
    async def announces(_, writer):
        writer.write(head("Content-Length: 99999999999") + b"{")
        await asyncio.sleep(5)

    num_sent_mb = 0

    async def pours(_, writer):
        nonlocal num_sent_mb
        writer.write(CHUNKED)
        while num_sent_mb < 500:
            writer.write(b"100000\r\n" + b" " * 2**20 + b"\r\n")
            await writer.drain()
            num_sent_mb += 1

    for endless in (announces, pours):
        results, _, _ = await ask_rudely(endless, num_tries=1)
        assert results["c0"] == Failure("c0", "engine_error", "a response of more than 64 MB")
    assert 60 <= num_sent_mb < 100


@pytest.mark.parametrize("piece_bytes", [1, 7, 10_000])
async def test_an_answer_is_the_same_in_whatever_pieces_it_comes(piece_bytes):
    chunked = CHUNKED + b"".join(b"%X;name=value\r\n%b\r\n" % (len(c), c) for c in (HALF, BODY[len(HALF) :]))
    unsized = head("Connection: close") + BODY
    answers = [whole(), packed(gzip.compress(BODY)), chunked + b"0\r\nX-Trailer: 1\r\n\r\n", unsized]

    async def in_pieces(asked, writer):
        said = b"HTTP/1.1 100 Continue\r\n\r\n" + answers[asked.ordinal]
        for at in range(0, len(said), piece_bytes):
            writer.write(said[at : at + piece_bytes])
            await asyncio.sleep(0)
        if answers[asked.ordinal] is unsized:
            writer.close()

    results, server, _ = await ask_rudely(in_pieces, num_rows=4, max_in_flight=1, num_tries=1)
    assert [r.text for r in results.values() if isinstance(r, Completion)] == ["yes"] * 4
    assert server.num_connections == 1


async def test_a_small_body_that_unpacks_to_a_gigantic_one_is_not_unpacked():
    bomb = gzip.compress(b" " * 300 * 2**20, compresslevel=1)

    async def explodes(_, writer):
        writer.write(packed(bomb))

    tracemalloc.start()
    try:
        results, _, _ = await ask_rudely(explodes, num_tries=1)
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert results["c0"] == Failure("c0", "engine_error", "a response of more than 64 MB")
    assert most_bytes < 200 * 2**20


async def test_a_stalled_row_does_not_delay_others():
    async def answer(asked, writer):
        if asked.ordinal == 0:
            writer.write(SIZED + HALF)
            await asyncio.sleep(10)
        writer.write(whole())

    results, _, _ = await ask_rudely(answer, num_rows=20, max_in_flight=4, stall_timeout_s=1.5, num_tries=1)
    assert sorted(r.candidate_id for r in results.values() if isinstance(r, Failure)) == ["c0"]
