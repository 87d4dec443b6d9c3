"""Simple rules that others split models by: first fit, cuts in proportion to memory, even cuts.

Each takes the devices as given and from the largest to the smallest and has the better of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from benchmarks.plan_space.instance import Chain, cost
from fita.tinyml.plan.cost import Setting, evaluate
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.search.chain import Objective
from fita.tinyml.split.stage import Stage

Rule = Callable[[Setting, Sequence[DeviceModel]], Chain | None]


def first_fit(setting: Setting, order: Sequence[DeviceModel]) -> Chain | None:
    """Fill each device as far as it goes, then the next."""
    stages, hosts, cut, end = [], [], 0, len(setting.graph.operators)
    for device in order:
        last = cut
        while last < end and setting.table.demands(Stage(first=cut, last=last + 1))[0].fits(device):
            last += 1
        if last > cut:
            stages.append(Stage(first=cut, last=last))
            hosts.append((device.name,))
            cut = last
    return (tuple(stages), tuple(hosts)) if cut == end else None


def memory_proportional(setting: Setting, order: Sequence[DeviceModel]) -> Chain | None:
    """Cuts so that each device holds weights and activations in proportion to its memory."""
    operators = setting.graph.operators
    shares = [max(1, device.free_ram_bytes) for device in order]
    targets = list(np.cumsum(np.asarray(shares) / sum(shares)))
    total = sum(operator.weight_bytes + operator.output.size_bytes for operator in operators)
    edges, passed = [0], 0.0
    for place, operator in enumerate(operators, start=1):
        passed += (operator.weight_bytes + operator.output.size_bytes) / total
        while len(edges) < len(order) and passed >= targets[len(edges) - 1] - 1e-9 and edges[-1] < place:
            edges.append(place)
    return _cut_at(setting, order, sorted({*edges, len(operators)}))


def even_cuts(setting: Setting, order: Sequence[DeviceModel]) -> Chain | None:
    """As many operators on each device."""
    count, end = len(order), len(setting.graph.operators)
    return _cut_at(setting, order, sorted({round(end * part / count) for part in range(count + 1)}))


def _cut_at(setting: Setting, order: Sequence[DeviceModel], edges: Sequence[int]) -> Chain | None:
    """One device after the other, where each has the memory."""
    stages = tuple(Stage(first=a, last=b) for a, b in pairwise(edges))
    for stage, device in zip(stages, order, strict=False):
        if not setting.table.demands(stage)[0].fits(device):
            return None
    return stages, tuple((device.name,) for device in order[: len(stages)])


RULES: dict[str, Rule] = {
    "first fit": first_fit,
    "memory-proportional cuts": memory_proportional,
    "even cuts": even_cuts,
}


def rule_cost(setting: Setting, objective: Objective, rule: Rule) -> int | None:
    """The rule over the devices as given and from the largest to the smallest; the better of the two."""
    orders = (setting.devices, tuple(sorted(setting.devices, key=lambda d: (-d.free_ram_bytes, d.name))))
    found = [rule(setting, order) for order in orders]
    costs = [cost(objective, evaluate(setting, *chain)) for chain in found if chain is not None]
    return min(costs, default=None)
