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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from operator import add, le

from fita.tinyml.graph import macs_by_class
from fita.tinyml.plan.search.assignment import Price as AssignmentPrice
from fita.tinyml.plan.search.assignment import assign
from fita.tinyml.plan.search.option import Option, OptionSource

Cost = tuple[int, int, int]
"""Compared from left to right: what the objective counts, devices, bytes in the air; see `cost_of`."""
_Options = Callable[[int], Sequence[Option]]
"""For a cut the options that start there."""
_FREE: Cost = (0, 0, 0)
_NEVER_NS = 10**15
_SETTLED = -1
_HASTE = 30
_SEARCHES = 5
"""How many times the limit of one search all searches for one answer may come to together."""


class Objective(StrEnum):
    """What is to be as good as possible, once everything fits. Then come fewest devices and fewest bytes."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    ENERGY = "energy"
    DEVICES = "devices"


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """When to stop looking for a proof, in one search.

    `states` entered, sharded options cut (`evaluations`); with more unlike `groups` of devices the search is for
    layer cuts only, a beam of so many and `solver_s` seconds of HiGHS. `moves` are tried beyond chains.
    """

    states: int = 20_000
    evaluations: int = 1000
    groups: int = 12
    solver_s: float = 1.0
    beam: int = 64
    moves: int = 24


@dataclass(frozen=True, slots=True)
class Found:
    """A chain of options and its cost; `bound` is the least cost that any chain could have."""

    options: tuple[Option, ...]
    total: Cost
    bound: int
    is_exact: bool

    @property
    def gap(self) -> float:
        """By what share of its cost the chain may at most be improved."""
        return 0.0 if self.is_exact else max(0.0, 1.0 - self.bound / max(1, self.total[0]))


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
    _entered: int = 0

    def best(self, objective: Objective) -> Found | Stopped | None:
        """The cheapest chain, or None when no chain fits.

        Chains of wholes come first, then such with stages sharded between narrow cuts: what the best of them costs
        is the most that the rest is tried for.
        """
        if len(self.source.groups) > self.limits.groups:
            return self._assigned(objective)
        if objective is Objective.THROUGHPUT:
            return self._fastest()

        def cost(option: Option) -> Cost:
            return cost_of(objective, option)

        best: Found | None = None
        found: Found | Stopped | None = None
        passes = ((self.source.wholes, 0), (self.source.narrow, _HASTE), (self.source.from_cut, 0))
        for options, haste in passes:
            found = self.cheapest(cost, options, ceiling=best.total if best else None, haste=haste)
            best = found if isinstance(found, Found) else best
        if isinstance(found, Stopped):
            return Found(best.options, best.total, found.bound, is_exact=False) if best else found
        return replace(best, bound=best.total[0], is_exact=True) if best else None

    def _assigned(self, objective: Objective) -> Found | None:
        """Layer cuts over many unlike devices."""
        link = self.source.setting.link
        if objective is Objective.THROUGHPUT:
            price = AssignmentPrice(
                adds=lambda option: link.air_ns(option.price.air_bytes) if link.shared else 0,
                peak=lambda option: option.price.busy_ns,
            )
        else:
            price = AssignmentPrice(adds=lambda option: cost_of(objective, option)[0])
        found = assign(self.source, price, beam=self.limits.beam, solver_s=self.limits.solver_s)
        if found is None:
            return None
        total = (found.cost, len(found.options), sum(option.price.air_bytes for option in found.options))
        # Among devices all unlike there are neither shards nor copies that would need like ones.
        alone = all(group.size == 1 for group in self.source.groups) and objective is not Objective.THROUGHPUT
        return Found(found.options, total, found.bound, is_exact=alone and found.bound >= found.cost)

    def cheapest(
        self,
        cost: Callable[[Option], Cost],
        options: _Options,
        accept: Callable[[Option], bool] = lambda _: True,
        *,
        bar: Callable[[int, Cost], bool] = lambda _cut, _cost: False,
        ceiling: Cost | None = None,
        haste: int = 0,
    ) -> Found | Stopped | None:
        """The chain of least cost among accepted options that never comes to a cut at a barred cost.

        None when there is none, or none below the ceiling. With `haste` what is left counts for so many per cent
        more: a chain that costs at most that much more than the cheapest comes sooner.
        """
        ways = Ways(self.source.end, cost, options, haste)
        frontier = _Frontier(ways, [group.size for group in self.source.groups], bar, ceiling)
        frontier.offer(_Node(_FREE, 0, (0,) * len(self.source.groups), None, None), 0)
        evaluations, before = 0, self._entered
        while (node := frontier.pop()) is not None:
            if node.option is not None and not node.option.is_exact:
                evaluations += node.option not in self._priced
                priced = self._exact(node.option)
                if priced is not None and accept(priced):
                    frontier.wait(_repriced(node, priced, cost))
            elif node.cut == self.source.end:
                return Found(node.options(), node.cost, node.cost[0], is_exact=not haste)
            else:
                frontier.offer(node, 0)
            self._entered = before + frontier.serial
            over = frontier.serial > self.limits.states or self._entered > _SEARCHES * self.limits.states
            if over or evaluations > self.limits.evaluations:
                return Stopped(frontier.least)
        return None

    def _exact(self, option: Option) -> Option | None:
        if option not in self._priced:
            self._priced[option] = self.source.evaluated(option)
        return self._priced[option]

    def _fastest(self) -> Found | Stopped | None:
        """The shortest period that a chain keeps, and of the chains that keep it one with the fewest devices."""
        wholes = self._shortest(self.source.wholes, None)
        if isinstance(wholes, Stopped):
            return self._assigned(Objective.THROUGHPUT) or wholes
        found = self._shortest(self.source.from_cut, wholes if isinstance(wholes, Found) else None)
        if isinstance(found, Stopped) and isinstance(wholes, Found):
            return Found(wholes.options, wholes.total, max(found.bound, self._least_period()), is_exact=False)
        return found

    def _least_period(self) -> int:
        """All devices, each as fast as the fastest, busy all the time with what is computed at least once."""
        devices = sum(group.size for group in self.source.groups)
        units = macs_by_class(self.source.setting.graph)
        return min(group.device.compute_ns(units, 0) for group in self.source.groups) // devices

    def _shortest(self, options: _Options, known: Found | None) -> Found | Stopped | None:
        """`known` is a chain that need not be found again."""
        low, kept = (0, known) if known is not None else self._longest_needed(options)
        while isinstance(kept, Found):
            better = self._keeps(kept.total[0] - 1, options)
            if better is None:
                return kept if kept is known else self._fewest(kept.total[0], options) or kept
            if isinstance(better, Stopped):
                return Stopped(low)
            kept = better
            middle = (low + kept.total[0]) // 2
            better = self._keeps(middle, options) if middle < kept.total[0] else None
            if isinstance(better, Found):
                kept = better
            else:
                low = middle
        return Stopped(low) if kept is not None else None

    def _longest_needed(self, options: _Options) -> tuple[int, Found | Stopped | None]:
        """A period that no chain keeps, and a chain for the next at which the choice changes."""
        periods = self.periods(options)
        position = bisect_left(periods, True, key=lambda period: self._keeps(period, options) is not None)
        low = periods[position - 1] if position else 0
        kept = self._keeps(periods[position], options) if position < len(periods) else None
        period = max(1, low)
        while kept is None and period < _NEVER_NS:
            # The air decides, or only shards fit.
            period *= 2
            kept = self._keeps(period, options)
        return low, kept

    def periods(self, options: _Options) -> list[int]:
        """Every period at which the choice of wholes and copies changes, ascending."""
        found: set[int] = set()
        devices = sum(group.size for group in self.source.groups)
        for cut in range(self.source.end):
            for option in options(cut):
                busy = option.price.busy_ns
                copies = devices if option.is_whole else 1
                found.update(-(-busy // count) for count in range(1, copies + 1))
        return sorted(found)

    def _keeps(self, period_ns: int, options: _Options) -> Found | Stopped | None:
        """The chain with the least air time that keeps a period, at the period that it really has."""
        link = self.source.setting.link

        def bar(_: int, cost: Cost) -> bool:
            return link.shared and link.air_ns(cost[0]) > period_ns

        def cost(option: Option) -> Cost:
            air_bytes, devices, _ = cost_of(Objective.THROUGHPUT, option)
            # Where the air is no limit, devices are what runs out.
            return (air_bytes, devices, 0) if link.shared else (devices, air_bytes, 0)

        found = self.cheapest(
            cost, self._copies(period_ns, options), lambda option: option.price.busy_ns <= period_ns, bar=bar
        )
        return self._at_period(found) if isinstance(found, Found) else found

    def _fewest(self, period_ns: int, options: _Options) -> Found | None:
        """The chain with the fewest devices that keeps a period, as far as the limits allow."""
        link, copies = self.source.setting.link, self._copies(period_ns, options)
        air = Ways(self.source.end, lambda option: cost_of(Objective.THROUGHPUT, option), copies).rest

        def bar(cut: int, cost: Cost) -> bool:
            behind = air[cut]
            return behind is None or (link.shared and link.air_ns(cost[1] + behind[0]) > period_ns)

        found = self.cheapest(
            lambda option: (option.device_count, option.price.air_bytes, 0),
            copies,
            lambda option: option.price.busy_ns <= period_ns,
            bar=bar,
        )
        return self._at_period(found) if isinstance(found, Found) else None

    def _copies(self, period_ns: int, options: _Options) -> _Options:
        known: dict[int, list[Option]] = {}

        def copied(cut: int) -> list[Option]:
            if cut not in known:
                known[cut] = [copy for option in options(cut) for copy in self.source.copies(option, period_ns)]
            return known[cut]

        return copied

    def _at_period(self, found: Found) -> Found:
        """With the period that the chain keeps as its cost."""
        link = self.source.setting.link
        period = max(option.price.busy_ns for option in found.options)
        air_bytes = sum(option.price.air_bytes for option in found.options)
        period = max(period, link.air_ns(air_bytes)) if link.shared else period
        return Found(found.options, (period, 0, air_bytes), period, is_exact=True)


@dataclass(frozen=True, slots=True)
class _Way:
    """An option on from a cut: what it costs, and at least with all that follows; by `rank` it is taken."""

    rank: Cost
    total: Cost
    cost: Cost
    option: Option


class Ways:
    """The options on from every cut, the cheapest first, with as many devices of each group as one likes.

    `rest` is what is left at least from each cut on; None where no chain leads to the end.
    """

    def __init__(self, end: int, cost: Callable[[Option], Cost], options: _Options, haste: int = 0) -> None:
        self._cost, self._options, self._haste = cost, options, haste
        self._sorted: dict[int, list[_Way]] = {}
        self.rest: list[Cost | None] = [None] * end + [_FREE]
        for cut in range(end - 1, -1, -1):
            self.rest[cut] = min((total for _, total, _, _ in self._totals(cut)), default=None)

    def _totals(self, cut: int) -> Iterator[tuple[Option, Cost, Cost, Cost]]:
        for option in self._options(cut):
            behind = self.rest[option.last]
            if behind is not None:
                cost = self._cost(option)
                yield option, plus(cost, behind), cost, behind

    def ranked(self, total: Cost, behind: Cost) -> Cost:
        """What counts instead of a total with so much left."""
        return (total[0] + behind[0] * self._haste // 100, total[1], total[2]) if self._haste else total

    def at(self, cut: int) -> list[_Way]:
        """All that lead to the end."""
        if cut not in self._sorted:
            found = [
                _Way(self.ranked(total, behind), total, cost, option)
                for option, total, cost, behind in self._totals(cut)
            ]
            self._sorted[cut] = sorted(found, key=lambda way: way.rank)
        return self._sorted[cut]


class _Frontier:
    """Nodes, and the next way on from each, by what a chain through them costs at least.

    A node is dropped when the same cut has been reached for no more cost with no more devices of any group.
    """

    def __init__(
        self, ways: Ways, sizes: Sequence[int], bar: Callable[[int, Cost], bool], ceiling: Cost | None
    ) -> None:
        self.serial = 0
        self.least = 0
        self._ways, self._sizes, self._bar, self._ceiling = ways, sizes, bar, ceiling
        self._queue: list[tuple[Cost, int, _Node, int]] = []
        self._closed: dict[int, list[tuple[int, ...]]] = {}

    def offer(self, node: _Node, start: int) -> None:
        """Enter the cheapest way on from a node that its devices allow, from the start-th on."""
        ways = self._ways.at(node.cut)
        for place in range(start, len(ways)):
            way = ways[place]
            if self._ceiling is not None and plus(node.cost, way.total) >= self._ceiling:
                return
            taken = map(add, node.used, way.option.needs)
            if all(map(le, taken, self._sizes)) and not self._bar(way.option.last, plus(node.cost, way.cost)):
                self._push(plus(node.cost, way.rank), node, place)
                return

    def wait(self, node: _Node) -> None:
        """Enter a node whose last option has another price than when it came first."""
        behind = self._ways.rest[node.cut]
        if behind is None:
            return
        total = plus(node.cost, behind)
        if (self._ceiling is None or total < self._ceiling) and not self._bar(node.cut, node.cost):
            self._push(self._ways.ranked(total, behind), node, _SETTLED)

    def _push(self, rank: Cost, node: _Node, place: int) -> None:
        self.serial += 1
        heapq.heappush(self._queue, (rank, self.serial, node, place))

    def pop(self) -> _Node | None:
        """The next node; one whose price is exact closes its state."""
        while self._queue:
            rank, _, node, place = heapq.heappop(self._queue)
            self.least = rank[0]
            if place != _SETTLED:
                way = self._ways.at(node.cut)[place]
                self.offer(node, place + 1)
                used = tuple(map(add, node.used, way.option.needs))
                node = _Node(plus(node.cost, way.cost), way.option.last, used, way.option, node)
            closed = self._closed.setdefault(node.cut, [])
            if node.used in closed or any(all(map(le, used, node.used)) for used in closed):
                continue
            if node.option is None or node.option.is_exact:
                closed.append(node.used)
            return node
        return None


def _repriced(node: _Node, option: Option, cost: Callable[[Option], Cost]) -> _Node:
    before = node.parent.cost if node.parent is not None else _FREE
    return _Node(plus(before, cost(option)), node.cut, node.used, option, node.parent)
