"""Plans after a loss: with the least change, computed ahead for every single device, and standby segments.

What costs time after a loss is shipping weights, not planning. So the segments that are left stay where they are,
and what ran on the lost device goes to devices with room; only when that does not fit is everything planned anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import msgspec

from fita.tinyml.errors import NoPlanError
from fita.tinyml.plan.cost import Figures, Placement, Setting, evaluate, feasible
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.plan import Plan
from fita.tinyml.plan.planner import overdraft_bytes, plan_model
from fita.tinyml.plan.search.team import rank

_CHOICES_MAX = 512
"""Ways of placing what was lost that are tried at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossAnswer:
    """What to do without one device. `plan` is None where nothing fits, and `reason` says why.

    `moved_bytes` of weights go to the `changed` devices, none of them where a standby segment lies ready.
    """

    plan: Plan | None
    moved_bytes: int = 0
    changed: tuple[str, ...] = ()
    reason: str = ""


def replan(plan: Plan, lost: str) -> LossAnswer:
    """The plan without a device; the others keep their segments when that fits."""
    setting = _without(plan.setting, lost)
    if not setting.devices:
        return LossAnswer(plan=None, reason="no device is left")
    if lost not in plan.devices_used:
        figures = evaluate(setting, plan.stages, plan.placement)
        return LossAnswer(plan=replace(plan, setting=setting, figures=figures, gap=None, is_exact=False))
    patched = _patched(plan, setting, lost)
    if patched is None:
        try:
            patched = plan_model(
                setting.graph,
                setting.devices,
                setting.link,
                plan.objective,
                input_at=setting.input_at,
                result_at=setting.result_at,
                table=setting.table,
            )
        except NoPlanError as error:
            return LossAnswer(plan=None, reason=str(error))
    moved = _moved(plan, patched)
    return LossAnswer(plan=patched, moved_bytes=sum(moved.values()), changed=tuple(moved))


def plans_for_losses(plan: Plan) -> dict[str, LossAnswer]:
    """For every device in use the answer to its loss."""
    return {name: replan(plan, name) for name in plan.devices_used}


def with_standby(plan: Plan) -> Plan:
    """The plan with a standby for as many segments as there is room for, those with the most weights first.

    A standby holds the weights only; it becomes the segment's place when the device is lost. One device may
    be the standby of several, for one loss at a time: weights add up, the largest working memory counts once.
    """
    devices = plan.setting.by_name
    demands = plan.setting.table.demands_of(plan.stages)
    used = {use.device: (use.ram_bytes, use.flash_bytes) for use in plan.figures.uses}
    ram = {name: device.free_ram_bytes - used.get(name, (0, 0))[0] for name, device in devices.items()}
    flash = {name: device.free_flash_bytes - used.get(name, (0, 0))[1] for name, device in devices.items()}
    working = dict.fromkeys(devices, 0)
    standby: dict[int, str] = {}
    for number in sorted(range(len(demands)), key=lambda n: (-demands[n].weight_bytes, n)):
        if len(plan.placement[number]) > 1:
            continue  # its copies stand in for each other
        demand = demands[number]
        for name in sorted(devices, key=lambda each: (-ram[each], each)):
            weights = demand.weight_bytes if devices[name].weights_in_ram else 0
            work = max(working[name], demand.ram_bytes)
            if name in plan.placement[number] or weights + work > ram[name] or demand.flash_bytes > flash[name]:
                continue
            standby[number] = name
            ram[name] -= weights
            flash[name] -= demand.flash_bytes
            working[name] = work
            break
    return plan.with_standby(standby)


def _without(setting: Setting, lost: str) -> Setting:
    """Without the device; what was born or wanted there is so outside of all devices from now on."""
    return replace(
        setting,
        devices=tuple(device for device in setting.devices if device.name != lost),
        input_at="" if setting.input_at == lost else setting.input_at,
        result_at="" if setting.result_at == lost else setting.result_at,
    )


def _patched(plan: Plan, setting: Setting, lost: str) -> Plan | None:
    """The same stages with the lost segments elsewhere: the best of the ways that fit; None when none does."""
    if any(len(names) > 1 and lost in names for names in plan.placement):
        return _fewer_copies(plan, setting, lost)
    orphans = [number for number, names in enumerate(plan.placement) if lost in names]
    choices = [_hosts(plan, setting.devices, number) for number in orphans]
    best: tuple[tuple[int, ...], Placement, Figures] | None = None
    for tried, names in enumerate(product(*choices)):
        if tried == _CHOICES_MAX:
            break
        moved = dict(zip(orphans, names, strict=True))
        placement = tuple((moved[n],) if n in moved else names_ for n, names_ in enumerate(plan.placement))
        figures = evaluate(setting, plan.stages, placement)
        if not feasible(setting.by_name, figures, setting.slack_bytes):
            continue
        ranked = rank(plan.objective, figures)
        if best is None or ranked < best[0]:
            best = (ranked, placement, figures)
    if best is None:
        return None
    return _checked(replace(plan, setting=setting, placement=best[1], figures=best[2], is_exact=False, gap=None))


def _hosts(plan: Plan, devices: Sequence[DeviceModel], number: int) -> list[str]:
    """Where a lost segment may go: its standby first, then the devices by their room."""
    names = [device.name for device in sorted(devices, key=lambda d: (-d.free_ram_bytes, d.name))]
    standby = plan.standby.get(number)
    return [standby] if standby in names else names


def _fewer_copies(plan: Plan, setting: Setting, lost: str) -> Plan | None:
    """The other copies do the work of the lost one."""
    stages, placement, place = [], [], 0
    for stage in plan.stages:
        hosts = [
            tuple(name for name in names if name != lost)
            for names in plan.placement[place : place + len(stage.shares)]
        ]
        place += len(stage.shares)
        if not all(hosts):
            return None
        stages.append(msgspec.structs.replace(stage, copies=min(map(len, hosts))))
        placement += hosts
    figures = evaluate(setting, stages, tuple(placement))
    if not feasible(setting.by_name, figures, setting.slack_bytes):
        return None
    return _checked(
        replace(
            plan,
            setting=setting,
            stages=tuple(stages),
            placement=tuple(placement),
            figures=figures,
            is_exact=False,
            gap=None,
        )
    )


def _checked(plan: Plan) -> Plan | None:
    return plan if overdraft_bytes(plan) <= 0 else None


def _moved(before: Plan, after: Plan) -> dict[str, int]:
    """Bytes of weights that each device gets which it did not have."""
    same = before.stages == after.stages or len(before.placement) == len(after.placement)
    held: Mapping[int, tuple[str, ...]] = {}
    if same and [(s.first, s.last, s.kind, s.shares) for s in before.stages] == [
        (s.first, s.last, s.kind, s.shares) for s in after.stages
    ]:
        held = dict(enumerate(before.placement))
    moved: dict[str, int] = {}
    for number, demand in enumerate(after.setting.table.demands_of(after.stages)):
        for name in after.placement[number]:
            if name not in held.get(number, ()) and before.standby.get(number) != name:
                moved[name] = moved.get(name, 0) + demand.weight_bytes
    return moved
