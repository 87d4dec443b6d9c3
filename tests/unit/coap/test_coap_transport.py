"""The UDP transport on the loopback interface: real sockets, real ICMP errors."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from coap_network import running

from fita.coap.code import Code
from fita.coap.endpoint import CoapEndpoint
from fita.coap.errors import TransportError
from fita.coap.interfaces import Limits, Peer, Request, Response
from fita.coap.message.format import ACK, CON, NON, RST, Message, decode
from fita.coap.transport import UdpTransport

GET = Request(method=Code.GET, path=("x",))


class Handler:
    def handle(self, request: Request, peer: Peer) -> Response:
        return Response(code=Code.CONTENT, payload=request.payload or b"22.3 C")


@asynccontextmanager
async def endpoint(host: str, handler: Handler | None = None) -> AsyncIterator[tuple[CoapEndpoint, int]]:
    made = CoapEndpoint(handler)
    _, port = await made.open(host, 0)
    async with running(made):
        yield made, port


@asynccontextmanager
async def receiving(transport: UdpTransport, host: str = "127.0.0.1") -> AsyncIterator[asyncio.Queue[bytes]]:
    """Open and run a bare transport; what comes is in the queue."""
    received: asyncio.Queue[bytes] = asyncio.Queue()
    await transport.open(host, 0, lambda datagram, peer: received.put_nowait(datagram))
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(transport.run())
        try:
            yield received
        finally:
            run.cancel()
    transport.close()


def raw_socket(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(10)
    made.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    return made


async def receive_from(source: socket.socket) -> Message:
    return decode(await asyncio.to_thread(source.recv, 2000))


@pytest.mark.parametrize(
    ("listen", "send_from", "peer"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),
        ("::1", "::1", "::1"),
        ("::", "::", "::1"),
        ("::", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "::", "127.0.0.1"),
        ("127.0.0.1", "::", "::ffff:127.0.0.1"),
    ],
)
async def test_both_internet_protocols_and_both_together(listen: str, send_from: str, peer: str) -> None:
    async with endpoint(listen, Handler()) as (_, port), endpoint(send_from) as (client, _):
        async with asyncio.timeout(10):
            assert (await client.request((peer, port), GET)).payload == b"22.3 C"


async def test_an_ipv4_peer_of_a_dual_stack_socket_is_an_ipv4_peer() -> None:
    peers: list[Peer] = []

    class Remembering(Handler):
        def handle(self, request: Request, peer: Peer) -> Response:
            peers.append(peer)
            return Response(code=Code.CONTENT)

    async with endpoint("::", Remembering()) as (_, port), endpoint("127.0.0.1") as (client, client_port):
        async with asyncio.timeout(10):
            await client.request(("127.0.0.1", port), GET)
    assert peers == [("127.0.0.1", client_port)]


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("192.0.2.1", 5683), ("192.0.2.1", 5683)),
        (("2001:db8::1", 5683, 0, 0), ("2001:db8::1", 5683)),
        (("::ffff:192.0.2.1", 5683, 0, 0), ("192.0.2.1", 5683)),
        (("fe80::1", 5683, 0, 2), ("fe80::1%2", 5683)),
        (("fe80::1%eth0", 5683, 0, 2), ("fe80::1%2", 5683)),
    ],
)
def test_a_link_local_peer_carries_its_scope(address: tuple[str, int], peer: Peer) -> None:
    assert UdpTransport._peer_of(address) == peer


async def test_a_burst_of_a_thousand_devices_is_not_lost() -> None:
    """The kernel's default buffer loses half of 256 (each is charged with the room of a whole packet)."""
    transport = UdpTransport()
    async with receiving(transport) as received:
        destination = transport._socket.getsockname()
        given = transport._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        burst = min(1000, given // 1024)  # an unprivileged process may not get more than the kernel's maximum
        assert burst >= 256
        with raw_socket() as sender:
            for number in range(burst):
                sender.sendto(b"%04d" % number + bytes(60), destination)
        async with asyncio.timeout(10):
            numbers = [int((await received.get())[:4]) for _ in range(burst)]
    assert numbers == list(range(burst))


async def test_a_flood_leaves_room_for_other_tasks() -> None:
    transport = UdpTransport()
    turns = 0
    async with receiving(transport) as received:
        destination = transport._socket.getsockname()
        with raw_socket() as sender:
            for _ in range(300):
                sender.sendto(b"x", destination)
        while received.empty():
            await asyncio.sleep(0)
        turns = received.qsize()
        async with asyncio.timeout(10):
            for _ in range(300):
                await received.get()
    assert 0 < turns < 300


async def test_malformed_datagrams_disturb_nobody() -> None:
    rng = random.Random(7)
    async with endpoint("127.0.0.1", Handler()) as (server, port), endpoint("127.0.0.1") as (client, _):
        with raw_socket() as hostile:
            destination = ("127.0.0.1", port)
            for size in (0, 1, 3, 4, 5, 20, 100, 1500, 60_000):
                for _ in range(5):
                    hostile.sendto(rng.randbytes(size), destination)
            template = Message(CON, Code.POST, 1, b"12345678", ((11, b"rd"), (15, b"ep=x")), b"</3/0>").encode()
            for position in range(len(template)):
                damaged = bytearray(template)
                damaged[position] ^= 0xFF
                hostile.sendto(damaged, destination)
            async with asyncio.timeout(10):
                for _ in range(20):
                    assert (await client.request(destination, GET)).code == Code.CONTENT
        assert server.counters.malformed > 20
        assert server.counters.received > 60


async def test_the_hostile_peer_itself_is_answered_again_when_it_behaves() -> None:
    async with endpoint("127.0.0.1", Handler()) as (_, port), asyncio.timeout(10):
        with raw_socket() as peer:
            peer.sendto(b"\x40\x01\x00\x05\xff", ("127.0.0.1", port))
            assert await receive_from(peer) == Message(RST, Code.EMPTY, 5)
            peer.sendto(Message(CON, Code.GET, 6, b"t").encode(), ("127.0.0.1", port))
            assert (await receive_from(peer)).payload == b"22.3 C"


async def test_a_closed_port_of_one_peer_disturbs_no_other() -> None:
    with raw_socket() as closed:
        gone = closed.getsockname()
    async with endpoint("127.0.0.1", Handler()) as (_, port), endpoint("127.0.0.1") as (client, _):
        async with asyncio.TaskGroup() as tasks:
            silent = tasks.create_task(failing_request(client, gone))
            async with asyncio.timeout(10):
                for _ in range(50):
                    assert (await client.request(("127.0.0.1", port), GET)).code == Code.CONTENT
            assert not silent.done(), "an ICMP error is no answer"
            client.forget(gone)


async def failing_request(client: CoapEndpoint, peer: Peer) -> None:
    with pytest.raises(Exception, match="given up"):
        await client.request(peer, GET)


async def test_a_datagram_that_cannot_be_sent_is_dropped() -> None:
    transport = UdpTransport()
    transport.send(b"before it was opened", ("127.0.0.1", 5683))
    async with receiving(transport):
        transport.send(bytes(70_000), ("127.0.0.1", 5683))
        transport.send(b"x", ("127.0.0.1", 99_999))
        transport.send(b"x", ("255.255.255.255", 5683))
        transport.send(b"x", ("::1", 5683))
        assert transport.dropped == 4
    transport.send(b"after it was closed", ("127.0.0.1", 5683))
    transport.close()


class Congested(socket.socket):
    """A socket whose send buffer is full for a while."""

    room = 0

    def sendto(self, data: bytes, address: Peer) -> int:  # type: ignore[override]
        if self.room <= 0:
            raise BlockingIOError
        self.room -= 1
        return super().sendto(data, address)


async def test_what_the_socket_does_not_take_waits_in_order_up_to_a_bound() -> None:
    transport, target = UdpTransport(send_queue=3), UdpTransport()
    async with receiving(target) as received, receiving(transport):
        destination = target._socket.getsockname()
        ordinary = transport._socket
        congested = Congested(fileno=ordinary.detach())
        congested.setblocking(False)
        transport._socket = congested
        congested.room = 1
        for number in range(6):
            transport.send(b"%d" % number, destination)
        assert transport.dropped == 2
        async with asyncio.timeout(10):
            assert await received.get() == b"0"
            transport._queue.pop()
            congested.room = 100
            transport.send(b"4", destination)
            assert [await received.get() for _ in range(3)] == [b"1", b"2", b"4"]
            transport.send(b"5", destination)
            assert await received.get() == b"5"
        assert not transport._loop.remove_writer(congested.fileno()), "nobody waits for room any more"


async def test_closing_with_a_full_queue_counts_what_is_lost() -> None:
    transport = UdpTransport()
    await transport.open("127.0.0.1", 0, lambda datagram, peer: None)
    congested = Congested(fileno=transport._socket.detach())
    transport._socket = congested
    transport.send(b"x", ("127.0.0.1", 5683))
    transport.send(b"y", ("127.0.0.1", 5683))
    transport.close()
    assert transport.dropped == 2


@pytest.mark.parametrize("host", ["192.0.2.1", "label-over-63-bytes" + "-" * 50])
async def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(TransportError, match=host):
        await UdpTransport().open(host, 0, lambda datagram, peer: None)


async def test_a_port_in_use_is_named_with_a_hint() -> None:
    with raw_socket() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TransportError, match=f"UDP port {port}") as caught:
            await CoapEndpoint().open("127.0.0.1", port)
        assert "another port" in caught.value.hint


