"""What a planner knows of a device: memory, speed by operator class, energy.

The speeds here are defaults for planning before anything has been measured: a Cortex-M4 at about 120 MHz, with
kernels in C or in MicroPython's viper, and a Linux machine or a server for the tiers above. Give measured ones
where there are any.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from fita.base.errors import ConfigurationError
from fita.tinyml.operator import OperatorClass

RESERVE_BYTES = 32 * 1024
"""RAM for the runtime, its network stack and its services."""
_FLASH_BYTES = 1024 * 1024

_RELATIVE = {
    OperatorClass.CONV: 1.0,
    OperatorClass.POINTWISE: 1.0,
    OperatorClass.DEPTHWISE: 1.5,
    OperatorClass.DENSE: 1.2,
    OperatorClass.POOL: 0.8,
    OperatorClass.ELEMENTWISE: 6.0,
    OperatorClass.LOOKUP: 1.0,
    OperatorClass.SOFTMAX: 20.0,
    OperatorClass.MOVE: 0.5,
    OperatorClass.FLOAT: 10.0,
    OperatorClass.OUTPUT: 0.0,
}
"""Cost of a unit of each class where a multiply-accumulate of a convolution costs 1, outputs included."""


def speed_table(ns_per_mac: float) -> Mapping[OperatorClass, float]:
    """Nanoseconds per unit of every class, from those of one multiply-accumulate of a convolution."""
    return MappingProxyType({name: factor * ns_per_mac for name, factor in _RELATIVE.items()})


class Tier(StrEnum):
    """Where a device stands: the tiers above are big devices with other defaults."""

    DEVICE = "device"
    EDGE = "edge"
    CLOUD = "cloud"


VIPER = speed_table(250.0)
NATIVE = speed_table(40.0)
EDGE = speed_table(1.0)
CLOUD = speed_table(0.2)
_TIER_SPEEDS = {Tier.DEVICE: VIPER, Tier.EDGE: EDGE, Tier.CLOUD: CLOUD}
_OPERATOR_NS = {Tier.DEVICE: 100_000, Tier.EDGE: 2_000, Tier.CLOUD: 1_000}
_NJ_PER_MAC = {Tier.DEVICE: 1.0, Tier.EDGE: 2.0, Tier.CLOUD: 5.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceModel:
    """One device. Devices that are alike in all but the name are interchangeable.

    `ram_bytes` and `flash_bytes` less their reserves are free for segments. `weights_in_ram` where a port cannot
    map its flash, as the emulated devices on a PC. `operator_ns` is what starting one operator costs, `segment_ns`
    what a segment costs beside its operators.
    """

    name: str
    ram_bytes: int
    flash_bytes: int = _FLASH_BYTES
    reserve_ram_bytes: int = RESERVE_BYTES
    reserve_flash_bytes: int = 0
    weights_in_ram: bool = False
    tier: Tier = Tier.DEVICE
    ns_per_unit: Mapping[OperatorClass, float] = field(default_factory=lambda: VIPER, hash=False)
    operator_ns: int = 100_000
    segment_ns: int = 0
    nj_per_mac: float = 1.0

    @property
    def free_ram_bytes(self) -> int:
        return max(0, self.ram_bytes - self.reserve_ram_bytes)

    @property
    def free_flash_bytes(self) -> int:
        return max(0, self.flash_bytes - self.reserve_flash_bytes)

    def compute_ns(self, units: Mapping[OperatorClass, int], operators: int, segments: int = 0) -> int:
        """Time for so much work in so many operators and segments."""
        return round(sum(self.ns_per_unit[name] * count for name, count in units.items())) + (
            operators * self.operator_ns + segments * self.segment_ns
        )

    def energy_nj(self, units: Mapping[OperatorClass, int]) -> int:
        return round(
            self.nj_per_mac * sum(count for name, count in units.items() if name is not OperatorClass.OUTPUT)
        )


_DEVICE = re.compile(r"(?:(?P<name>[A-Za-z][\w-]*)=)?(?P<size>\d{1,6})(?P<unit>[kKmMgG])(?:@(?P<tier>\w+))?"
                     r"(?:\*(?P<count>\d{1,9}))?")  # fmt: skip
_SIZE = re.compile(r"(?P<size>\d{1,6})(?P<unit>[kKmMgG])")
_UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}
_COUNT_MAX = 256


def parse_devices(
    text: str, *, flash_bytes: int | None = None, speeds: Mapping[OperatorClass, float] | None = None
) -> tuple[DeviceModel, ...]:
    """Devices from ``512k,256k,128k*4,gate=1G@edge``: RAM, perhaps a name before and a tier and a count behind.

    Without `flash_bytes` the weights lie in RAM. `speeds` holds for the tier of devices.
    `ConfigurationError` for anything else.
    """
    devices: list[DeviceModel] = []
    for part in text.split(","):
        match = _matched(part.strip())
        size = int(match["size"]) * _UNITS[match["unit"].lower()]
        tier = Tier(match["tier"] or "device")
        for number in range(int(match["count"] or 1)):
            suffix = f"-{number + 1}" if match["count"] else ""
            name = f"{match['name']}{suffix}" if match["name"] else f"device{len(devices) + 1}"
            devices.append(_device(name, size, tier, flash_bytes, speeds))
        if len(devices) > _COUNT_MAX:
            raise _too_many(len(devices))
    name, times = Counter(device.name for device in devices).most_common(1)[0]
    if times > 1:
        raise ConfigurationError(f"{times} devices are called {name!r}", hint="give each a name of its own")
    return tuple(devices)


def parse_size(text: str) -> int:
    """Bytes from ``512k``, ``1M``, ``1G``; `ConfigurationError` for none, or anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not int(match["size"]):
        raise ConfigurationError(f"{text!r} is no size", hint="write it as 512k, 1M or 1G")
    return int(match["size"]) * _UNITS[match["unit"].lower()]


def _matched(text: str) -> re.Match[str]:
    """A part of a list of devices; `ConfigurationError` with what is wrong with it."""
    hint = "write RAM as 512k,256k,128k*4, a server as 1G@edge"
    match = _DEVICE.fullmatch(text)
    if match is None:
        what = "has no unit, k, M or G" if text.isdecimal() else "is no device" if text else "is empty"
        raise ConfigurationError(f"{text!r} {what}", hint=hint)
    tier, count = match["tier"] or "device", int(match["count"] or 1)
    if tier not in {each.value for each in Tier}:
        raise ConfigurationError(f"{text!r} names no tier", hint=f"tiers are {', '.join(Tier)}")
    if not int(match["size"]) or not count:
        raise ConfigurationError(f"{text!r} is a device without memory, or none at all", hint=hint)
    if count > _COUNT_MAX:
        raise _too_many(count)
    return match


def _too_many(count: int) -> ConfigurationError:
    return ConfigurationError(f"{count} devices are too many", hint=f"a plan is for at most {_COUNT_MAX}")


def _device(
    name: str, size: int, tier: Tier, flash_bytes: int | None, speeds: Mapping[OperatorClass, float] | None
) -> DeviceModel:
    return DeviceModel(
        name=name,
        ram_bytes=size,
        flash_bytes=flash_bytes if flash_bytes is not None else max(size, _FLASH_BYTES),
        weights_in_ram=flash_bytes is None,
        tier=tier,
        ns_per_unit=speeds if speeds is not None and tier is Tier.DEVICE else _TIER_SPEEDS[tier],
        operator_ns=_OPERATOR_NS[tier],
        nj_per_mac=_NJ_PER_MAC[tier],
    )
