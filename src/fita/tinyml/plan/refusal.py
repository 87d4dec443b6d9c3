"""Why there is no plan: which limit stands in the way, by how much, and what would help."""

from __future__ import annotations

from fita.tinyml.errors import NoPlanError
from fita.tinyml.plan.cost import Setting
from fita.tinyml.split.stage import Stage

_STEP_BYTES = 1024


def no_plan(setting: Setting) -> NoPlanError:
    """The first limit that explains it: all memory together, one operator alone, or how they go together."""
    return _too_little(setting) or _too_large(setting) or _no_arrangement(setting)


def _too_little(setting: Setting) -> NoPlanError | None:
    weights = sum(operator.weight_bytes for operator in setting.graph.operators)
    ram = sum(device.free_ram_bytes for device in setting.devices if device.weights_in_ram)
    flash = sum(device.free_flash_bytes for device in setting.devices if not device.weights_in_ram)
    if weights <= ram + flash:
        return None
    memory = "RAM" if ram >= flash else "flash"
    return _error(
        f"the weights of {setting.graph.name!r} need {_kib(weights)}, all {len(setting.devices)} devices together "
        f"have {_kib(ram + flash)} of {memory} free",
        limit=memory.lower(),
        needed=weights,
        available=ram + flash,
        hint=f"add devices with {_kib(weights - ram - flash)} more {memory} in all",
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
            hint=f"a device with {_kib(needed - available)} more would take it whole",
            place=operator.name,
        )
        if worst is None or error.missing_bytes > worst.missing_bytes:
            worst = error
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
    needed = demand.ram_bytes + demand.weight_bytes
    return _error(
        f"the devices, each filled up, take operators 0..{cut - 1} of {end}; {_kib(needed)} for the rest from "
        f"{setting.graph.operators[stuck].name} on find no room",
        limit="ram",
        needed=needed,
        available=0,
        hint=f"add a device with {_kib(needed)} free",
        place=setting.graph.operators[stuck].name,
    )


def _error(message: str, *, limit: str, needed: int, available: int, hint: str, place: str = "") -> NoPlanError:
    return NoPlanError(
        message, limit=limit, needed_bytes=needed, available_bytes=available, place=place, hint=hint
    )


def _kib(size_bytes: int) -> str:
    return f"{-(-size_bytes // _STEP_BYTES)} KiB"
