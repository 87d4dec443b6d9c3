"""Emulated devices: the real runtime in processes of their own, with a real heap limit each.

They end with this process, however it ends. A device that asks to reboot is started again; one that ends otherwise
and was not told to is reported.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import structlog

from fita.simulator.control import Control, Ended, Started
from fita.simulator.device import DeviceState, SimulatedDevice
from fita.simulator.errors import DeviceExitedError, EndpointInUseError, UnknownDeviceError
from fita.simulator.firmware import compile_firmware, interpreter_folder
from fita.simulator.flash import DeviceSpec, write_flash

log = structlog.get_logger(__name__)

STOP_DEADLINE_S = 6.0
"""A device says goodbye to its gateway for at most three seconds."""
START_DEADLINE_S = 30.0
_REBOOT_STATUS = 3

__all__ = ["DeviceSpec", "Fleet", "SimulatedDevice"]


class Fleet:
    """Emulated devices by endpoint. ``async with Fleet(specs)`` starts them and stops what is left at its end.

    `on_line(endpoint, line)` is called with every line that a device writes; `on_exit(error)` with every end that
    nobody ordered.
    """

    def __init__(
        self,
        specs: Iterable[DeviceSpec] = (),
        *,
        on_line: Callable[[str, str], None] | None = None,
        on_exit: Callable[[DeviceExitedError], None] | None = None,
    ) -> None:
        self._specs = tuple(specs)
        self._on_line = on_line
        self._on_exit = on_exit
        self._devices: dict[str, SimulatedDevice] = {}
        self._firmware = TemporaryDirectory(prefix="fita-firmware-")
        self._control: Control | None = None

    @property
    def devices(self) -> Mapping[str, SimulatedDevice]:
        """Every device that was started, whether it still runs or not."""
        return self._devices

    async def __aenter__(self) -> Fleet:
        try:
            await asyncio.to_thread(compile_firmware, Path(self._firmware.name))
            self._control = await Control.open(
                interpreter_folder(), Path(self._firmware.name), self._told, self._lost
            )
            for spec in self._specs:
                self._launch(spec)
            async with asyncio.timeout(START_DEADLINE_S):
                for device in self._devices.values():
                    await device.started.wait()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._stop([device for device in self._devices.values() if device.alive])
        finally:
            await self._close()

    async def start(self, spec: DeviceSpec) -> SimulatedDevice:
        """Start a device, anew with what is in its flash if it was there before. Its process runs on return."""
        device = self._launch(spec)
        async with asyncio.timeout(START_DEADLINE_S):
            await device.started.wait()
        return device

    async def kill(self, endpoint: str) -> None:
        """Take the device's power away. It is gone on return; its flash stays as it was at that moment."""
        device = self._find(endpoint)
        device.expected = True
        self._signal(device, signal.SIGKILL)
        await device.ended.wait()

    async def stop(self, endpoint: str) -> None:
        """Let the device stop its services and deregister. It is gone on return."""
        await self._stop([self._find(endpoint)])

    async def restart(self, endpoint: str) -> SimulatedDevice:
        """Stop the device if it runs, and start it again from its flash."""
        device = self._find(endpoint)
        if device.alive:
            await self.stop(endpoint)
        return await self.start(device.spec)

    def _find(self, endpoint: str) -> SimulatedDevice:
        if endpoint not in self._devices:
            raise UnknownDeviceError(endpoint)
        return self._devices[endpoint]

    def _launch(self, spec: DeviceSpec) -> SimulatedDevice:
        for other in self._devices.values():
            if other.alive and spec.endpoint == other.spec.endpoint:
                raise EndpointInUseError(f"the device {spec.endpoint} runs already", hint="give it another name")
            if other.alive and spec.folder == other.spec.folder:
                raise EndpointInUseError(
                    f"{other.spec.endpoint} runs in {spec.folder}", hint="give it another folder"
                )
        write_flash(spec)
        before = self._devices.get(spec.endpoint)
        device = SimulatedDevice(spec, on_line=self._on_line, boots=before.boots + 1 if before else 1)
        self._devices[spec.endpoint] = device
        if self._control is None:
            raise RuntimeError("use the fleet with `async with`")
        self._control.start(spec.endpoint, _arguments(spec), device.open_output())
        return device

    def _signal(self, device: SimulatedDevice, number: signal.Signals) -> None:
        if self._control is not None and device.alive:
            self._control.signal(device.spec.endpoint, number)

    async def _stop(self, devices: list[SimulatedDevice]) -> None:
        for device in devices:
            device.expected = True
            self._signal(device, signal.SIGINT)
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                for device in devices:
                    await device.ended.wait()
        except TimeoutError:
            for device in devices:
                self._signal(device, signal.SIGKILL)
            async with asyncio.timeout(STOP_DEADLINE_S):
                for device in devices:
                    await device.ended.wait()

    async def _close(self) -> None:
        if self._control is not None:
            await self._control.close()
        for device in self._devices.values():
            device.close()
        self._firmware.cleanup()

    def _told(self, message: Started | Ended) -> None:
        device = self._devices[message.endpoint]
        if isinstance(message, Started):
            device.has_started(message.pid)
            return
        code = os.waitstatus_to_exitcode(message.status)
        device.has_ended()
        if code == _REBOOT_STATUS:
            log.info("device reboots", endpoint=message.endpoint)
            self._launch(device.spec)
        elif not device.expected:
            self._report(device, code)

    def _lost(self) -> None:
        """The process that all devices come from has died, and they with it."""
        for device in self._devices.values():
            if device.alive:
                device.has_ended()
                self._report(device, -signal.SIGKILL)

    def _report(self, device: SimulatedDevice, code: int) -> None:
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        error = DeviceExitedError(device.spec.endpoint, how, device.lines, device.log_path)
        device.state = DeviceState.FAILED
        log.warning("device ended", endpoint=device.spec.endpoint, how=how, lines=device.lines[-3:])
        if self._on_exit is not None:
            self._on_exit(error)


def _arguments(spec: DeviceSpec) -> list[str]:
    return ["micropython", "-X", f"heapsize={spec.heap_bytes}", "-m", "main", str(spec.folder.absolute())]
