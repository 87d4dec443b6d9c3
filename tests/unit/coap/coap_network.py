"""A network in the loop's time, in place of UDP in the CoAP tests. It may lose, double, delay and reorder."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import looptime

from fita.coap.endpoint import CoapEndpoint
from fita.coap.interfaces import Peer
from fita.coap.message.format import Message, decode


class Datagram(NamedTuple):
    at: float
    source: Peer
    destination: Peer
    data: bytes

    @property
    def message(self) -> Message:
        return decode(self.data)


class Network:
    """Joins `NetworkTransport`s. `log` holds what was sent, in order; `passes` may decide to lose a datagram."""

    def __init__(
        self,
        *,
        rng: random.Random | None = None,
        loss: float = 0.0,
        doubling: float = 0.0,
        delay_s: tuple[float, float] = (0.01, 0.01),
    ) -> None:
        self.log: list[Datagram] = []
        self.passes: Callable[[Datagram], bool] = lambda datagram: True
        self._rng = rng or random.Random(1)
        self._loss = loss
        self._doubling = doubling
        self._delay_s = delay_s
        self._in_order: deque[Datagram] = deque()
        self._nodes: dict[Peer, Callable[[bytes, Peer], None]] = {}

    def attach(self, peer: Peer, receive: Callable[[bytes, Peer], None]) -> None:
        self._nodes[peer] = receive

    def detach(self, peer: Peer) -> None:
        self._nodes.pop(peer, None)

    def free_peer(self, host: str) -> Peer:
        return next((host, port) for port in range(40_000, 60_000) if (host, port) not in self._nodes)

    def carry(self, data: bytes, source: Peer, destination: Peer) -> None:
        loop = asyncio.get_running_loop()
        datagram = Datagram(loop.time(), source, destination, data)
        self.log.append(datagram)
        if not self.passes(datagram) or self._rng.random() < self._loss:
            return
        for _ in range(2 if self._rng.random() < self._doubling else 1):
            shortest, longest = self._delay_s
            if shortest == longest:  # a loop does not promise an order to calls of the same time
                self._in_order.append(datagram)
                loop.call_later(shortest, lambda: self._deliver(self._in_order.popleft()))
            else:
                loop.call_later(self._rng.uniform(shortest, longest), self._deliver, datagram)

    def _deliver(self, datagram: Datagram) -> None:
        receive = self._nodes.get(datagram.destination)
        if receive is not None:
            receive(datagram.data, datagram.source)

    def between(self, source: Peer, destination: Peer) -> list[Message]:
        """What `source` sent to `destination`."""
        return [entry.message for entry in self.log if (entry.source, entry.destination) == (source, destination)]


class NetworkTransport:
    """`fita.coap.interfaces.Transport` over a `Network`."""

    def __init__(self, network: Network) -> None:
        self.peer: Peer | None = None
        self._network = network

    async def open(self, host: str, port: int, receive: Callable[[bytes, Peer], None]) -> Peer:
        self.peer = (host, port) if port else self._network.free_peer(host)
        self._receive = receive
        return self.peer

    async def run(self) -> None:
        assert self.peer is not None
        self._network.attach(self.peer, self._receive)
        try:
            await asyncio.Event().wait()
        finally:
            self._network.detach(self.peer)

    def send(self, datagram: bytes, peer: Peer) -> None:
        if self.peer is not None:
            self._network.carry(datagram, self.peer, peer)

    def close(self) -> None:
        self.peer = None


class Script:
    """A peer in lock step: sends exactly the messages it is told and says what came."""

    def __init__(self, network: Network, peer: Peer) -> None:
        self.peer = peer
        self._network = network
        self._received: asyncio.Queue[Message] = asyncio.Queue()
        network.attach(peer, lambda datagram, source: self._received.put_nowait(decode(datagram)))

    def send(self, message: Message | bytes, destination: Peer) -> None:
        data = message if isinstance(message, bytes) else message.encode()
        self._network.carry(data, self.peer, destination)

    async def receive(self, within_s: float = 1000.0) -> Message:
        async with asyncio.timeout(within_s):
            return await self._received.get()

    def silent(self) -> bool:
        """Nothing has come that was not taken."""
        return self._received.empty()


@asynccontextmanager
async def running(*endpoints: CoapEndpoint) -> AsyncIterator[None]:
    """Run the endpoints, which are open, for the block; close them after it."""
    async with asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(endpoint.run()) for endpoint in endpoints]
        try:
            await asyncio.sleep(0)
            yield
        finally:
            for run in runs:
                run.cancel()
    for endpoint in endpoints:
        await endpoint.close()


def run_virtually(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` in a loop of its own whose time costs nothing; for property tests."""
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(main())
