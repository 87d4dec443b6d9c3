"""One UDP socket that is client and server at once, as an LwM2M server must be.

See `fita.coap.interfaces` for what it promises. This module joins the parts: `transport` carries datagrams,
`reliability` makes messages of them, `serving`, `client` and `observation` requests and responses.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine

from fita.coap.errors import EndpointClosedError
from fita.coap.interfaces import (
    Limits,
    OnNotification,
    Peer,
    Request,
    RequestHandler,
    Response,
    TransmissionParameters,
    Transport,
)
from fita.coap.message.exchange import Counters
from fita.coap.message.reliability import MessageLayer
from fita.coap.peer import canonical_peer
from fita.coap.request.blockwise import size_exponent
from fita.coap.request.client import Client
from fita.coap.request.observation import Observation, ObservationRegistry
from fita.coap.request.serving import NotFoundHandler, Server
from fita.coap.transport import UdpTransport

__all__ = ["CoapEndpoint", "Observation"]


class _Roles:
    """`MessageUser`: this endpoint as server and as client."""

    def __init__(self, server: Server, client: Client) -> None:
        self.on_request = server.on_request
        self.on_response = client.on_response


class CoapEndpoint:
    """Sends requests, serves requests, observes; over one socket."""

    def __init__(
        self,
        handler: RequestHandler | None = None,
        *,
        parameters: TransmissionParameters | None = None,
        limits: Limits | None = None,
        transport: Transport | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Without a `handler` every request is answered 4.04. `rng` makes tests repeatable; tokens must else be
        unpredictable."""
        parameters = parameters or TransmissionParameters()
        limits = limits or Limits()
        rng = rng or random.SystemRandom()
        self._transport = transport or UdpTransport(send_queue=limits.send_queue)
        self._layer = MessageLayer(self._transport.send, parameters=parameters, limits=limits, rng=rng)
        self._client = Client(self._layer, rng=rng, body_bytes=limits.body_bytes)
        self._observations = ObservationRegistry(self._client, self._spawn)
        server = Server(
            self._layer,
            handler or NotFoundHandler(),
            limits=limits,
            lifetime_s=parameters.exchange_lifetime_s,
            spawn=self._spawn,
        )
        self._layer.user = _Roles(server, self._client)
        self._loop: asyncio.AbstractEventLoop | None = None  # set while the endpoint is open
        self._tasks: asyncio.TaskGroup | None = None  # set while it runs
        self._wake: asyncio.TimerHandle | None = None

    @property
    def counters(self) -> Counters:
        """What was received, repeated, rejected since the start."""
        return self._layer.counters

    @property
    def observations(self) -> int:
        """How many observations are alive."""
        return len(self._observations)

    async def open(self, host: str, port: int) -> Peer:
        """Bind; ``::`` takes IPv6 and IPv4, port 0 a free one. Returns the address. Raises `TransportError`."""
        address = await self._transport.open(host, port, self._receive)
        self._loop = asyncio.get_running_loop()
        return address

    async def run(self) -> None:
        """Receive, retransmit and serve until cancelled. Nothing is received before it runs."""
        self._check_open()
        self._layer.timers.on_earlier = self._wake_at
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._expire(0)
                try:
                    await self._transport.run()
                finally:
                    self._tasks = None
                    await asyncio.sleep(0)  # handlers begin that were just called, so that they can be cancelled
        finally:
            self._layer.timers.on_earlier = None
            if self._wake is not None:
                self._wake.cancel()
                self._wake = None

    async def request(self, peer: Peer, request: Request, *, block_size: int = 1024) -> Response:
        """Send `request` confirmably and return the whole response, whatever its code; blocks are handled.

        The caller owns the deadline (``asyncio.timeout``); a cancelled request leaves nothing behind.
        `block_size` in bytes (16 to 1024, a power of two) is the largest block to propose, in both directions.
        Raises `ExchangeError` (timeout, reset, busy, closed), `BlockwiseError`, `BadOptionError`, and
        `TransportError` for a peer that is no numeric address.
        """
        self._check_open()
        return await self._client.request(canonical_peer(peer), request, size_exponent(block_size))

    async def observe(self, peer: Peer, request: Request, on_notification: OnNotification) -> Observation:
        """Observe what `request` (GET or FETCH) names and return once the peer has agreed.

        `on_notification` has been called with the first representation then. Raises like `request`; also
        `ResponseError` for an error code, `NotObservableError` if the peer answered without observing.
        """
        self._check_open()
        return await self._observations.observe(canonical_peer(peer), request, on_notification)

    def rebind(self, old_peer: Peer, new_peer: Peer) -> None:
        """The device at `old_peer` is now at `new_peer`: move its observations and requests under way."""
        old_peer, new_peer = canonical_peer(old_peer), canonical_peer(new_peer)
        if old_peer != new_peer:
            self._layer.rebind(old_peer, new_peer)
            self._observations.rebind(old_peer, new_peer)

    def forget(self, peer: Peer) -> None:
        """Drop the peer: requests under way raise `EndpointClosedError`, observations end as by `forget`."""
        peer = canonical_peer(peer)
        self._observations.forget(peer)
        self._layer.forget(peer)

    async def close(self) -> None:
        """Release the socket; requests under way raise `EndpointClosedError`."""
        self._loop = None
        self._observations.forget_all()
        self._layer.forget_all()
        self._transport.close()

    def _check_open(self) -> None:
        if self._loop is None:
            raise EndpointClosedError("the endpoint is not open")

    def _receive(self, datagram: bytes, peer: Peer) -> None:
        if self._loop is not None:
            self._layer.receive(datagram, peer, self._loop.time())

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> bool:
        if self._tasks is None:
            coroutine.close()
            return False
        self._tasks.create_task(coroutine)
        return True

    def _wake_at(self, deadline: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        if self._loop is not None:
            self._wake = self._loop.call_at(deadline, self._expire, deadline)

    def _expire(self, due: float) -> None:
        if self._loop is None:
            return
        timers = self._layer.timers
        try:
            timers.expire(max(due, self._loop.time()))  # a loop may wake a little early
        finally:
            deadline = timers.next_deadline()
            if deadline is not None:
                self._wake_at(deadline)
