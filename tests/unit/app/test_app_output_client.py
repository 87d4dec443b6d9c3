"""What goes wrong between a reader of outputs and the gateway, in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fita.app.output_client import OutputClient, fetch_metrics
from fita.base.errors import FitaError

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """The address of a server that says `answer` to everyone and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (CHUNKED + b"5\r\nab", "the gateway ended in the middle of its answer"),
        (b"", "the gateway ended in the middle of its answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "what answers there does not speak HTTP as a gateway does"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the gateway answers 404 Not Found"),
    ],
)
async def test_what_breaks_a_stream_is_told_in_words(answer: bytes, says: str) -> None:
    async with answering(answer) as url:
        with pytest.raises(FitaError) as caught:
            async for _ in OutputClient(url).follow():
                pass
        assert caught.value.message == f"cannot read outputs from {url}/api/v1/outputs: {says}"
        assert caught.value.hint


async def test_who_is_no_gateway_is_told_so() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi") as url:
        with pytest.raises(FitaError, match="what answers there is no gateway of FITA"):
            await OutputClient(url).latest()
    with pytest.raises(FitaError, match=r"nobody answers at 127\.0\.0\.1:\d+ \("):
        await OutputClient(url).latest()
    with pytest.raises(FitaError, match="nobody answers"):
        await fetch_metrics(url)
    with pytest.raises(FitaError, match="that is no address"):
        await OutputClient("localhost:8683").latest()
