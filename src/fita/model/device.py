"""What the gateway knows about a device when it has registered: the source of its Node."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NewType

import msgspec

from fita.model.platform import Platform

Endpoint = NewType("Endpoint", str)
"""The LwM2M endpoint name, unique among the devices of a gateway."""

_ENDPOINT = re.compile(r"[!-~]{1,128}")  # goes into names, logs and labels: no blanks, nothing invisible

# What FITA assumes when a device does not say: FITA's own definition of a far-edge device.
DEFAULT_CPU_MILLICORES = 1000
DEFAULT_MEMORY_BYTES = 256 * 1024
DEFAULT_MAX_SERVICES = 5


def is_endpoint(name: str) -> bool:
    """Whether a device may register under this name: 1 to 128 visible ASCII characters."""
    return _ENDPOINT.fullmatch(name) is not None


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A registered device as it describes itself (LwM2M objects 3, 4, 9, 15 and 35003).

    `address` is ``host:port`` of the device as the gateway reaches it. `capabilities` are the names of
    sensors and actuators (object 15, group 0). `memory_bytes` is the device's whole RAM for programs,
    `service_memory_bytes` what is left of it for services after the runtime's own need;
    `storage_bytes` is the flash that services may fill. `registered_at` is the gateway's wall time at which
    the present registration came in.
    """

    endpoint: Endpoint
    address: str
    platform: Platform
    api_version: int = 1
    manufacturer: str = ""
    model: str = ""
    serial_number: str = ""
    firmware_version: str = ""
    runtime_version: str = ""
    cpu_millicores: int = DEFAULT_CPU_MILLICORES
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    service_memory_bytes: int = DEFAULT_MEMORY_BYTES
    storage_bytes: int = 0
    max_services: int = DEFAULT_MAX_SERVICES
    capabilities: tuple[str, ...] = ()
    battery_percent: int | None = None
    queue_mode: bool = False
    lifetime_s: int = 86400
    registered_at: datetime | None = None


class DeviceStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a device uses now (object 3/0 and 35003 of 3/0). Unknown figures are None."""

    memory_free_bytes: int | None = None
    storage_free_bytes: int | None = None
    cpu_percent: float | None = None
    uptime_s: int | None = None
    battery_percent: int | None = None
