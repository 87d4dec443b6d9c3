"""A network in memory and a device on it that implements object 9, with the ways in which devices fail.

It speaks CoAP in datagrams, so that everything from the socket upwards is the real thing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fita.coap.code import Code
from fita.coap.interfaces import Peer
from fita.coap.message import option
from fita.coap.message.format import ACK, CON, RST, Message, decode
from fita.coap.message.option import decode_uint, encode_uint
from fita.lwm2m.codec.content import encode_payload
from fita.lwm2m.codec.format import ContentFormat
from fita.lwm2m.path import Path
from fita.lwm2m.value import Value

SERVER: Peer = ("10.0.0.1", 5683)
Resources = dict[int, Any]


class Radio:
    """The server's `Transport` and the air between it and its devices. `loses(message, peer)` drops datagrams."""

    def __init__(self) -> None:
        self.devices: dict[Peer, FakeDevice] = {}
        self.loses: Callable[[Message, bool], bool] = lambda message, to_device: False
        self.requests: list[str] = []

    async def open(self, host: str, port: int, receive: Callable[[bytes, Peer], None]) -> Peer:
        self._receive = receive
        return SERVER

    async def run(self) -> None:
        await asyncio.Event().wait()

    def send(self, datagram: bytes, peer: Peer) -> None:
        device = self.devices.get(peer)
        message = decode(datagram)
        if device is None or device.dead or self.loses(message, True):
            return
        if message.code.is_request:
            path = "/".join(value.decode() for number, value in message.options if number == option.URI_PATH)
            self.requests.append(f"{message.code.phrase} /{path}")
        asyncio.get_running_loop().call_soon(device.receive, message)

    def transmit(self, message: Message, peer: Peer) -> None:
        """From a device to the server."""
        if not self.loses(message, False):
            asyncio.get_running_loop().call_soon(self._receive, message.encode(), peer)

    def close(self) -> None:
        self.devices.clear()


@dataclass(slots=True)
class Software:
    """An instance of object 9."""

    state: int = 0
    result: int = 0
    active: bool = False
    phase: str = "installing"
    restarts: int = 0
    error: str = ""
    header: dict[str, Any] = field(default_factory=dict)  # of what is installed
    delivered: dict[str, Any] = field(default_factory=dict)  # of what is not installed yet
    received: bytearray = field(default_factory=bytearray)


