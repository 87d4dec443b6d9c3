"""The shortest period that a chain over disjoint devices keeps.

The least air time of all chains whose devices keep a period falls as the period grows, so this is a search for the
first period that some chain keeps. Where a stage is too slow it is copied, as often as the period asks. Most
periods are ruled out by what a chain costs that may have any devices it likes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np

from fita.tinyml.plan.cost import least_period_ns
from fita.tinyml.plan.search.candidate import Option
from fita.tinyml.plan.search.chain import Answer, ChainSearch, Found, Stopped
from fita.tinyml.plan.search.frontier import Options, Ways
from fita.tinyml.plan.search.option import OptionSource
from fita.tinyml.plan.search.rest import Columns, Cost, Rest
from fita.tinyml.tensor import Array

_NEVER_NS = 10**15


class ThroughputSearch:
    """Searches for the shortest period, and of the chains that keep it for one with the fewest devices."""

    def __init__(self, chains: ChainSearch) -> None:
        self._chains, self._source = chains, chains.source
        self._link = self._source.setting.link

    def wholes(self) -> Answer:
        return self._shortest(self._source.wholes, None)

    def all(self, ceiling: Cost | None) -> Answer:
        found = self._shortest(self._source.from_cut, ceiling[0] if ceiling else None)
        least = least_period_ns(self._source.setting)
        if isinstance(found, Stopped):
            return Stopped(max(found.bound, least))
        return replace(found, bound=max(found.bound, least)) if found and not found.is_exact else found

    def narrow(self, ceiling: Cost | None) -> Answer:
        return self._shortest(self._source.narrow, ceiling[0] if ceiling else None)

    def _shortest(self, options: Options, ceiling_ns: int | None) -> Answer:
        """Below the ceiling, if there is one."""
        table = _Table(self._source, options)
        low, kept = self._first(table) if ceiling_ns is None else (0, self._keeps(table, ceiling_ns - 1))
        while isinstance(kept, Found):
            better = self._keeps(table, kept.total[0] - 1)
            if better is None:
                return self._fewest(table, kept.total[0]) or kept
            if isinstance(better, Stopped):
                return replace(kept, bound=low, is_exact=False)
            kept = better
            middle = table.between(low, kept.total[0])
            better = self._keeps(table, middle) if low < middle < kept.total[0] else kept
            if isinstance(better, Found):
                kept = better
            elif better is None:
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

    def _may_keep(self, kept: _Kept) -> bool:
        """False only where no chain keeps the period."""
        least = kept.rest.at(0, self._source.devices)
        return least is not None and least[0] <= kept.period_ns

    def _keeps(self, table: _Table, period_ns: int) -> Answer:
        """The chain with the least air time that keeps a period, at the period that it really has.

        Where the air is no limit, it has the fewest devices, for these are what runs out.
        """
        kept = table.at(period_ns)
        if not self._may_keep(kept):
            return None
        return self._kept(kept if self._link.shared else table.at(period_ns, devices_first=True))

    def _fewest(self, table: _Table, period_ns: int) -> Found | None:
        """The chain with the fewest devices that keeps a period, as far as the limits allow."""
        found = self._kept(table.at(period_ns, devices_first=True))
        return found if isinstance(found, Found) else None

    def _kept(self, kept: _Kept) -> Answer:
        air = 1 if kept.devices_first else 0
        ways = Ways(
            lambda option: _ordered(option.price.air_ns, option.device_count, kept.devices_first),
            lambda cut: [copy for each in kept.options(cut) for copy in self._source.copies(each, kept.period_ns)],
            kept.rest,
        )
        found = self._chains.cheapest(
            ways,
            lambda option: option.price.busy_ns <= kept.period_ns,
            bar=lambda total: total[air] > kept.period_ns,
        )
        return self._at_period(found) if isinstance(found, Found) else found

    def _at_period(self, found: Found) -> Found:
        """With the period that the chain keeps as its cost."""
        air_bytes = sum(option.price.air_bytes for option in found.options)
        air_ns = sum(option.price.air_ns for option in found.options)
        period = max(air_ns, *(option.price.busy_ns for option in found.options))
        devices = sum(option.device_count for option in found.options)
        return Found(found.options, (period, devices, air_bytes), period, is_exact=True)


def _ordered(air_ns: int, devices: int, devices_first: bool) -> Cost:
    return (devices, air_ns, 0) if devices_first else (air_ns, devices, 0)


class _Kept(msgspec.Struct, frozen=True, eq=False):
    """A period, and what is left from each cut on when it is to be kept."""

    period_ns: int
    devices_first: bool
    options: Options
    rest: Rest


class _Table:
    """The options of all cuts as arrays."""

    def __init__(self, source: OptionSource, options: Options) -> None:
        self._options, self._devices = options, source.devices
        self._cuts = [_columns(options(cut)) for cut in range(source.end)]
        self.periods = self._periods()
        self._known: dict[tuple[int, bool], _Kept] = {}

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

    def at(self, period_ns: int, *, devices_first: bool = False) -> _Kept:
        """What is left when a period is to be kept: air and devices, or the other way round."""
        key = period_ns, devices_first
        if key not in self._known:
            rest = Rest([each.keeping(period_ns, devices_first) for each in self._cuts], self._devices)
            self._known[key] = _Kept(period_ns, devices_first, self._options, rest)
        return self._known[key]


class _Columns(msgspec.Struct, frozen=True, eq=False):
    last: Array
    busy_ns: Array
    air_ns: Array
    devices: Array
    whole: Array

    def keeping(self, period_ns: int, devices_first: bool) -> Columns:
        """Those that keep a period, wholes with as many copies as that takes at least."""
        count = np.maximum(1, -(-self.busy_ns // max(1, period_ns)))
        keeps = (count == 1) | self.whole
        devices = (self.devices * count)[keeps]
        parts = [self.air_ns[keeps], devices]
        costs = [*(reversed(parts) if devices_first else parts), np.zeros_like(devices)]
        return Columns(self.last[keeps], devices, np.stack(costs, axis=1))


def _columns(options: Sequence[Option]) -> _Columns:
    rows = [
        (each.last, each.price.busy_ns, each.price.air_ns, each.device_count, each.is_whole) for each in options
    ]
    table = np.array(rows, np.int64).reshape(-1, 5)
    return _Columns(table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4] != 0)
