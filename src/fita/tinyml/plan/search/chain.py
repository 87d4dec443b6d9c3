"""The cheapest chain of options over disjoint devices: best first, exact until its limits.

A state is a cut and how many devices of each group are taken. What the rest costs at least is known from the same
chain with as many devices of each group as it likes. Sharded options enter at a lower bound and are cut and priced
only when nothing cheaper is left, so the first chain that reaches the end is the cheapest of all.

Throughput is a search for the shortest period that a chain can keep: the least air time of all chains whose
devices keep a period falls as the period grows.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fita.tinyml.plan.search.option import Option, OptionSource

Cost = tuple[int, int, int]
"""Compared from left to right: what the objective counts, devices, bytes in the air; see `cost_of`."""
_FREE: Cost = (0, 0, 0)
_NEVER_NS = 10**15


class Objective(StrEnum):
    """What is to be as good as possible, once everything fits. Then come fewest devices and fewest bytes."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    ENERGY = "energy"
    DEVICES = "devices"


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """When to stop looking for a proof: states opened and sharded options cut, in one search; seconds for HiGHS."""

    states: int = 20_000
    evaluations: int = 150
    solver_s: float = 1.0
    beam: int = 64


@dataclass(frozen=True, slots=True)
class Found:
    """A chain of options and its cost; `bound` is the least cost that any chain could have."""

    options: tuple[Option, ...]
    cost: int
    bound: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """The limits were reached; no chain costs less than `bound`."""

    bound: int


def cost_of(objective: Objective, option: Option) -> Cost:
    """What an option adds. For throughput the air time counts, and the devices' periods are a condition."""
    price, devices = option.price, option.device_count
    match objective:
        case Objective.LATENCY:
            return (price.latency_ns, devices, price.air_bytes)
        case Objective.ENERGY:
            return (price.energy_nj, devices, price.air_bytes)
        case Objective.DEVICES:
            return (devices, price.latency_ns, price.air_bytes)
        case Objective.THROUGHPUT:
            return (price.air_bytes, devices, 0)


def plus(first: Cost, second: Cost) -> Cost:
    return (first[0] + second[0], first[1] + second[1], first[2] + second[2])


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    cost: Cost
    cut: int
    used: tuple[int, ...]
    option: Option | None
    parent: _Node | None

    def options(self) -> tuple[Option, ...]:
        found: list[Option] = []
        node: _Node | None = self
        while node is not None and node.option is not None:
            found.append(node.option)
            node = node.parent
        return tuple(reversed(found))


