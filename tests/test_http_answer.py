"""Reading HTTP answers: whatever the pieces they come in, and whatever is wrong with them."""

import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbitrage.teachers import http_answer
from arbitrage.teachers.http_answer import AnswerError, AnswerReader

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"


def sized(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(*chunks: bytes) -> bytes:
    said = b"".join(b"%X;name=value\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    return CHUNKED + said + b"0\r\nX-Trailer: 1\r\n\r\n"


def read(data: bytes, *cuts: int) -> AnswerReader:
    """Feed data in pieces; it must be complete after the last of them and no earlier."""
    reader = AnswerReader()
    places = [0, *sorted({cut % len(data) for cut in cuts} - {0}), len(data)]
    for start, end in itertools.pairwise(places):
        assert not reader.is_complete
        reader.feed(data[start:end])
    return reader


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(0, 10_000), max_size=20), st.booleans())
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(chunks, cuts, announced):
    body = b"".join(chunks)
    data = chunked(*chunks) if announced else sized(body)
    reader = read(b"HTTP/1.1 100 Continue\r\n\r\n" + data, *cuts)
    assert reader.is_complete
    assert reader.may_go_on
    assert reader.body() == body


@pytest.mark.parametrize(
    ("head", "may_go_on"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1", True),
        (b"HTTP/1.1 200\r\nContent-Length:1", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nConnection: Close", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive", True),
        (b"HTTP/1.1 200 OK", False),
    ],
)
def test_whether_the_connection_can_serve_again(head, may_go_on):
    reader = read(head + b"\r\n\r\n.")
    reader.end()
    assert reader.is_complete
    assert reader.may_go_on is may_go_on
    assert reader.body() == b"."


def test_bytes_beyond_the_answer_spoil_the_connection():
    assert not read(sized(b"yes") + b"HTTP/1.1").may_go_on


def test_a_body_without_a_size_ends_with_the_connection_and_no_other_does():
    unsized, cut = read(b"HTTP/1.1 200 OK\r\n\r\nall there is"), read(sized(b"yes")[:-1])
    for reader in (unsized, cut):
        assert not reader.is_complete
        reader.end()
    assert unsized.is_complete
    assert unsized.body() == b"all there is"
    assert not cut.is_complete


def test_an_answer_without_content_has_no_body():
    reader = read(b"HTTP/1.1 204 No Content\r\nRetry-After: 1\r\nRetry-After: 2\r\n\r\n")
    assert reader.may_go_on
    assert reader.body() == b""
    assert reader.head is not None
    assert (reader.head.status, reader.head.text(b"retry-after"), reader.head.text(b"date")) == (204, "1, 2", None)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH",
        b"HTTX",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName : x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        CHUNKED + b"-1\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"1\r\nab\r\n",
        CHUNKED + b"1" * 70_000,
    ],
)
def test_what_is_no_answer_is_refused(data):
    with pytest.raises(AnswerError):
        AnswerReader().feed(data)


def test_a_packed_body_is_unpacked_and_no_larger_than_any(monkeypatch):
    monkeypatch.setattr(http_answer, "MAX_BODY_BYTES", 1000)

    def answer(body: bytes) -> AnswerReader:
        return read(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + sized(body)[17:])

    assert answer(gzip.compress(b"yes" * 100)).body() == b"yes" * 100
    for body in (gzip.compress(b"0" * 1001), gzip.compress(b"yes")[:-5], b"yes"):
        with pytest.raises(AnswerError):
            answer(body).body()


def test_an_unknown_packing_is_refused():
    with pytest.raises(AnswerError, match="nobody asked for"):
        read(b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n" + sized(b"x")[17:]).body()
