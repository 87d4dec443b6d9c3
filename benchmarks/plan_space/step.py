"""What one run of operators may become over counted devices: every candidate with its price and its fit.

The same space as `benchmarks.plan_space.enumeration`, for instances with too many chains to try. Devices alike in
all but name are one group, of which only the number counts. Where each device takes part in one stage, a chain
costs what its steps cost together: nothing that a stage is charged for depends on which others there are, because
whatever it receives comes from devices that are not its own. `price_of` is made of the same pieces as
`fita.tinyml.plan.cost.evaluate` and of nothing that searches for plans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from benchmarks.plan_space.enumeration import SHARES_MAX, SUM_REACH
from benchmarks.plan_space.instance import Chain, alike
from fita.tinyml.operator import Conv2D, FullyConnected
from fita.tinyml.plan.cost import Setting, arrival_ns, delivery_ns
from fita.tinyml.plan.demand.table import Demand
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.split.stage import Stage, StageKind, even_shares, share_length

Hosts = tuple[tuple[int, ...], ...]
"""For each segment the groups of its copies."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Interchangeable devices. One that holds the input or wants the result is alone in its group."""

    device: DeviceModel
    names: tuple[str, ...]
    holds_input: bool
    wants_result: bool


@dataclass(frozen=True, slots=True)
class Price:
    """What a step adds to a chain. `busy_ns`: how long a device of it, or the port of one, is busy in a frame.

    `shared_ns`: how long it occupies what all steps share, the medium or else the port where results are wanted.
    """

    latency_ns: int
    busy_ns: int
    compute_nj: int
    air_bytes: int
    shared_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Stages over operators first..last-1 and the groups of their segments; `needs` counts devices of each."""

    first: int
    last: int
    stages: tuple[Stage, ...]
    hosts: Hosts
    needs: tuple[int, ...]


def groups_of(setting: Setting) -> tuple[Group, ...]:
    """The devices of a setting, in the order in which a first of each appears."""
    found: list[Group] = []
    for device in setting.devices:
        ends = (device.name == setting.input_at, device.name == setting.result_at)
        for place, group in enumerate(found):
            if (group.holds_input, group.wants_result) == ends and alike(group.device, device):
                found[place] = Group(group.device, (*group.names, device.name), *ends)
                break
        else:
            found.append(Group(device, (device.name,), *ends))
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class StepSpace:
    """Every step of a setting, in no particular order."""

    setting: Setting
    groups: tuple[Group, ...]

    def steps(self, *, copies: bool) -> Iterator[Step]:
        """All that has enough devices, whether they have the memory or not."""
        end = len(self.setting.graph.operators)
        for first in range(end):
            for last in range(first + 1, end + 1):
                yield from self._wholes(first, last, copies=copies)
                for kind in (StageKind.ROWS, StageKind.OUTPUT_CHANNELS):
                    for stage, team in self._shared(first, last, kind):
                        yield from self._step((stage,), tuple((number,) for number in team))
            yield from self._sums(first, end)

    def _step(self, stages: tuple[Stage, ...], hosts: Hosts) -> Iterator[Step]:
        flat = [number for copies in hosts for number in copies]
        needs = tuple(flat.count(number) for number in range(len(self.groups)))
        if all(need <= len(group.names) for need, group in zip(needs, self.groups, strict=True)):
            yield Step(stages[0].first, stages[-1].last, stages, hosts, needs)

    def _wholes(self, first: int, last: int, *, copies: bool) -> Iterator[Step]:
        for count in range(1, (len(self.setting.devices) if copies else 1) + 1):
            for team in combinations_with_replacement(range(len(self.groups)), count):
                yield from self._step((Stage(first=first, last=last, copies=count),), (team,))

    def _shared(self, first: int, last: int, kind: StageKind) -> Iterator[tuple[Stage, tuple[int, ...]]]:
        """Even shares over like devices, in every order of the groups."""
        length = share_length(self.setting.graph, Stage(first=first, last=last, kind=kind))
        for count in range(2, min(length, SHARES_MAX, len(self.setting.devices)) + 1):
            for team in combinations_with_replacement(range(len(self.groups)), count):
                if all(alike(self.groups[team[0]].device, self.groups[other].device) for other in team):
                    stage = Stage(first=first, last=last, kind=kind, shares=even_shares(length, count))
                    for order in _orders(team):
                        yield stage, order

    def _sums(self, first: int, end: int) -> Iterator[Step]:
        if not isinstance(self.setting.graph.operators[first], Conv2D | FullyConnected):
            return
        for stage, team in self._shared(first, first + 1, StageKind.INPUT_CHANNELS):
            for last in range(first + 1, min(end, first + 1 + SUM_REACH) + 1):
                after = Stage(first=first + 1, last=last)
                for number in range(len(self.groups)):
                    yield from self._step((stage, after), (*((member,) for member in team), (number,)))

    def _demands(self, stages: Sequence[Stage]) -> Iterator[tuple[Demand, ...]]:
        before: Stage | None = None
        for stage in stages:
            yield self.setting.table.demands(stage, before)
            before = stage

    def fits(self, step: Step) -> bool:
        """Whether every device has the memory, as `fita.tinyml.plan.cost.feasible` has it."""
        slack = self.setting.slack_bytes
        demands = [demand for stage in self._demands(step.stages) for demand in stage]
        hosted = [
            (demand, self.groups[number].device)
            for demand, numbers in zip(demands, step.hosts, strict=True)
            for number in set(numbers)
        ]
        return all(demand.flash_bytes <= device.free_flash_bytes for demand, device in hosted) and all(
            demand.ram_on(device) <= device.free_ram_bytes - slack for demand, device in hosted
        )

    def price_of(self, step: Step) -> Price:
        """What a step adds to a chain of steps over other devices."""
        link, place = self.setting.link, 0
        latency = busy = energy = air_bytes = shared = 0
        for demands in self._demands(step.stages):
            arriving, compute, given = [], [], 0
            for demand in demands:
                team = [self.groups[number] for number in step.hosts[place]]
                taken = demand.input_bytes
                if len(team) == 1 and team[0].holds_input:
                    taken -= demand.graph_input_bytes
                if not (len(team) == 1 and team[0].wants_result):
                    given += demand.result_bytes
                arriving.append(taken)
                compute.append(max(g.device.compute_ns(demand.units, demand.operators, 1) for g in team))
                energy += sum(g.device.energy_nj(demand.units) for g in team) // len(team)
                carried = link.air_ns(taken, orders=1)
                shared += carried if link.shared else 0
                port = 0 if link.shared else carried // len(team)
                busy = max(busy, compute[-1] // len(team), port)
                place += 1
            latency += arrival_ns(link, arriving, compute) + delivery_ns(link, given)
            air_bytes += sum(arriving) + given
            shared += link.air_ns(given)
        return Price(latency, busy, energy, air_bytes, shared)

    def chain_of(self, steps: Sequence[Step]) -> Chain:
        """Stages and names: of each group the next that is free."""
        free = [iter(group.names) for group in self.groups]
        stages = tuple(stage for step in steps for stage in step.stages)
        return stages, tuple(
            tuple(next(free[number]) for number in copies) for step in steps for copies in step.hosts
        )


def _orders(team: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every order of groups, of which some are the same, once."""
    if not team:
        yield ()
    for first in sorted(set(team)):
        rest = list(team)
        rest.remove(first)
        for order in _orders(rest):
            yield (first, *order)
