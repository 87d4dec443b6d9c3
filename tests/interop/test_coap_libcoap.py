"""Both roles of the endpoint against libcoap's command line client and example server (Debian: libcoap3-bin)."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fita.coap.code import Code
from fita.coap.endpoint import CoapEndpoint
from fita.coap.errors import ExchangeError
from fita.coap.interfaces import Peer, Request, Response

pytestmark = pytest.mark.interop

BODY = bytes(index % 251 for index in range(7000))
DEADLINE_S = 40


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: install the Debian package libcoap3-bin")
    return found


class Store:
    """Serves one value at every path but a few."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.value = b"22.3 C"

    def handle(self, request: Request, peer: Peer) -> Response | asyncio.Future[Response]:
        self.requests.append(request)
        match request.path:
            case ("nothing",):
                return Response(code=Code.NOT_FOUND, payload=b"nothing here")
            case ("slow",):
                return self._slow()
        match request.method:
            case Code.PUT:
                self.value = request.payload
                return Response(code=Code.CHANGED)
            case Code.POST | Code.FETCH:
                return Response(code=Code.CONTENT, payload=request.payload * 2)
        return Response(code=Code.CONTENT, payload=self.value, content_format=0)

    async def _slow(self) -> Response:
        await asyncio.sleep(1.2)  # over half of ACK_TIMEOUT, so that the answer comes apart
        return Response(code=Code.CONTENT, payload=b"slow")


@asynccontextmanager
async def running(endpoint: CoapEndpoint, host: str = "127.0.0.1") -> AsyncIterator[int]:
    _, port = await endpoint.open(host, 0)
    try:
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            run = tasks.create_task(endpoint.run())
            yield port
            run.cancel()
    finally:
        await endpoint.close()


