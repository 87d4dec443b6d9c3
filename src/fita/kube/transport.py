"""HTTP to one API server: a pool of kept connections, a bound on requests, logging in, errors as types."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.connector import AddrInfoType
from multidict import CIMultiDict
from yarl import URL

from fita import __version__
from fita.kube.access import ClusterAccess
from fita.kube.errors import ApiError, ConnectionFailedError, api_error

Parameters = Mapping[str, str]

CONNECT_TIMEOUT_S = 10.0
"""How long one TCP connect may take, so that a watch, which has no deadline, notices a server that is away."""

KEEP_ALIVE_S = 60.0
"""How long an unused connection is kept: less than the 90 s after which the API server closes it."""

MAX_ATTEMPTS = 5
"""How often a request is sent in all when the server asks to come back later."""

MAX_RETRY_AFTER_S = 30.0
"""The longest wait that a server may ask for; a caller's deadline is usually nearer."""

# A peer that vanished without a word is noticed after about a minute also by a watch that only reads.
_SOCKET_OPTIONS = (
    ("SO_KEEPALIVE", socket.SOL_SOCKET, 1),
    ("TCP_KEEPIDLE", socket.IPPROTO_TCP, 30),
    ("TCP_KEEPINTVL", socket.IPPROTO_TCP, 10),
    ("TCP_KEEPCNT", socket.IPPROTO_TCP, 3),
)


class Transport:
    """Sends requests to one API server. Retries only what the server itself asks to send again."""

    def __init__(self, access: ClusterAccess, *, max_in_flight: int) -> None:
        self._access = access
        self._slots = asyncio.Semaphore(max_in_flight)
        self._rng = random.Random()
        self._opened: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(
            limit=0,  # `_slots` bounds requests; watches come on top and are few
            keepalive_timeout=KEEP_ALIVE_S,
            socket_factory=_socket,
        )
        self._opened = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            headers={"User-Agent": f"fita/{__version__}", "Accept": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def request(
        self,
        method: str,
        path: str,
        parameters: Parameters | None = None,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        """The body of a good answer. Raises `ApiError`, `ConnectionFailedError`, `KubeconfigError`."""
        attempts = 0
        while True:
            attempts += 1
            try:
                sending = self._answer(method, path, parameters, body=body, content_type=content_type)
                async with self._slots, sending as response:
                    return await response.read()
            except ApiError as error:
                if not _is_asked_again(error) or attempts >= MAX_ATTEMPTS:
                    raise
                after_s = min(error.retry_after_s, MAX_RETRY_AFTER_S)
            # Spread: everybody that was refused was told the same number.
            await asyncio.sleep(self._rng.uniform(1, 1.5) * after_s)

    async def stream(
        self, path: str, parameters: Parameters, *, idle_s: float, on_open: Callable[[], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The body of a good answer in chunks as they come. `ConnectionFailedError` after `idle_s` without any.

        `on_open` is called when the answer has begun. Streams do not count against the bound on requests.
        """
        async with self._answer("GET", path, parameters, idle_s=idle_s) as response:
            if on_open is not None:
                on_open()
            async for chunk in response.content.iter_any():
                yield chunk

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        parameters: Parameters | None,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        idle_s: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One answer that is no error, also when that takes another login."""
        url = URL(self._access.server + path).with_query(parameters)
        headers = CIMultiDict(self._access.headers)
        if body is not None:
            headers["Content-Type"] = content_type
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=idle_s)
        try:
            async with await self._authorized(method, url, headers, data=body, timeout=timeout) as response:
                if response.status >= 300:
                    after_s = _retry_after_s(response.headers.get("Retry-After", ""))
                    raise api_error(response.status, await response.read(), retry_after_s=after_s)
                yield response
        except (aiohttp.ClientError, OSError) as error:
            raise self._failed(error) from error

    async def _authorized(
        self,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        *,
        data: bytes | None,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        renewed = False
        while True:
            login = await self._access.credential.login()
            if login.authorization:
                headers["Authorization"] = login.authorization
            response = await self._session.request(
                method,
                url,
                headers=headers,
                data=data,
                allow_redirects=False,
                timeout=timeout,
                ssl=login.tls or self._access.tls or True,
                server_hostname=self._access.server_name or None,
                proxy=self._access.proxy or None,
            )
            if response.status != 401 or renewed or not self._access.credential.expire(login):
                return response
            response.release()
            renewed = True

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            raise RuntimeError("the client is used outside of its `async with`")
        return self._opened

    def _failed(self, error: Exception) -> ConnectionFailedError:
        server = self._access.server
        reason = _reason(error)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return ConnectionFailedError(
                f"{server} shows a certificate that is not trusted: {error.certificate_error}",
                hint="take the certificate authority of this cluster, and a server name that its certificate has",
            )
        if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
            return ConnectionFailedError(f"{server} ended the connection: {reason}", hint=_AWAY_HINT)
        return ConnectionFailedError(f"{server} cannot be reached: {reason}", hint=_AWAY_HINT)


_AWAY_HINT = "check that the cluster runs, and the server's address in the kubeconfig"


def _reason(error: Exception) -> str:
    """Why a connection failed, in the operating system's words; aiohttp's name objects of Python."""
    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error) or type(error).__name__
    match error.os_error:
        case ssl.SSLError(reason=str(reason)):
            return f"no TLS can be agreed on: {reason.replace('_', ' ').lower()}"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case cause:  # of several addresses, or none for the name
            return cause.strerror or str(cause)


def _is_asked_again(error: ApiError) -> bool:
    """Whether the server did nothing and wants the request once more, as Kubernetes' own clients read it."""
    return error.retry_after_s > 0 and (error.status == 429 or error.status >= 500)


def _retry_after_s(header: str) -> float:
    """Seconds of a Retry-After header; 0 without one. A date, which no API server sends, counts as a second."""
    if not header:
        return 0
    try:
        return max(float(header), 0)
    except ValueError:
        return 1


def _socket(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    for name, level, value in _SOCKET_OPTIONS:
        if (option := getattr(socket, name, None)) is not None:
            made.setsockopt(level, option, value)
    return made
