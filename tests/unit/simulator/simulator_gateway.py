"""A gateway that only registers devices, and tells who came and went."""

from __future__ import annotations

import asyncio
from typing import cast

from fita.coap.code import Code
from fita.coap.message.format import ACK, CON, Message, decode
from fita.coap.message.option import LOCATION_PATH, URI_PATH, URI_QUERY


class RegisteringGateway(asyncio.DatagramProtocol):
    """`address` is where devices register once it is bound; `came` and `gone` count endpoints."""

    def __init__(self) -> None:
        self.address = ("127.0.0.1", 0)
        self.came: dict[str, int] = {}
        self.gone = 0
        self._devices: dict[str, tuple[str, int]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def bind(cls) -> RegisteringGateway:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.address = transport.get_extra_info("sockname")

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def reboot(self, endpoint: str) -> None:
        """Execute /3/0/4 of a device."""
        path = tuple((URI_PATH, segment) for segment in (b"3", b"0", b"4"))
        assert self._transport is not None
        self._transport.sendto(Message(CON, Code.POST, 1, b"r", path).encode(), self._devices[endpoint])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = decode(data)
        if request.type is ACK:
            return
        path = [value.decode() for number, value in request.options if number == URI_PATH]
        options: tuple[tuple[int, bytes], ...] = ()
        if request.code == Code.DELETE:
            code = Code.DELETED
            self.gone += 1
        elif path == ["rd"]:
            code = Code.CREATED
            query = [value.decode() for number, value in request.options if number == URI_QUERY]
            endpoint = next(text[3:] for text in query if text.startswith("ep="))
            self.came[endpoint] = self.came.get(endpoint, 0) + 1
            self._devices[endpoint] = addr
            options = ((LOCATION_PATH, b"rd"), (LOCATION_PATH, b"1"))
        else:
            code = Code.CHANGED
        answer = Message(ACK, code, request.message_id, request.token, options)
        assert self._transport is not None
        self._transport.sendto(answer.encode(), addr)
