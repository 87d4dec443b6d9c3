"""A plan where no chain fits: devices are filled up, and what fits none is shared out by the room that is left.

Chains share a stage out evenly over devices of one kind and give each device one stage. Here a device takes as
many segments as it has memory for, and unlike devices take unlike shares. One way is tried and no step is taken
back, so this finds a plan or does not and says nothing about others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fita.tinyml.plan.cost import Evaluation, Setting
from fita.tinyml.plan.demand.table import Demand, all_fit
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.search.option import SHARES_MAX
from fita.tinyml.split.stage import Stage, StageKind, share_length, weighted_shares


def filled(setting: Setting) -> Evaluation | None:
    """Devices filled up from the first operator to the last; None when that does not end well."""
    filling = _Filling(setting)
    stages: list[Stage] = []
    placement: list[tuple[str, ...]] = []
    while not stages or stages[-1].last < len(setting.graph.operators):
        found = filling.next(stages[-1].last if stages else 0)
        if found is None:
            return None
        stage, team = found
        stages.append(stage)
        placement += [(device.name,) for device in team]
    return Evaluation(setting, stages, tuple(placement))


class _Filling:
    """What each device hosts so far."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._hosted: dict[str, list[Demand]] = {device.name: [] for device in setting.devices}

    def next(self, first: int) -> tuple[Stage, tuple[DeviceModel, ...]] | None:
        """The stage from an operator on and its devices, which host it from then on."""
        for stage, team in self._ways(first):
            demands = self._setting.table.demands(stage)
            if all(map(self._fits, demands, team)):
                for demand, device in zip(demands, team, strict=True):
                    self._hosted[device.name].append(demand)
                return stage, team
        return None

    def _ways(self, first: int) -> Iterator[tuple[Stage, tuple[DeviceModel, ...]]]:
        """The longest whole on the device that takes it; else the operator shared out over the fewest devices."""
        devices = sorted(self._setting.devices, key=lambda device: (self._room_bytes(device), device.name))
        reach = [self._reach(first, device) for device in devices]
        if max(reach) > first:
            yield Stage(first=first, last=max(reach)), (devices[reach.index(max(reach))],)
        devices.reverse()
        for count in range(2, min(len(devices), SHARES_MAX) + 1):
            for kind in (StageKind.OUTPUT_CHANNELS, StageKind.ROWS):
                yield from self._shared(first, kind, devices[:count])

    def _shared(
        self, first: int, kind: StageKind, team: Sequence[DeviceModel]
    ) -> Iterator[tuple[Stage, tuple[DeviceModel, ...]]]:
        length = share_length(self._setting.graph, Stage(first=first, last=first + 1, kind=kind))
        rooms = [self._room_bytes(device) for device in team]
        if length >= len(team) and min(rooms) > 0:
            shares = weighted_shares(length, rooms)
            yield Stage(first=first, last=first + 1, kind=kind, shares=shares), tuple(team)

    def _reach(self, first: int, device: DeviceModel) -> int:
        """Behind which operator the device is full."""
        last, end = first, len(self._setting.graph.operators)
        while last < end and self._fits(self._whole(first, last + 1), device):
            last += 1
        return last

    def _whole(self, first: int, last: int) -> Demand:
        (demand,) = self._setting.table.demands(Stage(first=first, last=last))
        return demand

    def _fits(self, demand: Demand, device: DeviceModel) -> bool:
        hosted = [*self._hosted[device.name], demand]
        return all_fit(hosted, device, slack_bytes=self._setting.slack_bytes)

    def _room_bytes(self, device: DeviceModel) -> int:
        """For weights, where the device keeps them."""
        hosted = self._hosted[device.name]
        if not device.weights_in_ram:
            return device.free_flash_bytes - sum(demand.flash_bytes for demand in hosted)
        taken = sum(demand.least_ram_bytes(device) + demand.enough_arena_bytes for demand in hosted)
        return device.free_ram_bytes - self._setting.slack_bytes - taken
