"""Reads a gateway's outputs over its HTTP interface (see `fita.databus.http`)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import msgspec

from fita.base.errors import FitaError
from fita.databus.store import Output

REQUEST_DEADLINE_S = 10.0
SILENCE_DEADLINE_S = 60.0
"""A stream that says nothing this long is broken: the gateway sends a comment every 15 s."""


class _OutputList(msgspec.Struct):
    items: list[Output]


class OutputClient:
    """Reads outputs from the gateway at `url` (like ``http://127.0.0.1:8683``). Raises `FitaError`."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") + "/api/v1/outputs"

    async def latest(self) -> list[Output]:
        """The latest value of every output."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_DEADLINE_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:
                async with session.get(self._url) as response:
                    return msgspec.json.decode(await response.read(), type=_OutputList).items
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            raise self._unreachable(error) from error

    async def follow(self) -> AsyncIterator[Output]:
        """The latest value of every output, then each new one; ends with `FitaError` when the stream breaks."""
        timeout = aiohttp.ClientTimeout(total=None, connect=REQUEST_DEADLINE_S, sock_read=SILENCE_DEADLINE_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:
                async with session.get(self._url, params={"watch": "1"}) as response:
                    async for line in response.content:
                        if line.startswith(b"data: "):
                            yield msgspec.json.decode(line[6:], type=Output)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            raise self._unreachable(error) from error
        raise FitaError(
            f"the gateway closed the stream {self._url}", hint="is it still running? see `fita status`"
        )

    def _unreachable(self, error: Exception) -> FitaError:
        return FitaError(
            f"cannot read outputs from {self._url}: {in_words(error)}",
            hint="is the gateway running? see `fita status`",
        )


async def fetch_metrics(url: str) -> str:
    """The Prometheus metrics of the gateway at `url`, as text. Raises `FitaError`."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_DEADLINE_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:
            async with session.get(f"{url}/metrics") as response:
                return await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise FitaError(
            f"cannot read metrics from {url}: {in_words(error)}", hint="is the gateway running? see `fita status`"
        ) from error


def in_words(error: Exception) -> str:
    """What went wrong with an HTTP request, without the names of this program's libraries."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"nobody answers at {error.host}:{error.port} ({error.strerror or error.os_error})"
    if isinstance(error, aiohttp.ClientResponseError) and error.__cause__ is None:
        return f"the gateway answers {error.status} {error.message}"
    for kinds, text in _WORDS:
        if isinstance(error, kinds):
            return text
    return "what answers there does not speak HTTP as a gateway does"


_WORDS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((TimeoutError,), "the gateway does not answer in time"),
    (
        (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError),
        "that is no address; write one like http://127.0.0.1:8683",
    ),
    ((msgspec.DecodeError,), "what answers there is no gateway of FITA"),
    (
        (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError),
        "the gateway ended in the middle of its answer",
    ),
)
