"""Best-first search over chains: nodes, the ways on from each cut, and what is left at least.

A state is a cut and how many devices of each group are taken. A node enters only its cheapest way on; the next
one follows when that is taken.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from operator import add, le

import msgspec

from fita.tinyml.plan.search.option import Option

Cost = tuple[int, int, int]
"""Compared from left to right, and summed up over a chain."""
FREE: Cost = (0, 0, 0)
Options = Callable[[int], Sequence[Option]]
"""For a cut the options that start there."""
_SETTLED = -1


def plus(first: Cost, second: Cost) -> Cost:
    return (first[0] + second[0], first[1] + second[1], first[2] + second[2])


class Node(msgspec.Struct, frozen=True, eq=False):
    cost: Cost
    cut: int
    used: tuple[int, ...]
    option: Option | None
    parent: Node | None

    def options(self) -> tuple[Option, ...]:
        found: list[Option] = []
        node: Node | None = self
        while node is not None and node.option is not None:
            found.append(node.option)
            node = node.parent
        return tuple(reversed(found))


class Way(msgspec.Struct, frozen=True):
    """An option on from a cut: what it costs, and at least with all that follows."""

    total: Cost
    cost: Cost
    option: Option


class Ways:
    """The options on from every cut, the cheapest first, with as many devices of each group as one likes.

    `rest` is what is left at least from each cut on; None where no chain leads to the end. Without a given one it
    is the least of all options.
    """

    def __init__(
        self, end: int, cost: Callable[[Option], Cost], options: Options, rest: Sequence[Cost | None] = ()
    ) -> None:
        self.cost, self._options = cost, options
        self._sorted: dict[int, list[Way]] = {}
        self.rest: list[Cost | None] = list(rest) or [None] * end + [FREE]
        for cut in range(end - 1, -1, -1) if not rest else ():
            self.rest[cut] = min((total for _, total, _ in self._totals(cut)), default=None)

    def _totals(self, cut: int) -> Iterator[tuple[Option, Cost, Cost]]:
        for option in self._options(cut):
            behind = self.rest[option.last]
            if behind is not None:
                cost = self.cost(option)
                yield option, plus(cost, behind), cost

    def at(self, cut: int) -> list[Way]:
        """All that lead to the end."""
        if cut not in self._sorted:
            found = [Way(total, cost, option) for option, total, cost in self._totals(cut)]
            self._sorted[cut] = sorted(found, key=lambda way: way.total)
        return self._sorted[cut]


class Frontier:
    """Nodes, and the next way on from each, by what a chain through them costs at least.

    A node is dropped when the same cut has been reached for no more cost with no more devices of any group.
    """

    def __init__(
        self, ways: Ways, sizes: Sequence[int], bar: Callable[[int, Cost], bool], ceiling: Cost | None
    ) -> None:
        self.serial = 0
        self.least = 0
        self._ways, self._sizes, self._bar, self._ceiling = ways, sizes, bar, ceiling
        self._queue: list[tuple[Cost, int, Node, int]] = []
        self._closed: dict[int, list[tuple[int, ...]]] = {}

    def offer(self, node: Node, start: int = 0) -> None:
        """Enter the cheapest way on from a node that its devices allow, from the start-th on."""
        ways = self._ways.at(node.cut)
        for place in range(start, len(ways)):
            way = ways[place]
            if self._ceiling is not None and plus(node.cost, way.total) >= self._ceiling:
                return
            taken = map(add, node.used, way.option.needs)
            if all(map(le, taken, self._sizes)) and not self._bar(way.option.last, plus(node.cost, way.cost)):
                self._push(plus(node.cost, way.total), node, place)
                return

    def wait(self, node: Node) -> None:
        """Enter a node whose last option has another price than when it came first."""
        behind = self._ways.rest[node.cut]
        if behind is None:
            return
        total = plus(node.cost, behind)
        if (self._ceiling is None or total < self._ceiling) and not self._bar(node.cut, node.cost):
            self._push(total, node, _SETTLED)

    def _push(self, rank: Cost, node: Node, place: int) -> None:
        self.serial += 1
        heapq.heappush(self._queue, (rank, self.serial, node, place))

    def pop(self) -> Node | None:
        """The next node; one whose price is exact closes its state."""
        while self._queue:
            rank, _, node, place = heapq.heappop(self._queue)
            self.least = rank[0]
            if place != _SETTLED:
                way = self._ways.at(node.cut)[place]
                self.offer(node, place + 1)
                used = tuple(map(add, node.used, way.option.needs))
                node = Node(plus(node.cost, way.cost), way.option.last, used, way.option, node)
            closed = self._closed.setdefault(node.cut, [])
            if node.used in closed or any(all(map(le, used, node.used)) for used in closed):
                continue
            if node.option is None or node.option.is_exact:
                closed.append(node.used)
            return node
        return None


def repriced(node: Node, option: Option, cost: Cost) -> Node:
    """The node with what is known better of its last option."""
    before = node.parent.cost if node.parent is not None else FREE
    return Node(plus(before, cost), node.cut, node.used, option, node.parent)
