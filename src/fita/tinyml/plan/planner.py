"""The planner: the best split of a model over devices and links, or why there is none.

Lexicographic: it fits, then the objective, then the fewest devices, then the fewest bytes in the air. The same
question always has the same answer; limits count work, and only HiGHS has one in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fita.base.errors import ConfigurationError
from fita.tinyml.graph import Graph
from fita.tinyml.pack.packer import pack_segment
from fita.tinyml.plan.cost import Evaluation, Placement, Setting
from fita.tinyml.plan.demand.table import DemandTable
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.link import WIFI, Link
from fita.tinyml.plan.plan import Plan
from fita.tinyml.plan.refusal import no_plan
from fita.tinyml.plan.search.assignment import AssignmentSearch
from fita.tinyml.plan.search.candidate import Group, Option
from fita.tinyml.plan.search.chain import Answer, ChainSearch, Found, Objective, Search, SearchLimits, Stopped
from fita.tinyml.plan.search.fill import filled
from fita.tinyml.plan.search.option import OptionSource
from fita.tinyml.plan.search.team import improved, rank
from fita.tinyml.plan.search.throughput import ThroughputSearch
from fita.tinyml.split.stage import Stage

_PROMISES_MAX = 8
_PATIENCE = 5


def plan_model(
    graph: Graph,
    devices: Sequence[DeviceModel],
    link: Link = WIFI,
    objective: Objective = Objective.LATENCY,
    *,
    input_at: str | None = None,
    result_at: str | None = None,
    limits: SearchLimits | None = None,
    table: DemandTable | None = None,
) -> Plan:
    """The best plan found, with the memory that the packer promises.

    `input_at` is where inputs are born, the first device by default, and `result_at` where results are wanted, the
    same place by default; "" is outside of all devices. `table` is what an earlier call for the same graph knows.
    `NoPlanError` when the model does not fit.
    """
    setting = setting_of(graph, devices, link, input_at=input_at, result_at=result_at, table=table)
    for _ in range(_PROMISES_MAX):
        plan = best_plan(setting, objective, limits or SearchLimits())
        over = overdraft_bytes(plan)
        if over <= 0:
            return plan
        setting = replace(setting, slack_bytes=setting.slack_bytes + over)
    raise no_plan(setting)


def setting_of(
    graph: Graph,
    devices: Sequence[DeviceModel],
    link: Link,
    *,
    input_at: str | None = None,
    result_at: str | None = None,
    table: DemandTable | None = None,
) -> Setting:
    """The question, with names checked. `ConfigurationError` for one that no device has."""
    names = [device.name for device in devices]
    if not names or len(set(names)) != len(names):
        raise ConfigurationError("no devices, or two of one name", hint="give every device a name of its own")
    born = names[0] if input_at is None else input_at
    wanted = born if result_at is None else result_at
    for name in (born, wanted):
        if name and name not in names:
            raise ConfigurationError(f"no device is called {name!r}", hint=f"there are {', '.join(names)}")
    if table is None or table.graph is not graph:
        table = DemandTable(graph)
    return Setting(graph=graph, devices=tuple(devices), link=link, input_at=born, result_at=wanted, table=table)


def best_plan(setting: Setting, objective: Objective, limits: SearchLimits) -> Plan:
    """The best plan by the planner's own estimate of memory.

    What is found soon, and improved beyond chains, is the most that the rest is tried for.
    """
    source = OptionSource(setting)
    search = _search(source, objective, limits)
    found = search.wholes()
    if isinstance(found, Stopped):
        found = AssignmentSearch(source, objective, limits).wholes()
    best = chain = _placed_chain(source, found)
    cuts = sorted(source.narrow_cuts)
    if best is not None:
        best = improved(setting, objective, best, limits.moves, cuts=cuts)
    rest = proof = search.all(rank(objective, best) if best else None)
    if isinstance(proof, Stopped):
        rest = search.narrow(rank(objective, best) if best else None)
    if not isinstance(rest, Found) and isinstance(proof, Stopped) and best is None:
        # Whether anything fits at all is worth more time, and soonest found out by the fewest devices.
        patient = replace(limits, evaluations=_PATIENCE * limits.evaluations)
        rest = ChainSearch(source, Objective.DEVICES, patient).all(None)
    if isinstance(rest, Found):
        chain = _placed_chain(source, rest)
        best = improved(setting, objective, chain, limits.moves, cuts=cuts) if chain else None
    if best is None:
        return _filled_plan(setting, objective, limits)
    return _proven(setting, objective, best, is_chain=best is chain, proof=proof)


def _proven(
    setting: Setting,
    objective: Objective,
    best: Evaluation,
    *,
    is_chain: bool,
    proof: Answer,
) -> Plan:
    """The plan with what the search of all chains has shown. Nothing is proven once memory had to be kept free."""
    cost = rank(objective, best)[0]
    is_open = isinstance(proof, Stopped) or (isinstance(proof, Found) and not proof.is_exact)
    bound = proof.bound if proof is not None and is_open else cost
    return Plan(
        setting=setting,
        objective=objective,
        stages=best.stages,
        placement=best.placement,
        figures=best.figures(),
        is_exact=is_chain and not is_open and not setting.slack_bytes,
        gap=max(0.0, 1.0 - bound / max(1, cost)),
    )


def _filled_plan(setting: Setting, objective: Objective, limits: SearchLimits) -> Plan:
    """One that nothing is known of but that it fits, where no chain does."""
    found = filled(setting)
    if found is None:
        raise no_plan(setting)
    best = improved(setting, objective, found, limits.moves)
    return Plan(
        setting=setting,
        objective=objective,
        stages=best.stages,
        placement=best.placement,
        figures=best.figures(),
        is_exact=False,
        gap=None,
    )


def _search(source: OptionSource, objective: Objective, limits: SearchLimits) -> Search:
    if len(source.groups) > limits.groups:
        return AssignmentSearch(source, objective, limits)
    chains = ChainSearch(source, objective, limits)
    return ThroughputSearch(chains) if objective is Objective.THROUGHPUT else chains


def _placed_chain(source: OptionSource, found: Answer) -> Evaluation | None:
    return Evaluation(source.setting, *placed(source.groups, found.options)) if isinstance(found, Found) else None


def placed(groups: Sequence[Group], options: Sequence[Option]) -> tuple[tuple[Stage, ...], Placement]:
    """Stages and, for each segment, names: the next free ones of each group."""
    free = [iter(group.names) for group in groups]
    stages = tuple(stage for option in options for stage in option.stages)
    placement = tuple(
        tuple(next(free[group]) for group in copies) for option in options for copies in option.hosts
    )
    return stages, placement


def overdraft_bytes(plan: Plan) -> int:
    """By how much the packer's promises exceed the memory of some device; 0 or less when all fit."""
    packed = [pack_segment(plan.split, segment).file for segment in plan.split.segments]
    worst = 0
    for name, device in plan.setting.by_name.items():
        hosted = [packed[number] for number in plan.segments_of(name)]
        ram = sum(file.heap_bytes if device.weights_in_ram else file.ram_bytes for file in hosted)
        worst = max(worst, ram - device.free_ram_bytes)
    return worst
