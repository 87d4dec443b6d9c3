"""The shortest period that a chain over disjoint devices keeps.

The least air time of all chains whose devices keep a period falls as the period grows, so this is a search for the
first period that some chain keeps. Where a stage is too slow it is copied, as often as the period asks. Most
periods are ruled out by what a chain costs that may have any devices it likes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fita.tinyml.plan.cost import least_period_ns
from fita.tinyml.plan.search.chain import Answer, ChainSearch, Found, Stopped
from fita.tinyml.plan.search.frontier import Cost, Options, Ways
from fita.tinyml.plan.search.option import Option, OptionSource
from fita.tinyml.tensor import Array

_NEVER_NS = 10**15
_NONE = np.int64(2**60)


class ThroughputSearch:
    """Searches for the shortest period, and of the chains that keep it for one with the fewest devices."""

    def __init__(self, chains: ChainSearch) -> None:
        self._chains, self._source = chains, chains.source
        self._link = self._source.setting.link
        self._devices = sum(group.size for group in self._source.groups)

    def wholes(self) -> Answer:
        return self._shortest(self._source.wholes, None)

    def all(self, ceiling: Cost | None) -> Answer:
        found = self._shortest(self._source.from_cut, ceiling[0] if ceiling else None)
        least = least_period_ns(self._source.setting)
        return Stopped(max(found.bound, least)) if isinstance(found, Stopped) else found

    def _shortest(self, options: Options, ceiling_ns: int | None) -> Answer:
        """Below the ceiling, if there is one."""
        table = _Table(self._source, options)
        low, kept = self._first(table) if ceiling_ns is None else (0, self._keeps(table, ceiling_ns - 1))
        while isinstance(kept, Found):
            better = self._keeps(table, kept.total[0] - 1)
            if better is None:
                return self._fewest(table, kept.total[0]) or kept
            if isinstance(better, Stopped):
                return Stopped(low)
            kept = better
            middle = table.between(low, kept.total[0])
            better = self._keeps(table, middle) if low < middle < kept.total[0] else None
            if isinstance(better, Found):
                kept = better
            else:
                low = middle
        return Stopped(low) if kept is not None else None

    def _first(self, table: _Table) -> tuple[int, Answer]:
        """A period that no chain keeps, and a chain for one of the next at which the choice changes."""
        periods, step = table.periods, 1
        place = bisect_left(periods, True, key=lambda period: self._may_keep(table.at(period)))
        low = periods[place - 1] if place else 0
        while place < len(periods):
            kept = self._keeps(table, periods[place])
            if kept is not None:
                return low, kept
            low, place, step = periods[place], place + step, 2 * step
        kept, period = None, max(1, periods[-1] if periods else 1)
        while kept is None and period < _NEVER_NS:
            # The air decides, or only shards fit.
            period *= 2
            kept = self._keeps(table, period)
        return low, kept

    def _may_keep(self, rest: _Rest, cut: int = 0, air_bytes: int = 0, devices: int = 0) -> bool:
        """False only where no chain on from a cut keeps the period."""
        if devices + rest.devices[cut] > self._devices:
            return False
        return not self._link.shared or self._link.air_ns(air_bytes + rest.air_bytes[cut]) <= rest.period_ns

    def _keeps(self, table: _Table, period_ns: int) -> Answer:
        """The chain with the least air time that keeps a period, at the period that it really has.

        Where the air is no limit, it has the fewest devices, for these are what runs out.
        """
        return self._kept(table.at(period_ns), air_first=self._link.shared)

    def _fewest(self, table: _Table, period_ns: int) -> Found | None:
        """The chain with the fewest devices that keeps a period, as far as the limits allow."""
        found = self._kept(table.at(period_ns), air_first=False)
        return found if isinstance(found, Found) else None

    def _kept(self, rest: _Rest, *, air_first: bool) -> Answer:
        if not self._may_keep(rest):
            return None
        place = 0 if air_first else 1

        def ordered(air_bytes: int, devices: int) -> Cost:
            return (air_bytes, devices, 0) if air_first else (devices, air_bytes, 0)

        def bar(cut: int, cost: Cost) -> bool:
            return not self._may_keep(rest, cut, cost[place], cost[1 - place])

        ways = Ways(
            self._source.end,
            lambda option: ordered(option.price.air_bytes, option.device_count),
            lambda cut: [copy for each in rest.options(cut) for copy in self._source.copies(each, rest.period_ns)],
            [None if n >= _NONE else ordered(a, n) for a, n in zip(rest.air_bytes, rest.devices, strict=True)],
        )
        found = self._chains.cheapest(ways, lambda option: option.price.busy_ns <= rest.period_ns, bar=bar)
        return self._at_period(found) if isinstance(found, Found) else found

    def _at_period(self, found: Found) -> Found:
        """With the period that the chain keeps as its cost."""
        period = max(option.price.busy_ns for option in found.options)
        air_bytes = sum(option.price.air_bytes for option in found.options)
        period = max(period, self._link.air_ns(air_bytes)) if self._link.shared else period
        return Found(found.options, (period, sum(o.device_count for o in found.options), air_bytes), period, True)


@dataclass(frozen=True, slots=True)
class _Rest:
    """From each cut on: the least air and the fewest devices of chains that keep a period, each by itself."""

    period_ns: int
    options: Options
    air_bytes: list[int]
    devices: list[int]


class _Table:
    """The options of all cuts as arrays."""

    def __init__(self, source: OptionSource, options: Options) -> None:
        self._end, self._options = source.end, options
        self._devices = sum(group.size for group in source.groups)
        self._cuts = [_columns(options(cut)) for cut in range(source.end)]
        self.periods = self._periods()
        self._known: dict[int, _Rest] = {}

    def _periods(self) -> list[int]:
        """Every period at which the choice of options and copies changes, ascending."""
        found = [np.zeros(0, np.int64)]
        for columns in self._cuts:
            found.append(columns.busy_ns)
            found += [-(-columns.busy_ns[columns.whole] // count) for count in range(2, self._devices + 1)]
        return [int(period) for period in np.unique(np.concatenate(found))]

    def between(self, low: int, high: int) -> int:
        """The middle one of the periods between these two, or the middle."""
        first, last = bisect_right(self.periods, low), bisect_left(self.periods, high)
        return self.periods[(first + last) // 2] if first < last else (low + high) // 2

    def at(self, period_ns: int) -> _Rest:
        """What is left from each cut on when a period is to be kept."""
        if period_ns not in self._known:
            air, devices = np.full(self._end + 1, _NONE), np.full(self._end + 1, _NONE)
            air[-1] = devices[-1] = 0
            for cut in range(self._end - 1, -1, -1):
                columns = self._cuts[cut]
                count = np.maximum(1, -(-columns.busy_ns // max(1, period_ns)))
                keeps = (count == 1) | (columns.whole & (count <= self._devices))
                last = columns.last[keeps]
                if len(last):
                    air[cut] = min(_NONE, (columns.air_bytes[keeps] + air[last]).min())
                    devices[cut] = min(_NONE, (columns.devices[keeps] * count[keeps] + devices[last]).min())
            self._known[period_ns] = _Rest(period_ns, self._options, air.tolist(), devices.tolist())
        return self._known[period_ns]


@dataclass(frozen=True, slots=True)
class _Columns:
    last: Array
    busy_ns: Array
    air_bytes: Array
    devices: Array
    whole: Array


def _columns(options: Sequence[Option]) -> _Columns:
    rows = [
        (each.last, each.price.busy_ns, each.price.air_bytes, each.device_count, each.is_whole) for each in options
    ]
    table = np.array(rows, np.int64).reshape(-1, 5)
    return _Columns(table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4] != 0)
