"""Best-first search over chains: nodes, and the ways on from each.

A state is a cut and how many devices of each group are taken. A node enters only its cheapest way on; the next
one follows when that is taken.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from operator import add, le

import msgspec

from fita.tinyml.plan.search.candidate import Option
from fita.tinyml.plan.search.rest import Cost, Rest

FREE: Cost = (0, 0, 0)
Options = Callable[[int], Sequence[Option]]
"""For a cut the options that start there."""
_SETTLED = -1


def plus(first: Cost, second: Cost) -> Cost:
    return (first[0] + second[0], first[1] + second[1], first[2] + second[2])


class Node(msgspec.Struct, frozen=True, eq=False):
    """A chain up to a cut: what it costs, which devices of each group it uses and how many are left in all."""

    cost: Cost
    cut: int
    used: tuple[int, ...]
    left: int
    option: Option | None = None
    parent: Node | None = None

    def after(self, way: Way) -> Node:
        """With one option more."""
        used = tuple(map(add, self.used, way.option.needs))
        left = self.left - way.option.device_count
        return Node(plus(self.cost, way.cost), way.option.last, used, left, way.option, self)

    def repriced(self, option: Option, cost: Cost) -> Node:
        """With what is known better of its last option."""
        before = self.parent.cost if self.parent is not None else FREE
        return Node(plus(before, cost), self.cut, self.used, self.left, option, self.parent)

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
    """The options on from every cut with so many devices left, the cheapest first, whatever the devices' kinds."""

    def __init__(self, cost: Callable[[Option], Cost], options: Options, rest: Rest) -> None:
        self.cost, self.rest, self._options = cost, rest, options
        self._sorted: dict[tuple[int, int], list[Way]] = {}

    def at(self, cut: int, left: int) -> list[Way]:
        """All that lead to the end."""
        key = cut, self.rest.counted(left)
        if key not in self._sorted:
            found = []
            for option in self._options(cut):
                count = option.device_count
                behind = self.rest.at(option.last, left - count) if count <= left else None
                if behind is not None:
                    cost = self.cost(option)
                    found.append(Way(plus(cost, behind), cost, option))
            self._sorted[key] = sorted(found, key=lambda way: way.total)
        return self._sorted[key]


class Frontier:
    """Nodes, and the next way on from each, by what a chain through them costs at least.

    A node is dropped when the same cut has been reached for no more cost with no more devices of any group, and
    where the least total is barred.
    """

    def __init__(
        self, ways: Ways, sizes: Sequence[int], bar: Callable[[Cost], bool], ceiling: Cost | None
    ) -> None:
        self.serial = 0
        self.least = 0
        self._ways, self._sizes, self._bar, self._ceiling = ways, sizes, bar, ceiling
        self._queue: list[tuple[Cost, int, Node, int]] = []
        self._closed: dict[int, list[Node]] = {}

    def offer(self, node: Node, start: int = 0) -> None:
        """Enter the cheapest way on from a node that its devices allow, from the start-th on."""
        ways = self._ways.at(node.cut, node.left)
        for place in range(start, len(ways)):
            way = ways[place]
            total = plus(node.cost, way.total)
            if self._ceiling is not None and total >= self._ceiling:
                return
            taken = map(add, node.used, way.option.needs)
            if all(map(le, taken, self._sizes)) and not self._bar(total):
                self._push(total, node, place)
                return

    def wait(self, node: Node) -> None:
        """Enter a node whose last option has another price than when it came first."""
        behind = self._ways.rest.at(node.cut, node.left)
        if behind is None:
            return
        total = plus(node.cost, behind)
        if (self._ceiling is None or total < self._ceiling) and not self._bar(total):
            self._push(total, node, _SETTLED)

    def _push(self, total: Cost, node: Node, place: int) -> None:
        self.serial += 1
        heapq.heappush(self._queue, (total, self.serial, node, place))

    def pop(self) -> Node | None:
        """The next node; one whose price is exact closes its state."""
        while self._queue:
            total, _, node, place = heapq.heappop(self._queue)
            self.least = total[0]
            if place != _SETTLED:
                self.offer(node, place + 1)
                node = node.after(self._ways.at(node.cut, node.left)[place])
            closed = self._closed.setdefault(node.cut, [])
            if any(other.cost <= node.cost and all(map(le, other.used, node.used)) for other in closed):
                continue
            if node.option is None or node.option.is_exact:
                closed.append(node)
            return node
        return None
