"""Proxies from the environment: http_proxy, https_proxy, all_proxy and no_proxy, in either case.

aiohttp reads them too (`trust_env`), but anew for each request, together with ~/.netrc, whose passwords must not go
to endpoints that have a key of their own. Addresses of this machine are never reached through a proxy.
"""

import ipaddress
from dataclasses import dataclass
from urllib.request import getproxies, proxy_bypass_environment  # type: ignore[attr-defined]

from aiohttp import BasicAuth
from yarl import URL

from arbitrage.errors import UserError


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. `url` holds no credentials."""

    url: URL
    auth: BasicAuth | None


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for a URL, or None.

    Raises:
        UserError: the environment names one that cannot be used.
    """
    target, named = URL(url), getproxies()
    found = named.get(target.scheme) or named.get("all")
    if not found or target.host is None or _is_local(target.host) or _is_excepted(target, named):
        return None
    try:
        proxy = URL(found if "://" in found else f"http://{found}")
        has_host = proxy.host is not None and proxy.port is not None
    except ValueError:
        proxy, has_host = URL(), False
    variable = f"{target.scheme}_proxy" if named.get(target.scheme) else "all_proxy"
    if not has_host or proxy.scheme != "http":
        raise UserError(
            f"the environment variable {variable} names a proxy for {url} that cannot be used: expected "
            f"http://host:port, found {f'one with {proxy.scheme}://' if has_host else 'no URL'}; change it, or add "
            f"{target.host} to no_proxy"
        )
    auth = BasicAuth(proxy.user, proxy.password or "") if proxy.user else None
    return Proxy(proxy.with_user(None), auth)


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _is_excepted(target: URL, named: dict[str, str]) -> bool:
    """Tell whether no_proxy names the host: by name, by domain, with its port, or as a network (10.0.0.0/8)."""
    if proxy_bypass_environment(f"{target.host}:{target.port}", named):
        return True
    address = _address(target.host or "")
    return address is not None and any(_holds(part.strip(), address) for part in named.get("no", "").split(","))


def _holds(network: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
