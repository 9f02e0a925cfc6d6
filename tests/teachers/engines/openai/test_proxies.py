"""Proxies of the environment: which requests go through them, and what is said where one cannot be used."""

import pytest
from aiohttp import web

from arbitrage.contracts.engines import Completion
from arbitrage.errors import UserError
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from arbitrage.teachers.engines.openai.proxies import proxy_for
from tests.support.asking import a_request, collect
from tests.support.mock_endpoint import answer

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({"http_proxy": "http://proxy:3128"}, "http://models.internal/v1", "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy:3128"}, "https://models.internal/v1", "http://proxy:3128"),
        ({"all_proxy": "http://proxy:3128"}, "https://models.internal/v1", "http://proxy:3128"),
        ({"http_proxy": "http://proxy:3128"}, "https://models.internal/v1", None),
        ({"http_proxy": "http://proxy:3128"}, "http://127.0.0.1:8000/v1", None),
        ({"http_proxy": "http://proxy:3128"}, "http://localhost:8000/v1", None),
        ({"http_proxy": "http://proxy:3128"}, "http://[::1]:8000/v1", None),
        ({"http_proxy": "http://p:1", "no_proxy": "internal"}, "http://models.internal/v1", None),
        ({"http_proxy": "http://p:1", "no_proxy": ".internal,x"}, "http://models.internal/v1", None),
        ({"http_proxy": "http://p:1", "NO_PROXY": "*"}, "http://models.internal/v1", None),
        ({"http_proxy": "http://p:1", "no_proxy": "10.0.0.0/8"}, "http://10.1.2.3/v1", None),
        ({"http_proxy": "http://p:1", "no_proxy": "10.0.0.0/8"}, "http://11.1.2.3/v1", "http://p:1"),
        ({"http_proxy": "http://p:1", "no_proxy": "a.internal:81"}, "http://a.internal:81/v1", None),
        ({}, "http://models.internal/v1", None),
    ],
)
def test_the_environment_says_which_proxy_is_used(environment, url, proxy, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(url)
    assert (None if found is None else str(found.url)) == (None if proxy is None else proxy)


@pytest.mark.parametrize(
    "proxy", ["socks5://me:pw-very-secret@host:1080", "http://", "http://me:pw-very-secret@host:x"]
)
def test_a_proxy_that_cannot_be_used_is_a_sentence_without_its_password(proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(
        UserError, match=r"the environment variable http_proxy names a proxy .* that cannot"
    ) as caught:
        OpenAIConfig(base_url="http://models.internal/v1").require(ModelSpec("remote", "m"))
    assert "very-secret" not in str(caught.value)


async def test_requests_go_through_the_proxy_with_its_name_and_password(monkeypatch):
    seen = []

    async def proxy(request):
        seen.append((request.raw_path, request.headers.get("Proxy-Authorization")))
        return answer("through")

    runner = web.ServerRunner(web.Server(proxy))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://me:pw@127.0.0.1:{port}")
    client = OpenAIConfig(base_url="http://models.internal/v1").build(ModelSpec("remote", "m"))
    try:
        result = (await collect(client, [a_request("q", candidate_id="c")]))["c"]
    finally:
        await client.close()
        await runner.cleanup()
    assert isinstance(result, Completion)
    assert result.text == "through"
    assert seen == [("http://models.internal/v1/chat/completions", "Basic bWU6cHc=")]
