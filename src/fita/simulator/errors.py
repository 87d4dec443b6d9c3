"""What can go wrong with emulated devices, each with what to do about it.

FitaError
├── ConfigurationError
│   └── SignalError               the text of a sensor's signal cannot be used
└── SimulatorError
    ├── RuntimeMissingError       the interpreter or the compiler of the device runtime is not installed
    ├── UnknownDeviceError        no device of that endpoint in this fleet
    ├── EndpointInUseError        two devices of one name
    ├── DeviceExitedError         a device ended that nobody stopped: `lines` are its last ones
    └── SegmentProcessError       a device that runs a segment refuses an order, has ended, or does not answer
"""

from __future__ import annotations

from pathlib import Path

from fita.base.errors import ConfigurationError, FitaError
from fita.base.extra import install_hint


class SignalError(ConfigurationError):
    """The text of a sensor's signal cannot be used."""


class SimulatorError(FitaError):
    """The root of this package's errors, but for what a user wrote."""


class RuntimeMissingError(SimulatorError):
    """Emulated devices need packages of the extra ``device``."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}, which emulated devices need, is not installed", hint=install_hint("device"))


class UnknownDeviceError(SimulatorError):
    """No device of that endpoint is in this fleet."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"this fleet has no device {endpoint}", hint="start it first")


class EndpointInUseError(SimulatorError):
    """Two devices of one fleet have the same endpoint name or flash folder."""


class DeviceExitedError(SimulatorError):
    """A device has ended by itself. `lines` are the last that it wrote."""

    def __init__(self, endpoint: str, how: str, lines: tuple[str, ...], log: Path) -> None:
        said = f": {lines[-1]}" if lines else ""
        super().__init__(f"the device {endpoint} ended {how}{said}", hint=f"everything it said is in {log}")
        self.endpoint = endpoint
        self.lines = lines


class SegmentProcessError(SimulatorError):
    """A device that runs a segment refuses an order, has ended, or does not answer."""

    def __init__(self, device: str, problem: str) -> None:
        super().__init__(f"device {device} {problem}", hint="give it more memory, or pack the model again")
        self.device = device