async def ask(port: int, path: str, *arguments: str, host: str = "127.0.0.1", output: Path | None = None) -> str:
    """Run libcoap's client; returns what it printed, errors included. The payload goes to `output` if given."""
    command = [program("coap-client-notls"), *arguments]
    if output is not None:
        command += ["-o", str(output)]
    process = await asyncio.create_subprocess_exec(
        *command,
        f"coap://{host}:{port}/{path}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, printed
    return printed.decode().strip()


async def test_get_confirmable_and_not() -> None:
    store = Store()
    async with running(CoapEndpoint(store)) as port:
        assert await ask(port, "3/0?a=b&c") == "22.3 C"
        assert await ask(port, "3/0", "-N") == "22.3 C"
        assert await ask(port, "nothing") == "4.04 nothing here"
        assert await ask(port, "3/0", "-O", "9,x") == "4.02 option 9 is not understood"
    assert store.requests[0].path == ("3", "0")
    assert store.requests[0].query == ("a=b", "c")


async def test_an_answer_that_comes_apart() -> None:
    async with running(CoapEndpoint(Store())) as port:
        assert await ask(port, "slow") == "slow"


async def test_over_ipv6_and_dual_stack() -> None:
    async with running(CoapEndpoint(Store()), "::") as port:
        assert await ask(port, "x", host="[::1]") == "22.3 C"
        assert await ask(port, "x") == "22.3 C"


@pytest.mark.parametrize("block_size", [16, 64, 1024])
async def test_large_bodies_in_both_directions(tmp_path: Path, block_size: int) -> None:
    sent, received = tmp_path / "sent", tmp_path / "received"
    sent.write_bytes(BODY)
    store = Store()
    async with running(CoapEndpoint(store)) as port:
        await ask(port, "9/0/2", "-m", "put", "-b", str(block_size), "-t", "42", "-f", str(sent))
        assert store.value == BODY
        await ask(port, "9/0/2", "-b", str(block_size), output=received)
    assert received.read_bytes() == BODY
    assert [request.method for request in store.requests] == [Code.PUT, Code.GET], "each body was handled once"
    assert store.requests[0].content_format == 42


@pytest.mark.parametrize("method", ["post", "fetch"])
async def test_a_large_body_answered_by_a_large_body(tmp_path: Path, method: str) -> None:
    sent, received = tmp_path / "sent", tmp_path / "received"
    sent.write_bytes(BODY[:3000])
    store = Store()
    async with running(CoapEndpoint(store)) as port:
        await ask(port, "x", "-m", method, "-f", str(sent), output=received)
    assert received.read_bytes() == BODY[:3000] * 2


async def test_lost_datagrams_of_an_upload_are_made_good(tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(BODY[:3000])
    store = Store()
    async with running(CoapEndpoint(store)) as port:
        await ask(port, "x", "-m", "put", "-f", str(sent), "-l", "2")
    assert store.value == BODY[:3000]
    assert len(store.requests) == 1


# libcoap's example server


@asynccontextmanager
async def example_server() -> AsyncIterator[tuple[CoapEndpoint, Peer]]:
    """The server and an endpoint of ours to talk to it; ready."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        peer: Peer = probe.getsockname()
    process = await asyncio.create_subprocess_exec(
        program("coap-server-notls"), "-A", peer[0], "-p", str(peer[1]), "-d", "10"
    )
    client = CoapEndpoint()
    try:
        async with running(client):
            await wait_until_ready(client, peer)
            yield client, peer
    finally:
        process.terminate()
        await process.wait()


async def wait_until_ready(client: CoapEndpoint, peer: Peer) -> None:
    while True:
        try:
            async with asyncio.timeout(0.2):
                await client.request(peer, Request(method=Code.GET))
        except (TimeoutError, ExchangeError):
            continue
        return


async def test_requests_to_libcoap() -> None:
    async with example_server() as (client, peer):
        links = await client.request(peer, Request(method=Code.GET, path=(".well-known", "core")), block_size=32)
        assert links.content_format == 40
        assert links.payload.startswith(b"</>;")
        assert b"</time>" in links.payload
        slow = await client.request(peer, Request(method=Code.GET, path=("async",), query=("1",)))
        assert slow.payload == b"done"
        missing = await client.request(peer, Request(method=Code.GET, path=("nothing",)))
        assert missing.code == Code.NOT_FOUND


@pytest.mark.parametrize("block_size", [64, 1024])
async def test_large_bodies_to_and_from_libcoap(block_size: int) -> None:
    async with example_server() as (client, peer):
        put = Request(method=Code.PUT, path=("body",), payload=BODY, content_format=42)
        assert (await client.request(peer, put, block_size=block_size)).code == Code.CREATED
        got = await client.request(peer, Request(method=Code.GET, path=("body",)), block_size=block_size)
        assert (got.payload, got.content_format) == (BODY, 42)


async def test_observing_libcoap_with_notifications_in_blocks() -> None:
    async with example_server() as (client, peer):
        seen: asyncio.Queue[Response] = asyncio.Queue()

        async def put(payload: bytes) -> None:
            request = Request(method=Code.PUT, path=("body",), payload=payload, content_format=42)
            (await client.request(peer, request)).checked()

        await put(b"a" * 3000)
        get = Request(method=Code.GET, path=("body",))
        observation = await client.observe(peer, get, seen.put_nowait)
        assert seen.get_nowait().payload == b"a" * 3000
        for payload in (b"b" * 2000, b"small"):
            await put(payload)
            assert (await seen.get()).payload == payload
        await observation.renew()
        assert seen.get_nowait().payload == b"small"
        await client.request(peer, Request(method=Code.DELETE, path=("body",)))
        assert (await seen.get()).code == Code.NOT_FOUND
        assert not observation.active


async def test_an_observation_of_libcoap_is_cancelled_there() -> None:
    async with example_server() as (client, peer):
        ticks: asyncio.Queue[Response] = asyncio.Queue()
        observation = await client.observe(peer, Request(method=Code.GET, path=("time",)), ticks.put_nowait)
        first, second = await ticks.get(), await ticks.get()
        assert first.payload != second.payload
        await observation.cancel()
        resets, received = client.counters.resets_sent, client.counters.received
        silent = asyncio.Event()
        asyncio.get_running_loop().call_later(1.5, silent.set)
        await silent.wait()
        assert client.counters.received == received, "the server has stopped notifying"
        assert client.counters.resets_sent == resets