class FakeDevice:
    """One device. `own_runtime` False makes it one of FITA's: raw binaries, no resources from 27510 on.

    What it does with packages: `verdict(header)` gives the update result of a download, `start(header)` the phases
    that a service goes through when it is activated.
    """

    def __init__(
        self, radio: Radio, *, endpoint: str = "lamp1", peer: Peer = ("10.0.1.1", 5683), own_runtime: bool = True
    ) -> None:
        self.radio = radio
        self.endpoint = endpoint
        self.peer = peer
        self.own_runtime = own_runtime
        self.dead = False
        self.silent = False  # hears everything and answers nothing
        self.formats = {ContentFormat.SENML_CBOR, ContentFormat.TEXT}
        self.observable = True
        self.location: list[str] = []
        self.installed_bytes = b""
        self.software: dict[int, Software] = {}
        self.verdict: Callable[[dict[str, Any]], int] = lambda header: 3
        self.start: Callable[[dict[str, Any]], list[str]] = lambda header: ["starting", "running"]
        self.objects: dict[int, dict[int, Resources]] = {
            3: {0: {0: "FITA", 1: "fake", 10: 40, 11: {0: 0}, 21: 128}},
            15: {0: {0: "temperature_sensor;led", 1: 0}},
        }
        if own_runtime:
            self.objects[35010] = {
                0: {27500: "micropython/armv7em/v6", 27501: 1, 27502: 50_000, 27503: 40_000, 27504: 200_000,
                    27505: 150_000, 27506: 5, 27507: "0.1.0"}
            }  # fmt: skip
        self._next_instance = 999
        self._message_id = 100
        self._answers: dict[bytes, asyncio.Future[Message]] = {}
        self._answered: dict[int, Message] = {}
        self.observations: dict[bytes, tuple[Path, ContentFormat | None, int]] = {}
        radio.devices[peer] = self

    # Registration

    async def post(
        self, *path: str, query: tuple[str, ...] = (), payload: bytes = b"", delete: bool = False
    ) -> Message:
        """Send a request to the server and return the response."""
        options = [(option.URI_PATH, part.encode()) for part in path]
        options += [(option.URI_QUERY, part.encode()) for part in query]
        if payload:
            options.append((option.CONTENT_FORMAT, encode_uint(40)))
        self._message_id += 1
        token = self._message_id.to_bytes(2, "big")
        answer = self._answers[token] = asyncio.get_running_loop().create_future()
        code = Code.DELETE if delete else Code.POST
        self.radio.transmit(Message(CON, code, self._message_id, token, tuple(options), payload), self.peer)
        return await answer

    async def register(self, *, lifetime_s: int = 60, **query: str) -> Message:
        """Register as a device that has just started: without observations."""
        self.observations.clear()
        parameters = {"ep": self.endpoint, "lt": str(lifetime_s), "lwm2m": "1.1", **query}
        answer = await self.post(
            "rd", query=tuple(f"{key}={value}" for key, value in parameters.items()), payload=self.links()
        )
        self.location = [value.decode() for number, value in answer.options if number == option.LOCATION_PATH]
        return answer

    async def update(self, *, links: bool = False) -> Message:
        return await self.post(*self.location, payload=self.links() if links else b"")

    def links(self) -> bytes:
        parts = ['</>;rt="oma.lwm2m";ct=112']
        for number, instances in sorted({**self.objects, 9: dict.fromkeys(self.software)}.items()):
            parts += [f"</{number}/{instance}>" for instance in instances] or [f"</{number}>"]
        return ",".join(parts).encode()

    # What comes in

    def receive(self, message: Message) -> None:
        if self.silent:
            return
        if message.code == Code.EMPTY:
            if message.type is RST:
                self.observations = {
                    t: entry for t, entry in self.observations.items() if entry[2] != message.message_id
                }
            return
        if not message.code.is_request:
            answer = self._answers.pop(message.token, None)
            if answer is not None:
                answer.set_result(message)
            return
        if message.message_id not in self._answered:
            self._answered[message.message_id] = self._answer(message)
        if not self.dead:
            self.radio.transmit(self._answered[message.message_id], self.peer)

    def _answer(self, message: Message) -> Message:
        path = tuple(int(value) for number, value in message.options if number == option.URI_PATH)
        methods = {Code.GET: self._get, Code.PUT: self._put, Code.POST: self._post, Code.DELETE: self._delete}
        try:
            code, options, payload = methods[message.code](message, path)
        except KeyError:
            code, options, payload = Code.NOT_FOUND, (), b""
        return Message(ACK, code, message.message_id, message.token, tuple(options), payload)

    def _option(self, message: Message, wanted: int) -> int | None:
        return next((decode_uint(value) for number, value in message.options if number == wanted), None)

    def _get(self, message: Message, path: tuple[int, ...]) -> tuple[Code, tuple[Any, ...], bytes]:
        accept = self._option(message, option.ACCEPT)
        if accept is not None and accept not in self.formats:
            return Code.NOT_ACCEPTABLE, (), b"another format, please"
        content_format = ContentFormat(accept if accept is not None else min(self.formats))
        payload = encode_payload(self.values(Path(*path)), content_format)
        options = [(option.CONTENT_FORMAT, encode_uint(content_format))]
        if self._option(message, option.OBSERVE) == 0 and self.observable:
            self.observations[message.token] = (Path(*path), content_format, 0)
            options.append((option.OBSERVE, b""))
        return Code.CONTENT, tuple(options), payload

    def values(self, path: Path) -> dict[Path, Value]:
        """What is at `path`; `KeyError` when nothing is."""
        instances = self.resources(path.object_id)
        if path.instance_id is not None:
            instances = {path.instance_id: instances[path.instance_id]}
        found: dict[Path, Value] = {}
        for instance, resources in instances.items():
            for resource, value in resources.items():
                if path.resource_id in (None, resource):
                    for index, item in value.items() if isinstance(value, dict) else [(None, value)]:
                        found[Path(path.object_id, instance, resource, index)] = item
        return found

    def resources(self, object_id: int) -> dict[int, Resources]:
        if object_id != 9:
            return self.objects[object_id]
        return {instance: self._software(item) for instance, item in self.software.items()}

    def _software(self, item: Software) -> Resources:
        shown = item.header or item.delivered
        resources: Resources = {7: item.state, 9: item.result, 12: item.active}
        if shown:
            resources |= {0: shown["name"], 1: str(shown["version"])}
        if self.own_runtime:
            resources |= {27510: shown.get("id", ""), 27511: shown.get("digest", ""), 27512: item.phase}
            resources |= {27513: item.restarts, 27514: item.error}
        return resources

    # Object 9

    def _put(self, message: Message, path: tuple[int, ...]) -> tuple[Code, tuple[Any, ...], bytes]:
        if path[0] != 9:
            self.objects[path[0]][path[1]][path[2]] = message.payload.decode()
            return Code.CHANGED, (), b""
        item = self.software[path[1]]
        bits = self._option(message, option.BLOCK1)
        if bits is None or bits >> 4 == 0:
            item.received.clear()
            item.state, item.result = 1, 1
        item.received += message.payload
        options = () if bits is None else ((option.BLOCK1, encode_uint(bits)),)
        if bits is not None and bits & 8:
            return Code.CONTINUE, options, b""
        header = self._parse(bytes(item.received))
        item.result = self.verdict(header)
        item.delivered = header if item.result == 3 else {}
        item.state = 3 if item.result == 3 else (4 if item.header else 0)
        self.changed(path[1])
        return Code.CHANGED, options, b""

    def _parse(self, package: bytes) -> dict[str, Any]:
        self.installed_bytes = package
        if not self.own_runtime:
            return {"name": "average", "version": 1}
        assert package[:4] == b"FSP\1"
        length = int.from_bytes(package[4:6], "big")
        header: dict[str, Any] = json.loads(package[6 : 6 + length])
        return header

    def _post(self, message: Message, path: tuple[int, ...]) -> tuple[Code, tuple[Any, ...], bytes]:
        if path == (9,):
            instance = self._next_instance = max([self._next_instance, *self.software]) + 1
            self.software[instance] = Software()
            location = tuple((option.LOCATION_PATH, part) for part in (b"9", str(instance).encode()))
            return Code.CREATED, location, b""
        item = self.software[path[1]]
        {4: self._install, 6: self._uninstall, 10: self._activate, 11: self._deactivate}[path[2]](item)
        self.changed(path[1])
        return Code.CHANGED, (), b""

    def _install(self, item: Software) -> None:
        before, item.header, item.delivered = item.header, item.delivered, {}
        item.state, item.result = 4, 2
        if not before:
            item.phase = "stopped"
        elif item.active:
            self._run(item)
            if item.phase == "crashed":
                item.header, item.result, item.error, item.phase = before, 58, "update failed: no", "running"

    def _uninstall(self, item: Software) -> None:
        item.state, item.phase, item.header, item.active = 0, "installing", {}, False

    def _activate(self, item: Software) -> None:
        item.active = True
        self._run(item)

    def _run(self, item: Software) -> None:
        for phase in self.start(item.header):
            item.phase = phase
            item.error = "boom" if phase == "crashed" else ""

    def _deactivate(self, item: Software) -> None:
        item.active, item.phase = False, "stopped"

    def _delete(self, message: Message, path: tuple[int, ...]) -> tuple[Code, tuple[Any, ...], bytes]:
        del self.software[path[1]]
        self.changed(path[1])
        return Code.DELETED, (), b""

    # Notifications

    def changed(self, instance: int, object_id: int = 9) -> None:
        """Notify whoever observes the instance."""
        for token, (path, content_format, _) in list(self.observations.items()):
            if path == Path(object_id, instance):
                self._message_id += 1
                self.observations[token] = (path, content_format, self._message_id)
                asyncio.get_running_loop().call_soon(self._notify, token, path, content_format, self._message_id)

    def _notify(self, token: bytes, path: Path, content_format: int, message_id: int) -> None:
        if self.dead or self.silent:
            return
        try:
            payload = encode_payload(self.values(path), content_format)
        except KeyError:
            self.observations.pop(token, None)
            self.radio.transmit(Message(CON, Code.NOT_FOUND, message_id, token), self.peer)
            return
        options = ((option.OBSERVE, encode_uint(message_id)), (option.CONTENT_FORMAT, encode_uint(content_format)))
        self.radio.transmit(Message(CON, Code.CONTENT, message_id, token, options, payload), self.peer)
