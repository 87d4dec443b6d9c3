"""The cheapest chain of options over disjoint devices: best first, exact until its limits.

What the rest costs at least is known from the same chain with as many devices of each group as it likes. Sharded
options enter at a lower bound and are priced only when nothing cheaper is left, and memory is looked at last, so
the first chain that reaches the end is the cheapest of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np

from fita.tinyml.plan.search.candidate import Option
from fita.tinyml.plan.search.frontier import FREE, Frontier, Node, Options, Ways
from fita.tinyml.plan.search.option import OptionSource
from fita.tinyml.plan.search.rest import Columns, Cost, Rest

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

    `states` entered, options weighed (`evaluations`); with more unlike `groups` of devices the search is
    for layer cuts only, a beam of so many and `solver_s` seconds of HiGHS. `moves` are tried beyond chains.
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


@dataclass(frozen=True, slots=True)
class Stopped:
    """The limits were reached; no chain costs less than `bound`."""

    bound: int


Answer = Found | Stopped | None
"""None when there is no chain, or none below the ceiling that was set."""


class Search(Protocol):
    """A search for one objective."""

    def wholes(self) -> Answer:
        """The best chain of stages on one device each, or on copies of it: found soon."""
        ...

    def all(self, ceiling: Cost | None) -> Answer:
        """The best of all chains that cost less than the ceiling."""
        ...

    def narrow(self, ceiling: Cost | None) -> Answer:
        """The best of those with shares between narrow cuts only."""
        ...


@dataclass(slots=True)
class ChainSearch:
    """Searches over the options of one source, by objectives that add up; remembers what it has priced."""

    source: OptionSource
    objective: Objective
    limits: SearchLimits = field(default_factory=SearchLimits)
    _known: dict[Option, Option | None] = field(default_factory=dict)
    _entered: int = 0

    def cost(self, option: Option) -> Cost:
        """What an option adds; for THROUGHPUT, which does not add up, what is better about one of two."""
        price, devices = option.price, option.device_count
        if self.objective is Objective.DEVICES:
            return (devices, price.latency_ns, price.air_bytes)
        first = {
            Objective.LATENCY: price.latency_ns,
            Objective.ENERGY: price.energy_nj,
            Objective.THROUGHPUT: price.busy_ns,
        }[self.objective]
        return (first, devices, price.air_bytes)

    def wholes(self) -> Answer:
        return self.cheapest(self._ways(self.source.wholes))

    def all(self, ceiling: Cost | None) -> Answer:
        return self.cheapest(self._ways(self.source.from_cut), ceiling=ceiling)

    def narrow(self, ceiling: Cost | None) -> Answer:
        return self.cheapest(self._ways(self.source.narrow), ceiling=ceiling)

    def least(self) -> int:
        """What no chain's cost can go below; known without a search."""
        least = self._ways(self.source.from_cut).rest.at(0, self.source.devices)
        return least[0] if least is not None else 0

    def _ways(self, options: Options) -> Ways:
        columns = [_columns(options(cut), self.cost) for cut in range(self.source.end)]
        return Ways(self.cost, options, Rest(columns, self.source.devices))

    def cheapest(
        self,
        ways: Ways,
        accept: Callable[[Option], bool] = lambda _: True,
        *,
        bar: Callable[[Cost], bool] = lambda _: False,
        ceiling: Cost | None = None,
    ) -> Answer:
        """The chain of least cost among accepted options whose least total is never barred on the way.

        None when there is none, or none below the ceiling.
        """
        frontier = Frontier(ways, [group.size for group in self.source.groups], bar, ceiling)
        frontier.offer(Node(FREE, 0, (0,) * len(self.source.groups), self.source.devices))
        evaluations, before = 0, self._entered
        while (node := frontier.pop()) is not None:
            if node.option is not None and not node.option.is_exact:
                evaluations += node.option not in self._known
                sure = self._surer(node.option)
                if sure is not None and accept(sure):
                    frontier.wait(node.repriced(sure, ways.cost(sure)))
            elif node.cut == self.source.end:
                return Found(node.options(), node.cost, node.cost[0], is_exact=True)
            else:
                frontier.offer(node)
            self._entered = before + frontier.serial
            over = frontier.serial > self.limits.states or self._entered > _SEARCHES * self.limits.states
            if over or evaluations > self.limits.evaluations:
                return Stopped(frontier.least)
        return None

    def _surer(self, option: Option) -> Option | None:
        if option not in self._known:
            self._known[option] = self.source.evaluated(option, self.cost)
        return self._known[option]


def _columns(options: Sequence[Option], cost: Callable[[Option], Cost]) -> Columns:
    rows = [(option.last, option.device_count, *cost(option)) for option in options]
    table = np.array(rows, np.int64).reshape(-1, 5)
    return Columns(table[:, 0], table[:, 1], table[:, 2:])
