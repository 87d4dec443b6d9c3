"""The way to a host: without TLS only on this machine, through the proxy that the environment names elsewhere."""

from __future__ import annotations

import ipaddress
import urllib.request

from yarl import URL


def is_this_machine(host: str) -> bool:
    """Whether `host` is ``localhost`` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_of(url: URL) -> URL | None:
    """The proxy for `url` by ``https_proxy``, ``http_proxy`` and ``no_proxy``; never one for this machine.

    aiohttp could do this by itself, but then it would also send what ``~/.netrc`` says.
    """
    host = url.host or ""
    if is_this_machine(host) or urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies().get(url.scheme)
    return URL(proxy) if proxy else None