@dataclass(slots=True)
class ChainSearch:
    """Searches over the options of one source; remembers what it has priced."""

    source: OptionSource
    limits: SearchLimits = field(default_factory=SearchLimits)
    _priced: dict[Option, Option | None] = field(default_factory=dict)

    def best(self, objective: Objective) -> Found | Stopped | None:
        """The cheapest chain, or None when no chain fits."""
        if objective is Objective.THROUGHPUT:
            return self._fastest()
        return self.cheapest(lambda option: cost_of(objective, option), self.source.from_cut)

    def rest(
        self, cost: Callable[[Option], Cost], options: Callable[[int], Sequence[Option]]
    ) -> list[Cost | None]:
        """For every cut what the rest costs at least; None where no chain leads to the end."""
        end = self.source.end
        rest: list[Cost | None] = [None] * end + [_FREE]
        for cut in range(end - 1, -1, -1):
            costs = [
                plus(cost(option), behind) for option in options(cut) if (behind := rest[option.last]) is not None
            ]
            rest[cut] = min(costs, default=None)
        return rest

    def cheapest(
        self,
        cost: Callable[[Option], Cost],
        options: Callable[[int], Sequence[Option]],
        accept: Callable[[Option], bool] = lambda _: True,
        bar: Callable[[int, Cost], bool] = lambda _cut, _cost: False,
    ) -> Found | Stopped | None:
        """The chain of least cost among accepted options that never comes to a cut at a barred cost."""
        rest = self.rest(cost, options)
        if rest[0] is None:
            return None
        sizes = tuple(group.size for group in self.source.groups)
        start = _Node(_FREE, 0, (0,) * len(sizes), None, None)
        queue: list[tuple[Cost, int, _Node]] = [(rest[0], 0, start)]
        closed: set[tuple[int, tuple[int, ...]]] = set()
        serial, evaluations = 0, 0
        while queue:
            total, _, node = heapq.heappop(queue)
            if (node.cut, node.used) in closed or bar(node.cut, node.cost):
                continue
            if node.option is not None and not node.option.is_exact:
                evaluations += node.option not in self._priced
                priced = self._exact(node.option)
                if priced is None or not accept(priced):
                    continue
                serial += 1
                node = _replaced(node, priced, cost)
                _push(queue, rest, serial, node)
                if evaluations > self.limits.evaluations:
                    return Stopped(total[0])
                continue
            if node.cut == self.source.end:
                return Found(node.options(), total[0], total[0], is_exact=True)
            closed.add((node.cut, node.used))
            if len(closed) > self.limits.states:
                return Stopped(total[0])
            for option in options(node.cut):
                used = tuple(map(sum, zip(node.used, option.needs, strict=True)))
                if all(a <= b for a, b in zip(used, sizes, strict=True)):
                    serial += 1
                    child = _Node(plus(node.cost, cost(option)), option.last, used, option, node)
                    _push(queue, rest, serial, child)
        return None

    def _exact(self, option: Option) -> Option | None:
        if option not in self._priced:
            self._priced[option] = self.source.evaluated(option)
        return self._priced[option]

    def _fastest(self) -> Found | Stopped | None:
        """The shortest period that a chain keeps, and of the chains that keep it one with the fewest devices."""
        periods = self.periods()
        position = bisect_left(periods, True, key=lambda period: self._keeps(period) is not None)
        low = periods[position - 1] if position else 0
        kept = self._keeps(periods[position]) if position < len(periods) else self._slowest(low)
        while isinstance(kept, Found):
            better = self._keeps(kept.cost - 1)
            if better is None:
                return self._fewest(kept.cost) or kept
            if isinstance(better, Stopped):
                return Stopped(low)
            kept = better
            middle = (low + kept.cost) // 2
            better = self._keeps(middle) if middle < kept.cost else None
            if isinstance(better, Found):
                kept = better
            else:
                low = middle
        return Stopped(low) if kept is not None else None

    def _slowest(self, longest: int) -> Found | Stopped | None:
        """At a period long enough for anything that fits at all: the air decides, or only shards fit."""
        period = max(1, longest)
        while period < _NEVER_NS:
            period *= 2
            kept = self._keeps(period)
            if kept is not None:
                return kept
        return None

    def periods(self) -> list[int]:
        """Every period at which the choice of wholes and copies changes, ascending."""
        found: set[int] = set()
        devices = sum(group.size for group in self.source.groups)
        for cut in range(self.source.end):
            for option in self.source.from_cut(cut):
                busy = option.price.busy_ns
                copies = devices if option.is_exact else 1
                found.update(-(-busy // count) for count in range(1, copies + 1))
        return sorted(found)

    def _keeps(self, period_ns: int) -> Found | Stopped | None:
        """The chain with the least air time that keeps a period, at the period that it really has."""
        found = self.cheapest(
            lambda option: cost_of(Objective.THROUGHPUT, option),
            self._copies(period_ns),
            lambda option: option.price.busy_ns <= period_ns,
        )
        if not isinstance(found, Found):
            return found
        period = self._period(found)
        return Found(found.options, period, period, is_exact=True) if period <= period_ns else None

    def _fewest(self, period_ns: int) -> Found | None:
        """The chain with the fewest devices that keeps a period, as far as the limits allow."""
        link, options = self.source.setting.link, self._copies(period_ns)
        air = self.rest(lambda option: cost_of(Objective.THROUGHPUT, option), options)

        def bar(cut: int, cost: Cost) -> bool:
            behind = air[cut]
            return behind is None or (link.shared and link.air_ns(cost[1] + behind[0]) > period_ns)

        found = self.cheapest(
            lambda option: (option.device_count, option.price.air_bytes, 0),
            options,
            lambda option: option.price.busy_ns <= period_ns,
            bar,
        )
        return Found(found.options, period_ns, period_ns, is_exact=True) if isinstance(found, Found) else None

    def _copies(self, period_ns: int) -> Callable[[int], Sequence[Option]]:
        known: dict[int, list[Option]] = {}

        def options(cut: int) -> list[Option]:
            if cut not in known:
                whole = self.source.from_cut(cut)
                known[cut] = [copied for option in whole for copied in self.source.copies(option, period_ns)]
            return known[cut]

        return options

    def _period(self, found: Found) -> int:
        """What the chain of a search for throughput keeps."""
        link = self.source.setting.link
        busy = max(option.price.busy_ns for option in found.options)
        return max(busy, link.air_ns(found.cost)) if link.shared else busy


def _replaced(node: _Node, option: Option, cost: Callable[[Option], Cost]) -> _Node:
    before = node.parent.cost if node.parent is not None else _FREE
    return _Node(plus(before, cost(option)), node.cut, node.used, option, node.parent)


def _push(queue: list[tuple[Cost, int, _Node]], rest: Sequence[Cost | None], serial: int, node: _Node) -> None:
    behind = rest[node.cut]
    if behind is not None:
        heapq.heappush(queue, (plus(node.cost, behind), serial, node))
