"""Plans against the optimum and against simple rules, over random models and devices, and how long planning takes.

Small instances (3-5 operators, three devices) are held against an enumeration of every chain over named devices,
larger ones (8-18 operators, six devices) against an integer program over the same kinds of stages; see
`benchmarks.plan_space`. Larger ones are planned twice: within the limits that hold where a gateway plans, and,
called patient, with time for a proof.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial

from benchmarks.plan_space.comparison import Comparison, Planner, RuleComparison, compare
from benchmarks.plan_space.enumeration import optimum
from benchmarks.plan_space.instance import OBJECTIVES, cost, larger_setting, planned, random_setting
from benchmarks.plan_space.program import least_chain
from benchmarks.report import Figure, emit, median_and_p99, parser
from fita.base.resource import resource_folder
from fita.tinyml.graph import Graph
from fita.tinyml.plan.cost import Setting
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.link import WIFI
from fita.tinyml.plan.planner import setting_of
from fita.tinyml.plan.search.chain import Objective, SearchLimits
from fita.tinyml.reader import read_model

_PATIENT = SearchLimits(states=400_000, evaluations=10_000, moves=200)
_KIB = 1024


def _against_enumeration(count: int) -> list[Figure]:
    comparison, rules = Comparison(), RuleComparison()
    planners: dict[Planner, Comparison] = {planned: comparison}
    seed = 0
    while comparison.count < count:
        seed += 1
        setting = random_setting(seed, operators=3 + seed % 3, devices=3, kinds=1 + seed % 2)
        objective = OBJECTIVES[seed % len(OBJECTIVES)]
        compare(seed, setting, objective, planners=planners, optimum=optimum, rules=rules)
    return [*comparison.figures("small"), *rules.figures("small")]


def _against_program(count: int) -> list[Figure]:
    brief, patient, rules = Comparison(), Comparison(), RuleComparison()
    planners: dict[Planner, Comparison] = {planned: brief, partial(planned, limits=_PATIENT): patient}
    seed = 2000
    while brief.count < count:
        seed += 1
        setting, objective = larger_setting(seed), OBJECTIVES[seed % len(OBJECTIVES)]
        compare(seed, setting, objective, planners=planners, optimum=_least_cost, rules=rules)
    return [*brief.figures("larger"), *patient.figures("larger, patient"), *rules.figures("larger")]


def _least_cost(setting: Setting, objective: Objective) -> int | None:
    found = least_chain(setting, objective)
    return cost(objective, found.figures) if found is not None else None


def _solve_times(count: int) -> list[Figure]:
    """Processor time: the machine may do other things meanwhile."""
    figures = []
    for devices, kinds, target in ((6, 3, "< 100"), (50, 3, "< 2000"), (50, 50, "< 2000")):
        took, wanted = [], 0
        proven = 0
        for seed in range(1, 10 * count):
            setting = random_setting(1000 + seed, operators=10 + seed % 20, devices=devices, kinds=kinds)
            start = time.process_time()
            plan = planned(setting, OBJECTIVES[seed % 2])
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
    made.add_argument("--larger", type=int, default=160, help="how many are held against the integer program")
    made.add_argument("--solves", type=int, default=24, help="how many plans are timed for each size")
    options = made.parse_args(arguments)
    figures = [
        *_against_enumeration(options.instances),
        *_against_program(options.larger),
        *(_solve_times(options.solves) if options.solves else []),
    ]
    emit("split_plans", figures, as_json=options.json)


if __name__ == "__main__":
    main(sys.argv[1:])
