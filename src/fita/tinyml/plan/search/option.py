"""The candidates of a chain: what one run of operators may become, over devices that do nothing else.

A run of operators is one device's whole, copies of it on several devices, row slabs, output-channel shards, or
input-channel shards of its first operator with the sum and what follows on one device more. Devices alike in all
but name are one group, and a choice is only how many of each group: which of them does not matter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from itertools import accumulate
from typing import Protocol

import msgspec
from msgspec.structs import replace

from fita.tinyml.graph import live_tensors
from fita.tinyml.operator import Conv2D, FullyConnected
from fita.tinyml.plan.cost import Setting, arrival_ns, delivery_ns
from fita.tinyml.plan.demand.table import Demand
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.search.bound import Bounds
from fita.tinyml.plan.search.candidate import Group, Option, Price, groups_of
from fita.tinyml.split.stage import Share, Stage, StageKind, even_shares, share_length

SHARES_MAX = 8
"""Beyond that many, halos and messages eat what another share would bring."""
_MIXED_DEVICES_MAX = 12
"""Copies of one share stand on devices of one group where there are more devices than this."""
_NARROW_CUTS = 4
_EVEN_CUTS = 4
_SUM_REACH = 3
"""How many operators may follow an input-channel sum on the device that forms it."""


class _Team(msgspec.Struct, frozen=True, eq=False):
    """Devices of one kind that share out a stage."""

    numbers: tuple[int, ...]
    groups: tuple[Group, ...]
    hosts: tuple[tuple[int, ...], ...]
    needs: tuple[int, ...]


class OptionSource:
    """All options of a setting; makes each list once."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.groups = groups_of(setting)
        self.devices = sum(group.size for group in self.groups)
        self.end = len(setting.graph.operators)
        self._bounds = Bounds(setting)
        self._known: dict[int, tuple[Option, ...]] = {}
        self._known_wholes: dict[int, tuple[Option, ...]] = {}
        self._known_shares: dict[tuple[int, int], tuple[Share, ...]] = {}
        self._known_teams: dict[int, tuple[_Team, ...]] = {}
        self._known_copies: dict[tuple[Option, int], tuple[Option, ...]] = {}
        self.evaluations = 0

    def from_cut(self, first: int) -> tuple[Option, ...]:
        """Every option that starts with operator `first`, without copies."""
        if first not in self._known:
            self._known[first] = (*self.wholes(first), *self._sharded(first), *self._sums(first))
        return self._known[first]

    @cached_property
    def narrow_cuts(self) -> frozenset[int]:
        """The ends, the few cuts over which least has to pass, and some that divide the work evenly."""
        graph = self.setting.graph
        live = [sum(tensor.size_bytes for tensor in tensors) for tensors in live_tensors(graph)]
        inner = sorted(range(1, self.end), key=lambda cut: (live[cut] >= live[cut - 1], live[cut], cut))
        work = list(accumulate(operator.macs for operator in graph.operators))
        even = [bisect_left(work, work[-1] * part / _EVEN_CUTS) + 1 for part in range(1, _EVEN_CUTS)]
        return frozenset({0, self.end, *inner[:_NARROW_CUTS], *(min(cut, self.end) for cut in even)})

    def narrow(self, first: int) -> tuple[Option, ...]:
        """Of `from_cut` the wholes, and what is shared out between narrow cuts."""
        if first not in self.narrow_cuts:
            return self.wholes(first)
        return tuple(
            option for option in self.from_cut(first) if option.is_whole or option.last in self.narrow_cuts
        )

    def wholes(self, first: int) -> tuple[Option, ...]:
        """Those on one device each. Their prices are exact; whether they fit may be open."""
        if first not in self._known_wholes:
            self._known_wholes[first] = tuple(self._wholes(first))
        return self._known_wholes[first]

    def _needs(self, hosts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        flat = [group for copies in hosts for group in copies]
        return tuple(flat.count(group) for group in range(len(self.groups)))

    def _wholes(self, first: int) -> Iterator[Option]:
        slack = self.setting.slack_bytes
        for last in range(first + 1, self.end + 1):
            stage = Stage(first=first, last=last)
            (demand,) = self.setting.table.demands(stage)
            for number, group in enumerate(self.groups):
                if demand.may_fit(group.device, slack_bytes=slack):
                    hosts = ((number,),)
                    price = self.price((stage,), hosts)
                    sure = demand.surely_fits(group.device, slack_bytes=slack)
                    yield Option(
                        first, last, (stage,), hosts, self._needs(hosts), price, is_priced=True, is_exact=sure
                    )

    def copies(self, option: Option, period_ns: int) -> Iterator[Option]:
        """The fewest copies of a whole with which its devices keep a period, in every mixture of groups."""
        if not option.is_whole:
            if option.price.busy_ns <= period_ns:
                yield option
            return
        count = max(1, -(-option.price.busy_ns // max(1, period_ns)))
        if (option, count) not in self._known_copies:
            self._known_copies[option, count] = tuple(self._copied(option, count))
        for copied in self._known_copies[option, count]:
            if copied.price.busy_ns <= period_ns:
                yield copied

    def _copied(self, option: Option, count: int) -> Iterator[Option]:
        if count == 1:
            yield option
            return
        for hosts in self._copy_hosts(option, option.hosts[0][0], count):
            stages = (replace(option.stages[0], copies=count),)
            price, needs = self.price(stages, (hosts,)), self._needs((hosts,))
            sure = self._all(self.setting.table.demands_of(stages), (hosts,), Demand.surely_fits)
            yield replace(option, stages=stages, hosts=(hosts,), needs=needs, price=price, is_exact=sure)

    def _copy_hosts(self, option: Option, number: int, count: int) -> Iterator[tuple[int, ...]]:
        """`count` devices of which the given group's are the slowest."""
        if count <= self.groups[number].size:
            yield (number,) * count
        if len(self.setting.devices) > _MIXED_DEVICES_MAX:
            return
        (demand,) = self.setting.table.demands(option.stages[0])
        helpers = []
        for other, group in enumerate(self.groups):
            busy = self.price(option.stages, ((other,),)).busy_ns
            # The slowest leads, so that each mixture comes once.
            leads = (busy, other) <= (option.price.busy_ns, number)
            if other != number and leads and demand.may_fit(group.device, slack_bytes=self.setting.slack_bytes):
                helpers.append(other)
        for own in range(min(count - 1, self.groups[number].size), 0, -1):
            for filled in self._filled(helpers, count - own):
                yield (*(number,) * own, *filled)

    def _filled(self, groups: Sequence[int], count: int) -> Iterator[tuple[int, ...]]:
        """Every way of taking so many devices from these groups."""
        if not groups:
            if count == 0:
                yield ()
            return
        for taken in range(min(count, self.groups[groups[0]].size), -1, -1):
            for rest in self._filled(groups[1:], count - taken):
                yield (*(groups[0],) * taken, *rest)

    def _sharded(self, first: int) -> Iterator[Option]:
        graph = self.setting.graph
        for last in range(first + 1, self.end + 1):
            for kind in (StageKind.ROWS, StageKind.OUTPUT_CHANNELS):
                length = share_length(graph, Stage(first=first, last=last, kind=kind))
                for count in range(2, min(length, SHARES_MAX, self._most_kin) + 1):
                    stage = Stage(first=first, last=last, kind=kind, shares=self._shares(length, count))
                    yield from self._shard_hosts(stage)

    @cached_property
    def _most_kin(self) -> int:
        sizes: dict[int, int] = {}
        for group in self.groups:
            sizes[group.kin] = sizes.get(group.kin, 0) + group.size
        return max(sizes.values(), default=0)

    def _shard_hosts(self, stage: Stage) -> Iterator[Option]:
        for team in self._teams_of(len(stage.shares)):
            price = self._bounds.of_shares(stage, team.groups)
            yield Option(
                stage.first, stage.last, (stage,), team.hosts, team.needs, price, is_priced=False, is_exact=False
            )

    def _shares(self, length: int, count: int) -> tuple[Share, ...]:
        if (length, count) not in self._known_shares:
            self._known_shares[length, count] = even_shares(length, count)
        return self._known_shares[length, count]

    def _teams_of(self, count: int) -> tuple[_Team, ...]:
        if count not in self._known_teams:
            self._known_teams[count] = tuple(
                _Team(numbers, tuple(self.groups[number] for number in numbers), hosts, self._needs(hosts))
                for numbers in self._teams(count)
                for hosts in [tuple((number,) for number in numbers)]
            )
        return self._known_teams[count]

    def _teams(self, count: int) -> Iterator[tuple[int, ...]]:
        """Each way of taking devices of one kind, those with a part in input and result first."""
        kins: dict[int, list[int]] = {}
        for number, group in enumerate(self.groups):
            kins.setdefault(group.kin, []).append(number)
        for numbers in kins.values():
            special = [n for n in numbers if self.groups[n].holds_input or self.groups[n].wants_result]
            plain = [n for n in numbers if n not in special]
            spare = self.groups[plain[0]].size if plain else 0
            for chosen in _subsets(special):
                if 0 <= count - len(chosen) <= spare:
                    yield (*chosen, *plain[:1] * (count - len(chosen)))

    def _sums(self, first: int) -> Iterator[Option]:
        operator = self.setting.graph.operators[first]
        if not isinstance(operator, Conv2D | FullyConnected):
            return
        kind = StageKind.INPUT_CHANNELS
        length = share_length(self.setting.graph, Stage(first=first, last=first + 1, kind=kind))
        for count in range(2, min(length, SHARES_MAX, self._most_kin) + 1):
            stage = Stage(first=first, last=first + 1, kind=kind, shares=self._shares(length, count))
            for team in self._teams_of(count):
                yield from self._summed(stage, team, operator)

    def _summed(self, stage: Stage, team: _Team, operator: Conv2D | FullyConnected) -> Iterator[Option]:
        for last in range(stage.last, min(self.end, stage.last + _SUM_REACH) + 1):
            after = Stage(first=stage.last, last=last)
            price = self._bounds.of_sum(stage, after, team.groups, operator)
            rest = self._rest_ns(after)
            for number in range(len(self.groups)):
                hosts = (*team.hosts, (number,))
                needs = self._needs(hosts)
                if any(need > group.size for need, group in zip(needs, self.groups, strict=True)):
                    continue
                added = replace(price, latency_ns=price.latency_ns + rest[number])
                yield Option(
                    stage.first, last, (stage, after), hosts, needs, added, is_priced=False, is_exact=False
                )

    def _rest_ns(self, stage: Stage) -> list[int]:
        if stage.last == stage.first:
            return [0] * len(self.groups)
        (demand,) = self.setting.table.demands(stage)
        return [group.device.compute_ns(demand.units, 0) for group in self.groups]

    def evaluated(self, option: Option, cost: Callable[[Option], tuple[int, ...]]) -> Option | None:
        """The option with one thing more made sure, its price or its memory; None when memory is lacking.

        Of the orders in which its devices may take the shares it has that of least cost from then on.
        """
        if option.is_exact:
            return option
        self.evaluations += 1
        demands = self.setting.table.demands_of(option.stages)
        fits = Demand.fits if option.is_priced else Demand.may_fit
        if not self._all(demands, option.hosts, fits):
            return None
        if option.is_priced:
            return replace(option, is_exact=True)
        # Devices that share out a stage have the same memory.
        sure = self._all(demands, option.hosts, Demand.surely_fits)
        priced = [
            replace(
                option,
                hosts=hosts,
                price=self._price(option.stages, hosts, demands),
                is_priced=True,
                is_exact=sure,
            )
            for hosts in _orders(option)
        ]
        return min(priced, key=cost)

    def _all(self, demands: Sequence[Demand], hosts: Sequence[tuple[int, ...]], fits: _Fits) -> bool:
        """Whether every device passes for what it hosts."""
        slack = self.setting.slack_bytes
        return all(
            fits(demand, self.groups[number].device, slack_bytes=slack)
            for demand, numbers in zip(demands, hosts, strict=True)
            for number in set(numbers)
        )

    def price(self, stages: Sequence[Stage], hosts: Sequence[tuple[int, ...]]) -> Price:
        """As `cost.evaluate` has it, for devices that nothing else in the chain uses."""
        return self._price(stages, hosts, self.setting.table.demands_of(stages))

    def _price(
        self, stages: Sequence[Stage], hosts: Sequence[tuple[int, ...]], demands: Sequence[Demand]
    ) -> Price:
        link, latency, busy, energy, air_bytes, air, place = self.setting.link, 0, 0, 0, 0, 0, 0
        for stage in stages:
            arriving, compute, delivered = [], [], 0
            for demand in demands[place : place + len(stage.shares)]:
                groups = [self.groups[number] for number in hosts[place]]
                place += 1
                alone = groups[0] if len(groups) == 1 else None
                arriving.append(
                    demand.input_bytes - (demand.graph_input_bytes if alone and alone.holds_input else 0)
                )
                compute.append(max(g.device.compute_ns(demand.units, demand.operators, 1) for g in groups))
                delivered += 0 if alone and alone.wants_result else demand.result_bytes
                energy += sum(group.device.energy_nj(demand.units) for group in groups) // len(groups)
                taken = link.air_ns(arriving[-1], orders=1)
                air += taken if link.shared else 0
                port = 0 if link.shared else taken
                busy = max(busy, compute[-1] // len(groups), port // len(groups))
            latency += arrival_ns(link, arriving, compute) + delivery_ns(link, delivered)
            air_bytes += sum(arriving) + delivered
            air += link.air_ns(delivered)
        return Price(latency, busy, energy + round(link.nj_per_byte * air_bytes), air_bytes, air)


def _orders(option: Option) -> list[tuple[tuple[int, ...], ...]]:
    """In which its devices may take the shares of its first stage."""
    count = len(option.stages[0].shares)
    return [(*order, *option.hosts[count:]) for order in _arrangements(option.hosts[:count])]


@cache
def _arrangements(team: tuple[tuple[int, ...], ...]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Every order of members of which some are alike."""
    if not team:
        return ((),)
    found = []
    for member in dict.fromkeys(team):
        place = team.index(member)
        found += [(member, *rest) for rest in _arrangements((*team[:place], *team[place + 1 :]))]
    return tuple(found)


class _Fits(Protocol):
    def __call__(self, demand: Demand, device: DeviceModel, /, *, slack_bytes: int) -> bool: ...


def _subsets(numbers: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for mask in range(1 << len(numbers)):
        yield tuple(number for place, number in enumerate(numbers) if mask >> place & 1)