async def test_running_needs_an_open_socket() -> None:
    with pytest.raises(TransportError):
        await UdpTransport().run()


async def test_three_hundred_devices_at_once() -> None:
    """Each sends one confirmable request before the gateway wakes; each gets its answer."""
    devices = 300
    async with endpoint("0.0.0.0", Handler()) as (server, port):
        sockets = [raw_socket() for _ in range(devices)]
        try:
            for number, device in enumerate(sockets):
                message = Message(CON, Code.POST, number, b"t", (), b"%d" % number)
                device.sendto(message.encode(), ("127.0.0.1", port))
            async with asyncio.timeout(10):
                while server.counters.received < devices:
                    await asyncio.sleep(0)
            answers = [decode(device.recv(2000)) for device in sockets]
        finally:
            for device in sockets:
                device.close()
    assert [(answer.type, answer.message_id, answer.payload) for answer in answers] == [
        (ACK, number, b"%d" % number) for number in range(devices)
    ]


async def test_a_non_confirmable_request_over_ipv6() -> None:
    async with endpoint("::1", Handler()) as (_, port), asyncio.timeout(10):
        with raw_socket(socket.AF_INET6) as peer:
            peer.sendto(Message(NON, Code.GET, 1, b"t").encode(), ("::1", port))
            answer = await receive_from(peer)
    assert (answer.type, answer.token) == (NON, b"t")


async def test_limits_reach_the_transport() -> None:
    made = CoapEndpoint(limits=Limits(send_queue=7))
    assert made._transport._send_queue == 7  # type: ignore[attr-defined]
