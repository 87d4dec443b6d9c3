"""The words of the search: interchangeable devices, what a choice costs, and the choice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from fita.tinyml.plan.cost import Setting
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.split.stage import Stage, StageKind


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Interchangeable devices. One that holds the input or wants the result is alone in its group.

    `kin` is the same for groups whose devices differ only in that.
    """

    device: DeviceModel
    names: tuple[str, ...]
    kin: int
    holds_input: bool
    wants_result: bool

    @property
    def size(self) -> int:
        return len(self.names)


def groups_of(setting: Setting) -> tuple[Group, ...]:
    """The devices of a setting, in the order in which a first of each appears."""
    kinds: list[DeviceModel] = []
    found: dict[tuple[int, bool, bool], list[DeviceModel]] = {}
    for device in setting.devices:
        kind = replace(device, name="")
        if kind not in kinds:
            kinds.append(kind)
        key = (kinds.index(kind), device.name == setting.input_at, device.name == setting.result_at)
        found.setdefault(key, []).append(device)
    return tuple(
        Group(devices[0], tuple(device.name for device in devices), *key) for key, devices in found.items()
    )


class Price(msgspec.Struct, frozen=True):
    """What an option costs, or at least costs.

    `busy_ns` is the longest that a device or its port is busy for one frame, `air_ns` how long the option occupies
    what all options share: the medium, or else the port where results are wanted.
    """

    latency_ns: int
    busy_ns: int
    energy_nj: int
    air_bytes: int
    air_ns: int


class Option(msgspec.Struct, frozen=True, eq=False):
    """Stages over operators first..last-1 and, for each segment of them, the groups of its copies.

    `needs` counts devices by group. Until it `is_priced`, `price` is a lower bound; until it `is_exact`, memory
    may not suffice.
    """

    first: int
    last: int
    stages: tuple[Stage, ...]
    hosts: tuple[tuple[int, ...], ...]
    needs: tuple[int, ...]
    price: Price
    is_priced: bool
    is_exact: bool

    @property
    def device_count(self) -> int:
        return sum(self.needs)

    @property
    def is_whole(self) -> bool:
        return self.stages[0].kind is StageKind.WHOLE
