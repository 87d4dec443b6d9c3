"""A scripted client over UDP on loopback that sends and expects exact datagrams, as devices in the field do."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import cbor2
import pytest
from lwm2m_bench import LAMP, Diary, until

from fita.lwm2m.server import Lwm2mServer


class Client:
    """Waits for each datagram and answers it by hand."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.connect(("127.0.0.1", port))

    def send(self, *parts: bytes | str) -> None:
        self._socket.send(b"".join(bytes.fromhex(part) if isinstance(part, str) else part for part in parts))

    async def receive(self) -> bytes:
        async with asyncio.timeout(10):
            return await asyncio.get_running_loop().sock_recv(self._socket, 2048)

    async def expect(self, pattern: bytes) -> re.Match[bytes]:
        datagram = await self.receive()
        match = re.fullmatch(pattern, datagram, re.DOTALL)
        assert match, datagram.hex(" ")
        return match

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Lwm2mServer, Diary, Client]]:
    diary = Diary()
    server = Lwm2mServer(enrolled=lambda endpoint: True, on_output=diary.outputs.append, listener=diary)
    _, port = await server.open("127.0.0.1", 0)
    client = Client(port)
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.run())
            yield server, diary, client
            task.cancel()
    finally:
        client.close()
        await server.close()


# CON POST, message id 0x0001, token 0xAA, Uri-Path rd, Content-Format 40 and the queries that follow.
POST_RD = "4102 0001 AA" + "B2 7264" + "11 28"
OBJECT_3 = cbor2.dumps([{-2: "/3/0/", 0: "0", 3: "Maker"}, {0: "21", 2: 64}, {0: "9", 2: 71}])


def query(*texts: str) -> bytes:
    """Uri-Query options behind Content-Format: the first with delta 3, the others with 0."""
    encoded = b""
    for number, text in enumerate(texts):
        assert len(text) < 13
        encoded += bytes(((0x30 if number == 0 else 0) | len(text),)) + text.encode()
    return encoded


async def test_our_runtimes_registration_to_the_byte() -> None:
    async with serving() as (server, diary, client):
        client.send(
            POST_RD, query("ep=lamp1", "lt=60", "lwm2m=1.1", "b=U"), "FF", b'</>;rt="oma.lwm2m";ct=112,</3/0>'
        )
        # ACK 2.01 with the token and Location-Path rd/<12 characters>.
        created = await client.expect(rb"\x61\x41\x00\x01\xaa\x82rd\x0c([A-Za-z0-9_-]{12})")

        # CON GET /3 with Accept 112 and an eight byte token.
        asked = await client.expect(rb"\x48\x01(..)(.{8})\xb1\x33\x61\x70")
        client.send("6845", asked[1], asked[2], "C1 70", "FF", OBJECT_3)
        await until(lambda: diary.joined)
        profile = server.devices()[LAMP]
        assert (profile.manufacturer, profile.memory_bytes, profile.battery_percent) == ("Maker", 65536, 71)

        client.send("4102 0002 AB", "B2 7264", "0C", created[1])  # update
        await client.expect(rb"\x61\x44\x00\x02\xab")
        client.send("4104 0003 AC", "B2 7264", "0C", created[1])  # deregistration
        await client.expect(rb"\x61\x42\x00\x03\xac")
        await until(lambda: diary.lost)
        client.send("4102 0004 AD", "B2 7264", "0C", created[1])
        await client.expect(rb"\x61\x84\x00\x04\xad\xff.+")


async def test_a_repeated_registration_gets_the_same_answer() -> None:
    async with serving() as (server, _, client):
        for _ in range(2):
            client.send(POST_RD, query("ep=lamp1", "lwm2m=1.1"), "FF", b"</1/0>")
        first, second = await client.receive(), await client.receive()
        assert first == second
        assert server.registrations_total == 1


async def test_a_client_that_only_speaks_tlv() -> None:
    """As wakaama by default: binding and version as in LwM2M 1.0, blanks in the list, TLV, separate responses."""
    async with serving() as (server, diary, client):
        client.send(
            POST_RD, query("lwm2m=1.0", "ep=lamp1", "b=U", "lt=30"), "FF", b'</>;rt="oma.lwm2m", </1/0>, </3/0>'
        )
        await client.expect(rb"\x61\x41.*")
        asked = await client.expect(rb"\x48\x01(..)(.{8})\xb1\x33\x61\x70")
        client.send("6886", asked[1], asked[2])  # 4.06
        asked = await client.expect(rb"\x48\x01(..)(.{8})\xb1\x33\x62\x2d\x16")
        client.send("6000", asked[1])  # it takes its time
        tlv = "08000A" + "C5004D616B6572" + "C10947"  # instance 0 with the manufacturer and the battery level
        client.send("4845 7777", asked[2], "C2 2D16", "FF", tlv)
        await client.expect(rb"\x60\x00\x77\x77")
        await until(lambda: diary.joined)
        assert server.devices()[LAMP].manufacturer == "Maker"
        assert server.devices()[LAMP].battery_percent == 71


async def test_a_client_in_queue_mode_without_a_root_link() -> None:
    """As Anjay: a bare Q, no binding, the server instance is /1/1."""
    async with serving() as (server, diary, client):
        client.send(POST_RD, query("lwm2m=1.1", "ep=lamp1", "lt=86400", "Q"), "FF", b"</1/1>,</2>,</6>")
        await client.expect(rb"\x61\x41.*")
        await until(lambda: diary.joined)
        profile = server.devices()[LAMP]
        assert (profile.queue_mode, profile.lifetime_s, profile.manufacturer) == (True, 86400, "")


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\x40", b"\xff" * 40, bytes.fromhex("4102 0001 AA B2 7264 FF"), bytes.fromhex("4102 0001 AA B2 72")],
)
async def test_malformed_datagrams_change_nothing(datagram: bytes) -> None:
    async with serving() as (server, _, client):
        client.send(datagram)
        client.send(POST_RD, query("ep=lamp1", "lwm2m=1.1"), "FF", b"</1/0>")
        while (await client.receive())[1] != 0x41:
            pass
        assert server.registered_devices == 1
