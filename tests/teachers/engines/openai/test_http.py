"""Talking to endpoints: what is sent, over TLS too, and that a connection is used again."""

import asyncio
import ipaddress
import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp.connector
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from yarl import URL

from arbitrage.errors import UserError
from arbitrage.teachers.engines.openai import http
from arbitrage.teachers.engines.openai.active_clock import ActiveClock
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from arbitrage.teachers.engines.openai.http import ConnectionProblem, HttpClient


@asynccontextmanager
async def listening(tls=None, host="127.0.0.1", more=b""):
    """Answer every request with `{}`; yield the base URL and all that was said, connection by connection."""
    heard: list[list[bytes]] = []

    async def handle(reader, writer):
        said: list[bytes] = []
        heard.append(said)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                said.append(head)
                writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\n{}" % more)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(handle, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    yield f"{'https' if tls else 'http'}://{shown}:{port}/v1", heard
    server.close()


@asynccontextmanager
async def wire_to(url, headers=None, **options):
    wire = HttpClient(OpenAIConfig(base_url=url, **options), headers or {}, ActiveClock())
    try:
        yield lambda path="": wire.send("GET", URL(url + path))
    finally:
        await wire.close()
        await asyncio.sleep(0.05)


async def test_a_request_says_where_it_goes_what_it_takes_and_what_the_user_added():
    added = {"Authorization": "Bearer ü", "user-agent": "mine"}
    async with listening() as (url, heard), wire_to(url, added) as ask:
        reply = await ask("/mod els/ü")
    assert (reply.status, reply.body) == (200, b"{}")
    first, *lines = heard[0][0].decode().split("\r\n")
    assert first == "GET /v1/mod%20els/%C3%BC HTTP/1.1"
    assert f"Host: {url[7:-3]}" in lines
    assert "Authorization: Bearer ü" in lines
    assert [line.lower() for line in lines if line.lower().startswith("user-agent")] == ["user-agent: mine"]
    assert [line for line in lines if line.lower().startswith("accept-encoding")] == ["Accept-Encoding: gzip"]
    assert not [line for line in lines if line.lower().startswith("content-length")]


async def test_a_connection_is_used_again_and_closed_at_the_end():
    async with listening() as (url, heard), wire_to(url) as ask:
        for _ in range(3):
            await ask()
        await asyncio.gather(ask(), ask())
    assert sorted(len(said) for said in heard) == [1, 4]


async def test_cookies_are_not_sent_back():
    async with listening(more=b"Set-Cookie: session=1; Path=/\r\n") as (url, heard), wire_to(url) as ask:
        for _ in range(2):
            await ask()
    assert not [said for said in heard[0] if b"ookie" in said]


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no IPv6 loopback address")
async def test_an_ipv6_address_is_named_in_brackets():
    async with listening(host="::1") as (url, heard), wire_to(url) as ask:
        await ask()
    assert b"Host: [::1]:" in heard[0][0]


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """Return a server's TLS context, and the file of the certificate that it shows."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    there = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(there, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, path


async def test_a_certificate_is_trusted_only_where_the_machine_trusts_it(certified, monkeypatch):
    context, path = certified
    async with listening(tls=context) as (url, heard):
        async with wire_to(url) as ask:
            with pytest.raises(ConnectionProblem, match="certificate that is not trusted") as caught:
                await ask()
        assert caught.value.kind == "no_access"
        trusting = ssl.create_default_context(cafile=path)
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)  # read once, when it is imported
        async with wire_to(url) as ask:
            for _ in range(2):
                assert (await ask()).body == b"{}"
    assert [len(said) for said in heard if said] == [2]


async def test_plain_text_where_tls_is_expected_is_unreachable(monkeypatch):
    monkeypatch.setattr(http, "_CONNECT_S", 0.2)
    async with listening() as (url, _), wire_to(url.replace("http:", "https:"), timeout_s=20.0) as ask:
        with pytest.raises(ConnectionProblem) as caught:
            await ask()
    assert caught.value.kind == "unreachable"


def test_a_key_cannot_smuggle_a_header(monkeypatch):
    monkeypatch.setenv("KEY", "x\r\nHost: elsewhere")
    with pytest.raises(UserError, match="KEY holds a character that a header cannot"):
        OpenAIConfig(base_url="http://x/v1", api_key_env="KEY").headers("t")
    with pytest.raises(ValueError, match="headers_env"):
        OpenAIConfig(base_url="http://x/v1", headers_env={"a: b\r\nc": "KEY"})
