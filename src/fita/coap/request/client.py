"""The client role: requests and their responses, bodies in blocks. Observations are in `observation`."""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

from fita.base.errors import FitaError
from fita.coap.errors import BadOptionError
from fita.coap.interfaces import Peer, Request, Response
from fita.coap.message import option
from fita.coap.message.exchange import Exchange, ExchangeOwner, Verdict
from fita.coap.message.format import Message
from fita.coap.message.reliability import MessageLayer
from fita.coap.request.blockwise import (
    Download,
    Upload,
    find_block,
    first_request,
    smaller_upload,
    without_blocks,
)
from fita.coap.request.mapping import read_response, request_options

TOKEN_BYTES = 8  # random, so that nobody off the path can guess one (RFC 7252 section 11.4)


class Receiver(Protocol):
    """Whoever waits for messages with a token."""

    @property
    def peer(self) -> Peer:
        """Whom the messages must come from."""
        ...

    def receive(self, message: Message, now: float) -> Verdict:
        """A response in a message of its own."""
        ...


class Waiter:
    """One request that waits for its response. `exchange` is set as soon as it was sent."""

    __slots__ = ("exchange", "future")

    def __init__(self) -> None:
        self.future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.exchange: Exchange

    @property
    def peer(self) -> Peer:
        return self.exchange.context.peer

    def answered(self, message: Message, now: float) -> None:
        del now
        self._read(message)

    def failed(self, error: FitaError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def receive(self, message: Message, now: float) -> Verdict:
        del now
        return Verdict.TAKEN if self._read(message) else Verdict.UNKNOWN

    def _read(self, message: Message) -> bool:
        try:
            response = read_response(message)
        except BadOptionError as error:
            self.failed(error)
            return False
        if not self.future.done():
            self.future.set_result(response)
        return True


class Client:
    """Sends requests. `receivers` are all who wait, by token."""

    def __init__(self, layer: MessageLayer, *, rng: random.Random, body_bytes: int) -> None:
        self.layer = layer
        self.receivers: dict[bytes, Receiver] = {}
        self._rng = rng
        self._body_bytes = body_bytes

    def new_token(self) -> bytes:
        return self._rng.randbytes(TOKEN_BYTES)

    def on_response(self, message: Message, peer: Peer, now: float) -> Verdict:
        """Part of `MessageUser`."""
        receiver = self.receivers.get(message.token)
        if receiver is None or receiver.peer != peer:
            return Verdict.UNKNOWN
        return receiver.receive(message, now)

    async def request(self, peer: Peer, request: Request, exponent: int) -> Response:
        """The whole response to `request`, with blocks of at most 16 << `exponent` bytes in both directions."""
        if len(request.payload) > 16 << exponent:
            response, peer = await self._upload(peer, request, exponent)
        else:
            response, peer = await self.exchange(peer, first_request(request, exponent))
            if response.options:
                smaller = smaller_upload(request, response)
                if smaller is not None:
                    response, peer = await self._upload(peer, request, smaller)
        return await self.complete(peer, request, response) if response.options else response

    async def _upload(self, peer: Peer, request: Request, exponent: int) -> tuple[Response, Peer]:
        upload = Upload(request, exponent)
        while True:
            response, peer = await self.exchange(peer, upload.next_request())
            if upload.receive(response):
                return response, peer

    async def complete(self, peer: Peer, request: Request, first: Response) -> Response:
        """`first` with the whole body, the rest of which is fetched. Raises `BlockwiseError`, `ExchangeError`."""
        if find_block(option.BLOCK2, first.options) is None:
            return without_blocks(first)
        download = Download(request, first, self._body_bytes)
        whole = download.receive(first)
        while whole is None:
            response, peer = await self.exchange(peer, download.next_request())
            whole = download.receive(response)
        return whole

    async def exchange(self, peer: Peer, request: Request) -> tuple[Response, Peer]:
        """One request and its response in one message each, and where the peer is now (it may have moved)."""
        waiter = Waiter()
        await self.wait(waiter, peer, request, self.new_token())
        return waiter.future.result(), waiter.peer

    async def wait(self, waiter: Waiter, peer: Peer, request: Request, token: bytes) -> None:
        """Send `request` and return when `waiter` has its response; leaves nothing behind in any case."""
        loop = asyncio.get_running_loop()
        exchange = self.send(waiter, peer, request, token, loop.time())
        waiter.exchange = exchange
        self.receivers[token] = waiter
        try:
            await waiter.future
        finally:
            del self.receivers[token]
            self.layer.end(exchange, loop.time())

    def send(self, owner: ExchangeOwner, peer: Peer, request: Request, token: bytes, now: float) -> Exchange:
        return self.layer.start(
            peer,
            request.method,
            token=token,
            options=request_options(request),
            payload=request.payload,
            owner=owner,
            now=now,
        )
