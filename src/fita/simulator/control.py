"""The other end of the nursery's socket: starts its process, gives orders, passes on what it tells."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from fita.simulator import nursery
from fita.simulator.errors import SimulatorError

_MESSAGE_BYTES = 65536
_CLOSE_DEADLINE_S = 5.0


class Started(msgspec.Struct, frozen=True):
    """A device's process runs."""

    endpoint: str
    pid: int


class Ended(msgspec.Struct, frozen=True):
    """A device's process has ended with a wait status."""

    endpoint: str
    status: int


class _Message(msgspec.Struct):
    started: str | None = None
    ended: str | None = None
    pid: int = 0
    status: int = 0


class Control:
    """Use `open`. `told` is called with every message, in the event loop; `lost` when the nursery has died."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        connection: socket.socket,
        told: Callable[[Started | Ended], None],
        lost: Callable[[], None],
    ) -> None:
        self._process = process
        self._socket = connection
        self._told = told
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._receive)

    @classmethod
    async def open(
        cls,
        interpreter: Path,
        firmware: Path,
        told: Callable[[Started | Ended], None],
        lost: Callable[[], None],
    ) -> Control:
        """Start the nursery: `interpreter` holds its module, `firmware` the runtime's bytecode."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(nursery.__file__),
                str(interpreter),
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                cwd=firmware,  # a device imports from it by short paths, which it keeps in memory for ever
                env={"MICROPYPATH": ""},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # an interrupt from the keyboard is for us: we stop the devices in order
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours, told, lost)

    def start(self, endpoint: str, arguments: list[str], output: int) -> None:
        """Order a device to be started; `output` takes what it writes and is closed here."""
        order = {"start": endpoint, "arguments": arguments}
        try:
            self._send(order, output)
        finally:
            os.close(output)

    def signal(self, endpoint: str, number: signal.Signals) -> None:
        """Order a signal to be sent to a device; of no effect when it has ended."""
        self._send({"signal": endpoint, "number": int(number)})

    async def close(self) -> None:
        """End the nursery and with it every device that still runs."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        try:
            async with asyncio.timeout(_CLOSE_DEADLINE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _send(self, order: Mapping[str, object], *descriptors: int) -> None:
        try:
            socket.send_fds(self._socket, [msgspec.json.encode(order)], list(descriptors))
        except OSError as error:
            raise SimulatorError(
                f"the process of the emulated devices is gone: {error.strerror}", hint="start the devices again"
            ) from error

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket.fileno())
            self._lost()
            return
        message = msgspec.json.decode(data, type=_Message)
        if message.started is not None:
            self._told(Started(message.started, message.pid))
        elif message.ended is not None:
            self._told(Ended(message.ended, message.status))
