"""A gateway that sends exactly what a test says and a device that really runs. CPython only."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from types import TracebackType

import cbor2
import coap
import sample
from coap import Message

from fita.model.platform import Platform
from fita.oci.build.compiler import compile_code
from fita.simulator.flash import DeviceSpec, write_flash

DEADLINE_S = 20.0
MICROPYTHON = Path(sys.executable).parent / "micropython"
AVERAGE = Path(__file__).resolve().parents[2] / "demos" / "temperature"


@cache
def compiled(code: str) -> bytes:
    return compile_code(Path("main.py"), code, Platform("micropython", "any", "v6"))


class SilenceError(AssertionError):
    """The device did not do within the deadline what it had to."""


class Gateway:
    """Answers registrations; sends one request at a time. Loses a share `loss` of all datagrams, by `seed`."""

    def __init__(self, *, loss: float = 0.0, seed: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self.socket.getsockname()
        self.device: tuple[str, int] | None = None
        self.registrations: list[tuple[int, list[str], list[str], str]] = []
        self.notifications: list[Message] = []
        self.registration_code = coap.CREATED
        self.update_code = coap.CHANGED
        self.refuses = False  # whether notifications are reset
        self._loss = loss
        self._random = random.Random(seed)
        self._mid = self._random.randrange(65536)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    # Datagrams

    def send(self, data: bytes, address: tuple[str, int] | None = None) -> None:
        if self._random.random() >= self._loss:
            self.socket.sendto(data, address or self._device())

    def _device(self) -> tuple[str, int]:
        assert self.device is not None
        return self.device

    def receive(self, timeout_s: float) -> Message | None:
        """The next message that is not part of a registration; None when there is none in time."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data, address = self.socket.recvfrom(2048)
            except TimeoutError:
                return None
            if self._random.random() < self._loss:
                continue
            message = coap.decode(data)
            if 0 < message.code < 32:
                self._serve(message, address)
            else:
                if message.kind == coap.CON:
                    kind = coap.RST if self.refuses else coap.ACK
                    self.send(Message(kind, coap.EMPTY, message.mid).encode(), address)
                    self.notifications.append(message)
                return message
        return None

    def _serve(self, message: Message, address: tuple[str, int]) -> None:
        path = message.texts(coap.URI_PATH)
        answer = Message(coap.ACK, self.update_code, message.mid, message.token)
        if message.code == coap.DELETE:
            answer.code = coap.DELETED
        elif path == ["rd"]:
            answer.code = self.registration_code
            answer.add(coap.LOCATION_PATH, "rd")
            answer.add(coap.LOCATION_PATH, "5a")
            self.device = address
        self.registrations.append(
            (message.code, path, message.texts(coap.URI_QUERY), bytes(message.payload).decode())
        )
        self.send(answer.encode(), address)

    def wait_for(self, done: object, what: str) -> None:
        """Take datagrams until `done()` is true."""
        assert callable(done)
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            if time.monotonic() > deadline:
                raise SilenceError(what)
            self.receive(0.1)

    def wait_registered(self, count: int = 1) -> None:
        def registered() -> bool:
            return sum(path == ["rd"] for _, path, _, _ in self.registrations) >= count

        self.wait_for(registered, "the device does not register")

    # Requests

    def request(self, code: int, path: str, payload: bytes = b"", **options: int) -> Message:
        """The answer to one request, repeated until it comes."""
        self._mid = (self._mid + 1) & 0xFFFF
        message = Message(coap.CON, code, self._mid, os.urandom(8), payload)
        for segment in path.strip("/").split("/"):
            message.add(coap.URI_PATH, segment)
        for name, value in options.items():
            message.add(getattr(coap, name), value)
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            self.send(message.encode())
            again = time.monotonic() + 0.3
            while (left := again - time.monotonic()) > 0:
                answer = self.receive(left)
                if answer is not None and answer.kind == coap.ACK and answer.mid == message.mid:
                    return answer
        raise SilenceError(f"no answer to {code} {path}")

    def read(self, path: str) -> object:
        """A value, or a dict of values by path, whatever number of blocks it takes; None when it is not there."""
        payload, number = b"", 0
        while True:
            answer = self.request(coap.GET, path, **({"BLOCK2": number << 4 | 6} if number else {}))
            if answer.code == coap.NOT_FOUND:
                return None
            assert answer.code == coap.CONTENT, (hex(answer.code), answer.payload)
            payload += answer.payload
            block = answer.option(coap.BLOCK2)
            if block is None or not block & 8:
                break
            number += 1
        if answer.option(coap.CONTENT_FORMAT) == coap.TEXT:
            return payload.decode()
        return {
            record[0]: next(value for name, value in record.items() if name not in (-2, 0))
            for record in cbor2.loads(payload)
        }

    def execute(self, path: str) -> int:
        return self.request(coap.POST, path).code

    def create(self) -> int:
        answer = self.request(coap.POST, "9")
        assert answer.code == coap.CREATED
        return int(answer.texts(coap.LOCATION_PATH)[1])

    def write_package(self, instance: int, data: bytes, exponent: int = 6) -> int:
        """Send a package in blocks; the last code."""
        code = 0
        for offset, part, more in sample.blocks(data, 16 << exponent):
            block = (offset >> exponent + 4) << 4 | more << 3 | exponent
            code = self.request(coap.PUT, f"9/{instance}/2", part, CONTENT_FORMAT=42, BLOCK1=block).code
            if code != coap.CONTINUE:
                break
        return code

    def deploy(self, code: str, phase: str = "running", **header: object) -> int:
        """Install and start a service and wait until it is in `phase`; the instance."""
        instance = self.create()
        self.write_package(instance, sample.package(compiled(code), **header))
        assert self.read(f"9/{instance}/7") == "3", self.read(f"9/{instance}")
        assert self.execute(f"9/{instance}/4") == coap.CHANGED
        assert self.read(f"9/{instance}/7") == "4"
        assert self.execute(f"9/{instance}/10") == coap.CHANGED
        self.wait_phase(instance, phase)
        return instance

    def wait_phase(self, instance: int, phase: str) -> None:
        self.wait_for(lambda: self.read(f"9/{instance}/27512") == phase, f"9/{instance} does not become {phase}")

    def used_bytes(self) -> int:
        """The device's heap in use, after a collection."""
        return int(str(self.read("35003/0/27402")))


class DeviceProcess:
    """The runtime in `firmware`, under MicroPython with a heap limit, with its flash in `folder`."""

    def __init__(self, firmware: Path, folder: Path, gateway: Gateway, **settings: object) -> None:
        self.folder = folder
        spec = {
            "endpoint": "b1_node1",
            "gateway": gateway.address,
            "folder": folder,
            "capabilities": ("temperature_sensor",),
            "signal": "constant:21.5",
        }
        self.spec = DeviceSpec(**{**spec, **settings})  # type: ignore[arg-type]
        self._firmware = firmware
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DeviceProcess:
        write_flash(self.spec)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if error is not None:
            sys.stdout.write(self.output())

    def start(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [MICROPYTHON, "-X", f"heapsize={self.spec.heap_bytes}", "-m", "main", self.folder],
                cwd=self._firmware,
                env={"MICROPYPATH": ""},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)

    @property
    def status(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8")

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "services").iterdir())
