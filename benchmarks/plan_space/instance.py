"""Random models over random devices, and what a planner makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fita.tinyml.errors import NoPlanError
from fita.tinyml.generate import ModelSize, random_model
from fita.tinyml.plan.cost import Figures, Placement, Setting
from fita.tinyml.plan.device import NATIVE, VIPER, DeviceModel
from fita.tinyml.plan.link import ESPNOW, ETHERNET, IEEE_802_15_4, WIFI
from fita.tinyml.plan.plan import Plan
from fita.tinyml.plan.planner import plan_model, setting_of
from fita.tinyml.plan.search.chain import Objective, SearchLimits
from fita.tinyml.reader import read_model
from fita.tinyml.split.stage import Stage, even_shares, share_length

Chain = tuple[tuple[Stage, ...], Placement]
LINKS = (WIFI, ESPNOW, IEEE_802_15_4, ETHERNET)
OBJECTIVES = (Objective.LATENCY, Objective.THROUGHPUT, Objective.ENERGY, Objective.DEVICES)
AMPLE = (0.3, 1.1)
SCARCE = (0.12, 0.5)
"""Between which shares of a model's need the memory of one device lies."""


def cost(objective: Objective, figures: Figures) -> int:
    """What an objective counts."""
    return {
        Objective.LATENCY: figures.latency_ns,
        Objective.THROUGHPUT: figures.period_ns,
        Objective.ENERGY: figures.energy_nj,
        Objective.DEVICES: figures.device_count,
    }[objective]


def alike(first: DeviceModel, second: DeviceModel) -> bool:
    """Whether two devices differ in no more than the name."""
    return replace(first, name="") == replace(second, name="")


def random_devices(
    random: np.random.Generator, count: int, need: int, kinds: int, shares: tuple[float, float] = AMPLE
) -> tuple[DeviceModel, ...]:
    """Devices of a few kinds whose memory together is some times what a model needs."""
    sorts = [
        (int(need * random.uniform(*shares)) + 2500, VIPER if random.random() < 0.5 else NATIVE)
        for _ in range(kinds)
    ]
    found = []
    for number in range(count):
        ram, speeds = sorts[int(random.integers(kinds))]
        found.append(
            DeviceModel(
                name=f"device{number + 1}",
                ram_bytes=ram,
                reserve_ram_bytes=0,
                weights_in_ram=True,
                ns_per_unit=speeds,
            )
        )
    return tuple(found)


def random_setting(
    seed: int, *, operators: int, devices: int, kinds: int, shares: tuple[float, float] = AMPLE
) -> Setting:
    """A model and devices that together may hold it or not."""
    random = np.random.default_rng(seed)
    graph = read_model(
        random_model(seed, ModelSize(operators=operators, side=12, channels=12)), name=f"random{seed}"
    )
    need = graph.weight_bytes + 2 * max(operator.output.size_bytes for operator in graph.operators)
    return setting_of(
        graph,
        random_devices(random, devices, need, kinds, shares),
        LINKS[int(random.integers(len(LINKS)))],
    )


def larger_setting(seed: int) -> Setting:
    """8-18 operators over six devices of two to four kinds; memory ample or scarce; ends at different places."""
    setting = random_setting(
        seed,
        operators=8 + seed % 9,
        devices=6,
        kinds=2 + seed // 4 % 3,
        shares=(AMPLE, SCARCE)[seed // 2 % 2],
    )
    first, last = setting.devices[0].name, setting.devices[-1].name
    input_at, result_at = ((first, first), (first, last), ("", ""))[seed // 8 % 3]
    return replace(setting, input_at=input_at, result_at=result_at)


def planned(setting: Setting, objective: Objective, limits: SearchLimits | None = None) -> Plan | None:
    """The planner's plan; None where it finds none."""
    try:
        return plan_model(
            setting.graph,
            setting.devices,
            setting.link,
            objective,
            input_at=setting.input_at,
            result_at=setting.result_at,
            limits=limits,
            table=setting.table,
        )
    except NoPlanError:
        return None


def is_beyond(plan: Plan) -> bool:
    """Whether a plan is none of the chains that are enumerated.

    Its devices take part in several stages, or its shares are uneven or lie on unlike devices.
    """
    return not plan.is_chain or not all(_is_even(plan, stage) for stage in plan.stages)


def _is_even(plan: Plan, stage: Stage) -> bool:
    if len(stage.shares) == 1:
        return True
    devices = plan.setting.by_name
    first = sum(len(before.shares) for before in plan.stages[: plan.stages.index(stage)])
    hosts = [devices[name] for names in plan.placement[first : first + len(stage.shares)] for name in names]
    even = stage.shares == even_shares(share_length(plan.setting.graph, stage), len(stage.shares))
    return even and all(alike(hosts[0], other) for other in hosts)
