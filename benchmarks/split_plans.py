"""Plans against the optimum and against simple rules, over random models and devices, and how long planning takes.

Small instances are held against an enumeration of every chain: every cut, every way of sharing a stage out, every
assignment to named devices, priced from the split itself. The rules are first fit, cuts in
proportion to memory, and even cuts; each takes the devices as given and from the largest to the smallest and has
the better of the two.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np

from benchmarks.report import Figure, emit, median_and_p99, parser
from fita.base.resource import resource_folder
from fita.tinyml.errors import NoPlanError
from fita.tinyml.generate import ModelSize, random_model
from fita.tinyml.graph import Graph
from fita.tinyml.operator import Conv2D, FullyConnected
from fita.tinyml.plan.cost import Figures, Placement, Setting, evaluate, feasible
from fita.tinyml.plan.device import NATIVE, VIPER, DeviceModel
from fita.tinyml.plan.link import ESPNOW, ETHERNET, IEEE_802_15_4, WIFI
from fita.tinyml.plan.plan import Plan
from fita.tinyml.plan.planner import plan_model, setting_of
from fita.tinyml.plan.search.chain import Objective
from fita.tinyml.plan.search.option import SHARES_MAX
from fita.tinyml.reader import read_model
from fita.tinyml.split.stage import Stage, StageKind, even_shares, share_length

_LINKS = (WIFI, ESPNOW, IEEE_802_15_4, ETHERNET)
_OBJECTIVES = (Objective.LATENCY, Objective.THROUGHPUT, Objective.ENERGY, Objective.DEVICES)
_SUM_REACH = 3
_KIB = 1024


def cost(objective: Objective, figures: Figures) -> int:
    """What an objective counts."""
    return {
        Objective.LATENCY: figures.latency_ns,
        Objective.THROUGHPUT: figures.period_ns,
        Objective.ENERGY: figures.energy_nj,
        Objective.DEVICES: figures.device_count,
    }[objective]


Chain = tuple[tuple[Stage, ...], Placement]


def every_chain(setting: Setting, *, copies: bool = False) -> Iterator[Chain]:
    """Every chain over named devices in which each takes part in one stage."""

    def extend(
        cut: int, free: tuple[DeviceModel, ...], stages: tuple[Stage, ...], where: Placement
    ) -> Iterator[Chain]:
        if cut == len(setting.graph.operators):
            yield stages, where
            return
        for made, hosts in every_step(setting.graph, cut, free, copies=copies):
            taken = {name for names in hosts for name in names}
            left = tuple(device for device in free if device.name not in taken)
            yield from extend(made[-1].last, left, (*stages, *made), (*where, *hosts))

    yield from extend(0, setting.devices, (), ())


def every_step(
    graph: Graph, first: int, free: Sequence[DeviceModel], *, copies: bool
) -> Iterator[tuple[tuple[Stage, ...], Placement]]:
    """Every stage from a cut on, with devices of those that are free; of like teams in one order only."""
    for last in range(first + 1, len(graph.operators) + 1):
        for count in range(1, (len(free) if copies else 1) + 1):
            for team in combinations(free, count):
                yield (
                    (Stage(first=first, last=last, copies=count),),
                    (tuple(device.name for device in team),),
                )
        for kind in (StageKind.ROWS, StageKind.OUTPUT_CHANNELS):
            for stage, team in _shared(graph, first, last, kind, free):
                yield (stage,), tuple((device.name,) for device in team)
    yield from _sums(graph, first, free)


def _sums(graph: Graph, first: int, free: Sequence[DeviceModel]) -> Iterator[tuple[tuple[Stage, ...], Placement]]:
    """Input-channel shards of an operator, with the sum and some operators more on another device."""
    if not isinstance(graph.operators[first], Conv2D | FullyConnected):
        return
    for stage, team in _shared(graph, first, first + 1, StageKind.INPUT_CHANNELS, free):
        for other in free:
            for last in range(first + 1, min(len(graph.operators), first + 1 + _SUM_REACH) + 1):
                if other not in team:
                    after = Stage(first=first + 1, last=last)
                    yield (stage, after), (*((device.name,) for device in team), (other.name,))


def _shared(
    graph: Graph, first: int, last: int, kind: StageKind, free: Sequence[DeviceModel]
) -> Iterator[tuple[Stage, tuple[DeviceModel, ...]]]:
    length = share_length(graph, Stage(first=first, last=last, kind=kind))
    for count in range(2, min(length, SHARES_MAX, len(free)) + 1):
        for team in combinations(free, count):
            if len({(d.ram_bytes, d.flash_bytes, d.ns_per_unit["conv"], d.operator_ns) for d in team}) == 1:  # type: ignore[index]
                yield Stage(first=first, last=last, kind=kind, shares=even_shares(length, count)), team


def optimum(setting: Setting, objective: Objective) -> int | None:
    """The least cost of all chains that fit, by trying them all."""
    devices = setting.by_name
    best: int | None = None
    for stages, placement in every_chain(setting, copies=objective is Objective.THROUGHPUT):
        figures = evaluate(setting, stages, placement)
        value = cost(objective, figures)
        if (best is None or value < best) and feasible(devices, figures, setting.slack_bytes):
            best = value
    return best


# The simple rules.


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


def _by_weight(setting: Setting, order: Sequence[DeviceModel], shares: Sequence[float]) -> Chain | None:
    operators = setting.graph.operators
    total = sum(operator.weight_bytes + operator.output.size_bytes for operator in operators)
    edges, passed, share = [0], 0.0, 0.0
    targets = list(np.cumsum(np.asarray(shares) / sum(shares)))
    for place, operator in enumerate(operators, start=1):
        passed += (operator.weight_bytes + operator.output.size_bytes) / total
        while len(edges) < len(order) and passed >= targets[len(edges) - 1] - 1e-9 and edges[-1] < place:
            edges.append(place)
            share += 1
    edges = sorted({*edges, len(operators)})
    stages = tuple(Stage(first=a, last=b) for a, b in pairwise(edges))
    hosts = tuple((device.name,) for device in order[: len(stages)])
    for stage, device in zip(stages, order, strict=False):
        if not setting.table.demands(stage)[0].fits(device):
            return None
    return stages, hosts


def memory_proportional(setting: Setting, order: Sequence[DeviceModel]) -> Chain | None:
    """Cuts so that each device holds weights and activations in proportion to its memory."""
    return _by_weight(setting, order, [max(1, device.free_ram_bytes) for device in order])


def even_cuts(setting: Setting, order: Sequence[DeviceModel]) -> Chain | None:
    """As many operators on each device."""
    count, end = len(order), len(setting.graph.operators)
    edges = sorted({round(end * part / count) for part in range(count + 1)})
    stages = tuple(Stage(first=a, last=b) for a, b in pairwise(edges))
    for stage, device in zip(stages, order, strict=False):
        if not setting.table.demands(stage)[0].fits(device):
            return None
    return stages, tuple((device.name,) for device in order[: len(stages)])


RULES: dict[str, Callable[[Setting, Sequence[DeviceModel]], Chain | None]] = {
    "first fit": first_fit,
    "memory-proportional cuts": memory_proportional,
    "even cuts": even_cuts,
}


def rule_cost(setting: Setting, objective: Objective, rule: Callable[..., Chain | None]) -> int | None:
    """The rule over the devices as given and from the largest to the smallest; the better of the two."""
    orders = (setting.devices, tuple(sorted(setting.devices, key=lambda d: (-d.free_ram_bytes, d.name))))
    found = [rule(setting, order) for order in orders]
    costs = [cost(objective, evaluate(setting, *chain)) for chain in found if chain is not None]
    return min(costs, default=None)


# Random instances.


def random_devices(random: np.random.Generator, count: int, need: int, kinds: int) -> tuple[DeviceModel, ...]:
    """Devices of a few kinds whose memory together is some times what a model needs."""
    sorts = [
        (int(need * random.uniform(0.3, 1.1)) + 2500, VIPER if random.random() < 0.5 else NATIVE)
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


def random_setting(seed: int, *, operators: int, devices: int, kinds: int) -> Setting:
    """A model and devices that together may hold it or not."""
    random = np.random.default_rng(seed)
    graph = read_model(
        random_model(seed, ModelSize(operators=operators, side=12, channels=12)), name=f"random{seed}"
    )
    need = graph.weight_bytes + 2 * max(operator.output.size_bytes for operator in graph.operators)
    return setting_of(
        graph, random_devices(random, devices, need, kinds), _LINKS[int(random.integers(len(_LINKS)))]
    )


def planned(setting: Setting, objective: Objective) -> Plan | None:
    try:
        return plan_model(setting.graph, setting.devices, setting.link, objective, table=setting.table)
    except NoPlanError:
        return None


def _against_enumeration(count: int) -> list[Figure]:
    exact, open_, beyond, missed = [], [], [], 0  # type: ignore[var-annotated]
    rules: dict[str, list[float]] = {name: [] for name in RULES}
    refused = dict.fromkeys(RULES, 0)
    seed = 0
    while len(exact) + len(open_) + len(beyond) < count:
        seed += 1
        objective = _OBJECTIVES[seed % len(_OBJECTIVES)]
        setting = random_setting(seed, operators=3 + seed % 3, devices=3, kinds=1 + seed % 2)
        plan = planned(setting, objective)
        if plan is None:
            missed += optimum(setting, objective) is not None
            continue
        least = optimum(plan.setting, objective)
        ratio = cost(objective, plan.figures) / least if least else 1.0
        (exact if plan.is_exact else open_ if plan.is_chain else beyond).append(ratio)
        for name, rule in RULES.items():
            found = rule_cost(setting, objective, rule)
            if found is None or not least:
                refused[name] += 1
            else:
                rules[name].append(found / least)
    figures = [
        Figure("instances held against every chain", len(exact) + len(open_) + len(beyond), "instances", ">= 200"),
        Figure("of these proven optimal by the planner", len(exact), "instances"),
        Figure("cost / optimum where proven, worst", max(exact, default=1.0), "ratio", "<= 1.00"),
        Figure("cost / optimum where not proven, worst", max(open_, default=1.0), "ratio", "<= 1.05"),
        Figure("plans beyond chains, devices in several stages", len(beyond), "instances"),
        Figure("their cost / best chain, median", float(np.median(beyond or [1.0])), "ratio"),
        Figure("their cost / best chain, worst", max(beyond, default=1.0), "ratio", "< 1.00"),
        Figure("instances that fit and were refused", missed, "instances", "0"),
    ]
    for name, ratios in rules.items():
        figures += [
            Figure(f"{name}: cost / optimum, median", float(np.median(ratios)), "ratio"),
            Figure(f"{name}: cost / optimum, worst", max(ratios), "ratio"),
            Figure(f"{name}: finds no plan where there is one", refused[name], "instances"),
        ]
    return figures


def _solve_times(count: int) -> list[Figure]:
    """Processor time: the machine may do other things meanwhile."""
    figures = []
    for devices, kinds, target in ((6, 3, "< 100"), (50, 3, "< 2000"), (50, 50, "< 2000")):
        took, wanted = [], 0
        proven = 0
        for seed in range(1, 10 * count):
            setting = random_setting(1000 + seed, operators=10 + seed % 20, devices=devices, kinds=kinds)
            start = time.process_time()
            plan = planned(setting, _OBJECTIVES[seed % 2])
            took.append(1000 * (time.process_time() - start))
            proven += plan is not None and plan.is_exact
            wanted += plan is not None
            if wanted == count:
                break
        name = f"solve time, {devices} devices of {kinds} kinds, 10-29 operators"
        first, last = median_and_p99(name, took, "ms")
        figures += [Figure(first.name, first.value, "ms", target), last]
        figures.append(Figure(f"{name}: proven optimal", 100 * proven / max(1, wanted), "%"))
    for path in sorted(resource_folder("models").glob("*.tflite")):
        setting = _six_devices(read_model(path.read_bytes(), name=path.stem))
        start = time.process_time()
        planned(setting, Objective.LATENCY)
        took_ms = 1000 * (time.process_time() - start)
        figures.append(Figure(f"solve time, {path.stem} over six devices", took_ms, "ms", "< 100"))
    return figures


def _six_devices(graph: Graph) -> Setting:
    sizes = (512, 256, 128, 128, 128, 128)
    devices = [
        DeviceModel(name=f"device{number}", ram_bytes=size * _KIB, weights_in_ram=True)
        for number, size in enumerate(sizes, start=1)
    ]
    return setting_of(graph, devices, WIFI)


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.add_argument("--instances", type=int, default=240, help="how many are held against every chain")
    made.add_argument("--solves", type=int, default=24, help="how many plans are timed for each size")
    options = made.parse_args(arguments)
    figures = [*_against_enumeration(options.instances), *_solve_times(options.solves)]
    emit("split_plans", figures, as_json=options.json)


if __name__ == "__main__":
    main(sys.argv[1:])
