"""Why there is no plan: which limit stands in the way, by how much, and what would help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fita.tinyml.errors import NoPlanError
from fita.tinyml.plan.cost import Setting
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.search.fill import filled
from fita.tinyml.split.stage import Stage

_STEP_BYTES = 1024
_MOST_STEPS = 1 << 16
"""More memory than that, 64 MiB, is not looked for."""


def no_plan(setting: Setting) -> NoPlanError:
    """The first limit that explains it: all memory together, one operator alone, or how they go together.

    What would help has been tried: with so much more memory there is a plan.
    """
    return _too_little(setting) or _too_large(setting) or _no_arrangement(setting)


def _what_helps(setting: Setting) -> str:
    """More memory in the largest device, or another device."""
    largest = max(setting.devices, key=lambda device: (device.free_ram_bytes, device.free_flash_bytes))
    others = tuple(device for device in setting.devices if device is not largest)
    grown = _least_steps(
        lambda steps: filled(replace(setting, devices=(_grown(largest, steps), *others))) is not None
    )
    empty = replace(largest, name="", ram_bytes=largest.reserve_ram_bytes)
    added = _least_steps(
        lambda steps: filled(replace(setting, devices=(*setting.devices, _grown(empty, steps)))) is not None
    )
    ways = []
    if grown is not None:
        ways.append(f"{grown} KiB more RAM in {largest.name}")
    if added is not None:
        reserve = -(-largest.reserve_ram_bytes // _STEP_BYTES)
        ways.append(f"another device with {added + reserve} KiB of RAM, {reserve} of them for its runtime")
    return f"enough would be {', or '.join(ways)}" if ways else "more memory in devices like these does not help"


def _grown(device: DeviceModel, steps: int) -> DeviceModel:
    """With more RAM, and flash for whatever runs there."""
    more = steps * _STEP_BYTES
    return replace(device, ram_bytes=device.ram_bytes + more, flash_bytes=device.flash_bytes + more)


def _least_steps(is_enough: Callable[[int], bool]) -> int | None:
    """The fewest that are enough, to a sixteenth; None for too many."""
    high = 1
    while not is_enough(high):
        high *= 2
        if high > _MOST_STEPS:
            return None
    low = high // 2
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _too_little(setting: Setting) -> NoPlanError | None:
    weights = sum(operator.weight_bytes for operator in setting.graph.operators)
    ram = sum(device.free_ram_bytes for device in setting.devices if device.weights_in_ram)
    flash = sum(device.free_flash_bytes for device in setting.devices if not device.weights_in_ram)
    if weights <= ram + flash:
        return None
    memory = "RAM" if ram >= flash else "flash"
    count = len(setting.devices)
    return _error(
        f"the weights of {setting.graph.name!r} need {_kib(weights)}, "
        f"{'the device has' if count == 1 else f'all {count} devices together have'} "
        f"{_kib(ram + flash)} of {memory} free",
        limit=memory.lower(),
        needed=weights,
        available=ram + flash,
        hint=_what_helps(setting),
    )


def _too_large(setting: Setting) -> NoPlanError | None:
    """An operator that no device takes alone, if there is one: of those the one that lacks most."""
    worst: NoPlanError | None = None
    for place, operator in enumerate(setting.graph.operators):
        (demand,) = setting.table.demands(Stage(first=place, last=place + 1))
        if any(demand.fits(device) for device in setting.devices):
            continue
        room = max(setting.devices, key=lambda device: device.free_ram_bytes)
        needed, available, limit = demand.ram_on(room), room.free_ram_bytes, "ram"
        if needed <= available:
            needed, available, limit = demand.flash_bytes, room.free_flash_bytes, "flash"
        error = _error(
            f"{operator.name} needs {_kib(needed)} of {'RAM' if limit == 'ram' else 'flash'} in one piece, and no "
            f"way of sharing it out was found to fit; the largest device, {room.name}, has {_kib(available)} free",
            limit=limit,
            needed=needed,
            available=available,
            hint="",
            place=operator.name,
        )
        if worst is None or error.missing_bytes > worst.missing_bytes:
            worst = error
    if worst is not None:
        worst.hint = _what_helps(setting)
    return worst


def _no_arrangement(setting: Setting) -> NoPlanError:
    """Each operator fits somewhere: how far the devices reach, each filled up, the largest first."""
    cut = 0
    end = len(setting.graph.operators)
    for device in sorted(setting.devices, key=lambda d: (-d.free_ram_bytes, d.name)):
        last = cut
        while last < end:
            (demand,) = setting.table.demands(Stage(first=cut, last=last + 1))
            if not demand.fits(device, slack_bytes=setting.slack_bytes):
                break
            last += 1
        cut = last
    stuck = min(cut, end - 1)
    (demand,) = setting.table.demands(Stage(first=stuck, last=end))
    needed = demand.least_ram_bytes(setting.devices[0]) + demand.arena_bytes
    return _error(
        f"the devices, each filled up, take {cut} of {end} operators; {_kib(needed)} of RAM for the rest from "
        f"{setting.graph.operators[stuck].name} on find no room",
        limit="ram",
        needed=needed,
        available=0,
        hint=_what_helps(setting),
        place=setting.graph.operators[stuck].name,
    )


def _error(message: str, *, limit: str, needed: int, available: int, hint: str, place: str = "") -> NoPlanError:
    return NoPlanError(
        message, limit=limit, needed_bytes=needed, available_bytes=available, place=place, hint=hint
    )


def _kib(size_bytes: int) -> str:
    return f"{-(-size_bytes // _STEP_BYTES)} KiB"
