"""The gateway's CoAP against the device's own (`device/coap.py`, `device/exchange.py`), run by CPython."""

from __future__ import annotations

import asyncio
import importlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from coap_network import Network, NetworkTransport, run_virtually, running
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.coap.code import Code
from fita.coap.endpoint import CoapEndpoint
from fita.coap.errors import MalformedMessageError, RequestTimeoutError
from fita.coap.interfaces import Peer, Request, Response
from fita.coap.message.format import ACK, CON, NON, Message, decode

DEVICE_FOLDER = Path(__file__).parents[3] / "device"
GATEWAY = ("192.0.2.2", 5683)
DEVICE = ("192.0.2.1", 5683)


@pytest.fixture(scope="module")
def device() -> Iterator[SimpleNamespace]:
    """The device's modules `coap` and `exchange`; what was imported for them is taken back."""
    names = ("micropython", "coap", "exchange")
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    micropython: Any = ModuleType("micropython")
    micropython.const = lambda value: value
    sys.modules["micropython"] = micropython
    sys.path.insert(0, str(DEVICE_FOLDER))
    try:
        yield SimpleNamespace(coap=importlib.import_module("coap"), exchange=importlib.import_module("exchange"))
    finally:
        sys.path.remove(str(DEVICE_FOLDER))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)


messages = st.builds(
    Message,
    st.sampled_from([CON, NON, ACK]),
    st.sampled_from([Code.GET, Code.POST, Code.CONTENT, Code.CHANGED, Code.NOT_FOUND]),
    st.integers(0, 0xFFFF),
    st.binary(max_size=8),
    st.lists(st.tuples(st.integers(0, 1000), st.binary(max_size=300)), max_size=6).map(
        lambda options: tuple(sorted(options, key=lambda entry: entry[0]))
    ),
    st.binary(max_size=40),
)


@given(messages)
@settings(max_examples=100)
def test_both_codecs_write_and_read_the_same(device: SimpleNamespace, message: Message) -> None:
    theirs = device.coap.decode(message.encode())
    assert (theirs.kind, theirs.code, theirs.mid) == (message.type, message.code, message.message_id)
    assert (theirs.token, theirs.payload) == (message.token, message.payload)
    assert tuple(theirs.options) == message.options
    assert theirs.encode() == message.encode()


@given(st.binary(max_size=40))
@settings(max_examples=200)
def test_what_the_device_accepts_the_gateway_reads_alike(device: SimpleNamespace, datagram: bytes) -> None:
    try:
        theirs = device.coap.decode(datagram)
        ours = decode(datagram)
    except (ValueError, MalformedMessageError):
        return  # the gateway is the stricter one: reserved code classes, option numbers over 65535
    assert (theirs.token, tuple(theirs.options), theirs.payload) == (ours.token, ours.options, ours.payload)


class DeviceNode:
    """The device's exchange on the network: counts the writes it gets, and answers reads with their number."""

    def __init__(self, device: SimpleNamespace, network: Network) -> None:
        self.writes: list[bytes] = []
        self._coap = device.coap
        self.exchange = device.exchange.Exchange(
            lambda datagram, peer: network.carry(bytes(datagram), DEVICE, peer), self._handle
        )
        network.attach(DEVICE, self._receive)

    def _receive(self, datagram: bytes, source: Peer) -> None:
        self.exchange.receive(datagram, source, self._now())

    def _handle(self, message: Any, address: Peer, now: int) -> Any:
        answer = self._coap.Message(self._coap.ACK, self._coap.CHANGED, 0)
        if message.code == self._coap.PUT:
            self.writes.append(message.payload)
        else:
            answer.code = self._coap.CONTENT
            answer.payload = b"%d" % len(self.writes)
        return answer

    def _now(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)

    async def run(self) -> None:
        while True:
            self.exchange.poll(self._now())
            await asyncio.sleep(0.1)

    async def register(self, name: str) -> Any:
        """Send a registration; returns what came back, None for silence."""
        message = self._coap.Message(self._coap.CON, self._coap.POST, 0, payload=b"</3/0>")
        message.add(self._coap.URI_PATH, "rd")
        message.add(self._coap.URI_QUERY, "ep=" + name)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.exchange.request(message, GATEWAY, self._now(), lambda context, reply: done.set_result(reply))
        return await done


class Registry:
    def __init__(self) -> None:
        self.endpoints: list[str] = []

    def handle(self, request: Request, peer: Peer) -> Response:
        self.endpoints += request.query
        return Response(code=Code.CREATED, location_path=("rd", str(len(self.endpoints))))


@given(seed=st.integers(0, 2**32), loss=st.floats(0, 0.3), doubling=st.floats(0, 0.5), delay=st.floats(0.002, 1))
@settings(max_examples=15, deadline=None)
def test_both_talk_over_a_bad_network(
    device: SimpleNamespace, seed: int, loss: float, doubling: float, delay: float
) -> None:
    registry = Registry()

    async def main() -> None:
        network = Network(rng=random.Random(seed), loss=loss, doubling=doubling, delay_s=(0.001, delay))
        gateway = CoapEndpoint(registry, transport=NetworkTransport(network), rng=random.Random(seed))
        await gateway.open(*GATEWAY)
        node = DeviceNode(device, network)
        written = []
        async with running(gateway), asyncio.TaskGroup() as tasks:
            run = tasks.create_task(node.run())
            registered = tasks.create_task(node.register("b1"))
            for number in range(5):
                payload = b"%d" % number
                try:
                    response = await gateway.request(
                        DEVICE, Request(method=Code.PUT, path=("3",), payload=payload)
                    )
                except RequestTimeoutError:
                    continue
                assert response.code == Code.CHANGED
                written.append(payload)
            reply = await registered
            run.cancel()
        assert len(node.writes) == len(set(node.writes)), "a duplicate was written twice"
        assert set(written) <= set(node.writes)
        assert registry.endpoints in (["ep=b1"], [])
        assert reply is None or reply.code == device.coap.CREATED

    registry.endpoints.clear()
    run_virtually(main)
