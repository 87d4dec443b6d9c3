"""One emulated device as seen from outside: its process, what it writes, where it stands."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Literal

from fita.simulator.flash import DeviceSpec

LOG_FILE = "device.log"
_KEPT_LINES = 20
_LOG_BYTES = 1 << 20
"""A log that is longer is begun anew when its device starts."""
_READ_BYTES = 65536
_LINE_BYTES = 4096
_REGISTERED = "registered as "
_UNREGISTERED = ("update failed", "registration failed", "the server refuses", "cannot resolve")


class DeviceState(StrEnum):
    """Where a device stands, by what it writes."""

    STARTING = "starting"
    REGISTERED = "registered"
    UNREGISTERED = "not registered"
    STOPPED = "stopped"
    FAILED = "failed"


class SimulatedDevice:
    """A run of a device. `lines` are the last that it wrote; all of them are appended to `log_path`."""

    def __init__(
        self, spec: DeviceSpec, *, boots: int = 1, on_line: Callable[[str, str], None] | None = None
    ) -> None:
        self.spec = spec
        self.boots = boots
        self.state = DeviceState.STARTING
        self.pid: int | None = None
        self.expected = False  # whether its end was ordered
        self.started = asyncio.Event()
        self.registered = asyncio.Event()
        self.ended = asyncio.Event()
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._rest = b""
        self._reader = -1
        self._log = open(self.log_path, _log_mode(self.log_path), buffering=0)  # noqa: SIM115 - closed by `close`

    @property
    def alive(self) -> bool:
        """Whether its process runs, or is being started."""
        return not self.ended.is_set()

    @property
    def log_path(self) -> Path:
        return self.spec.folder / LOG_FILE

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines)

    def open_output(self) -> int:
        """Begin to take what the device writes; the file descriptor for it to write to."""
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        asyncio.get_running_loop().add_reader(self._reader, self._read)
        return writer

    def has_started(self, pid: int) -> None:
        self.pid = pid
        self.started.set()

    def has_ended(self) -> None:
        """Its process is gone: take what it wrote last."""
        while self._reader >= 0 and self._read():
            pass
        self.close()
        self.state = DeviceState.STOPPED
        self.ended.set()
        self.started.set()

    def close(self) -> None:
        """Stop taking what it writes."""
        if self._reader >= 0:
            asyncio.get_running_loop().remove_reader(self._reader)
            os.close(self._reader)
            self._reader = -1
        self._log.close()

    def _read(self) -> bool:
        """Take a piece of output; whether there may be more."""
        try:
            data = os.read(self._reader, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            asyncio.get_running_loop().remove_reader(self._reader)
            return False
        self._log.write(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LINE_BYTES:]
        for line in lines:
            self._take(line.decode(errors="replace").rstrip("\r"))
        return True

    def _take(self, line: str) -> None:
        self._lines.append(line)
        if line.startswith(_REGISTERED):
            self.state = DeviceState.REGISTERED
            self.registered.set()
        elif line.startswith(_UNREGISTERED):
            self.state = DeviceState.UNREGISTERED
        if self._on_line is not None:
            self._on_line(self.spec.endpoint, line)


def _log_mode(path: Path) -> Literal["ab", "wb"]:
    return "wb" if path.exists() and path.stat().st_size > _LOG_BYTES else "ab"
