"""Layer cuts over many unlike devices, where states are too many to enumerate.

A beam finds a good chain fast; what could not be part of a better one is dropped; HiGHS, where it is installed
(the extra ``fita[solve]``), decides about the rest as an integer program: one path through the cuts, no more
options of a group than it has devices. Without HiGHS, or when its time is over, the chain comes with what gap is
left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fita.tinyml.plan.cost import least_period_ns
from fita.tinyml.plan.search.candidate import Option
from fita.tinyml.plan.search.chain import Answer, ChainSearch, Found, Objective, SearchLimits, Stopped
from fita.tinyml.plan.search.option import OptionSource
from fita.tinyml.plan.search.rest import Cost

_SCALE = 1e-6


@dataclass(frozen=True, slots=True)
class Price:
    """What a search minimises: a sum over the options, or the largest of the options and of a sum."""

    adds: Callable[[Option], int]
    peak: Callable[[Option], int] | None = None

    def of(self, options: Sequence[Option]) -> int:
        total = sum(map(self.adds, options))
        return max(total, *map(self.peak, options)) if self.peak else total


class AssignmentSearch:
    """Searches for chains of wholes only."""

    def __init__(self, source: OptionSource, objective: Objective, limits: SearchLimits) -> None:
        self._source, self._objective, self._limits = source, objective, limits
        self._bound = 0
        if objective is Objective.THROUGHPUT:
            self._price = Price(
                adds=lambda option: option.price.air_ns,
                peak=lambda option: option.price.busy_ns,
            )
        else:
            cost = ChainSearch(source, objective, limits).cost
            self._price = Price(adds=lambda option: cost(option)[0])

    def wholes(self) -> Answer:
        """The best found, by the beam or by HiGHS; None when neither finds one."""
        ways = _Ways(self._source, self._price)
        best = _beam(ways, self._limits.beam)
        self._bound = ways.least
        if self._objective is Objective.THROUGHPUT:
            self._bound = max(self._bound, least_period_ns(self._source.setting))
        solved = _solve(ways, best, self._limits.solver_s) if self._limits.solver_s > 0 else None
        if solved is not None:
            options, dual = solved
            self._bound = max(self._bound, dual)
            if options and (best is None or self._price.of(options) < self._price.of(best)):
                best = options
        if best is None:
            return None
        cost = self._price.of(best)
        self._bound = min(cost, self._bound)
        total = (cost, len(best), sum(option.price.air_bytes for option in best))
        return Found(best, total, self._bound, is_exact=self._bound == cost and self._is_all)

    def all(self, ceiling: Cost | None) -> Answer:
        """What is known of all chains once those of wholes have been searched."""
        if self._is_all:
            return None if ceiling is not None and self._bound >= ceiling[0] else Stopped(self._bound)
        if self._objective is Objective.THROUGHPUT:
            return Stopped(least_period_ns(self._source.setting))
        return Stopped(ChainSearch(self._source, self._objective, self._limits).least())

    def narrow(self, ceiling: Cost | None) -> Answer:
        """Nothing beside wholes is searched for."""
        return None

    @property
    def _is_all(self) -> bool:
        """Whether there are no other chains: shards and copies need devices that are alike."""
        kins = {group.kin for group in self._source.groups}
        return len(kins) == self._source.devices and self._objective is not Objective.THROUGHPUT


class _Ways:
    """All wholes, and what lies before and behind each at least, with as many devices as it likes."""

    def __init__(self, source: OptionSource, price: Price) -> None:
        self.source, self.price, self.end = source, price, source.end
        self.sizes = [group.size for group in source.groups]
        self.behind = self._rests()
        self.before = self._reaches()
        self._fits: dict[Option, bool] = {}
        self._ranked: dict[int, dict[int, list[Option]]] = {}

    @property
    def least(self) -> int:
        return self.behind[0] or 0

    def fits(self, option: Option) -> bool:
        if option.is_exact:
            return True
        if option not in self._fits:
            self._fits[option] = self.source.evaluated(option, lambda each: (each.price.busy_ns,)) is not None
        return self._fits[option]

    def joined(self, first: int, second: int) -> int:
        return max(first, second) if self.price.peak else first + second

    def single(self, option: Option) -> int:
        """What one option adds to a relaxed cost: for a peak, the peak."""
        return self.price.peak(option) if self.price.peak else self.price.adds(option)

    def ranked(self, cut: int) -> dict[int, list[Option]]:
        """The options from a cut on that lead to the end, the cheapest first, for each cut that they lead to."""
        if cut not in self._ranked:
            found: dict[int, list[Option]] = {}
            for option in sorted(self.source.wholes(cut), key=lambda each: (self.single(each), each.hosts)):
                if self.behind[option.last] is not None:
                    found.setdefault(option.last, []).append(option)
            self._ranked[cut] = found
        return self._ranked[cut]

    def _rests(self) -> list[int | None]:
        rest: list[int | None] = [None] * self.end + [0]
        for cut in range(self.end - 1, -1, -1):
            costs = [
                self.joined(self.single(option), behind)
                for option in self.source.wholes(cut)
                if (behind := rest[option.last]) is not None
            ]
            rest[cut] = min(costs, default=None)
        return rest

    def _reaches(self) -> list[int | None]:
        reach: list[int | None] = [0] + [None] * self.end
        for cut in range(self.end):
            passed = reach[cut]
            if passed is None:
                continue
            for option in self.source.wholes(cut):
                total = self.joined(passed, self.single(option))
                known = reach[option.last]
                reach[option.last] = total if known is None else min(known, total)
        return reach

    def below(self, ceiling: int | None) -> list[Option]:
        """Options that may be part of a chain cheaper than the ceiling."""
        found = []
        for cut in range(self.end):
            for option in self.source.wholes(cut):
                before, behind = self.before[cut], self.behind[option.last]
                if before is None or behind is None or self._fits.get(option) is False:
                    continue
                total = self.joined(self.joined(before, self.single(option)), behind)
                if ceiling is None or total < ceiling:
                    found.append(option)
        return found


@dataclass(frozen=True, slots=True)
class _Partial:
    total: int
    peak: int
    used: tuple[int, ...]
    options: tuple[Option, ...]


def _beam(ways: _Ways, width: int) -> tuple[Option, ...] | None:
    """Cut by cut, the few most promising ways of getting there."""
    waiting: list[list[_Partial]] = [[] for _ in range(ways.end + 1)]
    waiting[0].append(_Partial(0, 0, (0,) * len(ways.sizes), ()))
    for cut in range(ways.end):
        ranked = sorted(waiting[cut], key=lambda partial: (max(partial.total, partial.peak), partial.total))
        kept = 0
        seen: set[tuple[int, ...]] = set()
        for partial in ranked:
            if partial.used in seen or (partial.options and not ways.fits(partial.options[-1])):
                continue
            seen.add(partial.used)
            _extend(ways, partial, cut, waiting)
            kept += 1
            if kept == width:
                break
        waiting[cut] = []
    ends = [partial.options for partial in waiting[ways.end] if ways.fits(partial.options[-1])]
    return min(ends, key=ways.price.of, default=None)


def _extend(ways: _Ways, partial: _Partial, cut: int, waiting: Sequence[list[_Partial]]) -> None:
    """By every option, the cheapest few for each next cut."""
    for last, options in ways.ranked(cut).items():
        taken = 0
        for option in options:
            number = option.hosts[0][0]
            if partial.used[number] == ways.sizes[number]:
                continue
            used = (*partial.used[:number], partial.used[number] + 1, *partial.used[number + 1 :])
            peak = max(partial.peak, ways.price.peak(option)) if ways.price.peak else 0
            waiting[last].append(
                _Partial(partial.total + ways.price.adds(option), peak, used, (*partial.options, option))
            )
            taken += 1
            if taken == _BRANCHES:
                break


_BRANCHES = 3


def _solve(
    ways: _Ways, known: tuple[Option, ...] | None, solver_s: float
) -> tuple[tuple[Option, ...], int] | None:
    """A cheaper chain, or none, and a proven bound; None without HiGHS."""
    try:
        import highspy  # noqa: PLC0415 - an optional extra
    except ImportError:
        return None
    ceiling = ways.price.of(known) if known else None
    deadline = time.monotonic() + solver_s
    while (left_s := deadline - time.monotonic()) > 0:
        options = ways.below(ceiling)
        if not options:
            return (), ceiling or 0
        # The public class says hello on standard output before it can be told not to.
        (silent,) = highspy.Highs.__bases__
        solver: Any = silent()
        for name, value in (
            ("output_flag", False),
            ("time_limit", left_s),
            ("threads", 1),
            ("random_seed", 1),
        ):
            solver.setOptionValue(name, value)
        solver.passModel(_program(highspy, ways, options, ceiling))
        solver.run()
        status = solver.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            return (), ceiling or 0
        bound = (
            round(solver.getInfo().mip_dual_bound / _SCALE) if abs(solver.getInfo().mip_dual_bound) < 1e18 else 0
        )
        values = solver.getSolution().col_value
        chosen = [option for option, value in zip(options, values, strict=False) if value > 0.5]
        if not chosen:
            return (), bound
        chain = tuple(sorted(chosen, key=lambda option: option.first))
        if not [option for option in chain if not ways.fits(option)]:
            return chain, bound
    return (), ways.least


def _program(highspy: Any, ways: _Ways, options: Sequence[Option], ceiling: int | None) -> Any:
    """One column for each option, and one for the peak; rows for cuts, groups and what may not exceed the peak."""
    peak, infinity = ways.price.peak, highspy.kHighsInf
    cuts, groups = ways.end + 1, len(ways.sizes)
    rows: dict[tuple[int, int], int] = {}
    columns: list[list[tuple[int, float]]] = []
    for option in options:
        entries = [(option.first, -1.0), (option.last, 1.0)]
        entries += [(cuts + number, float(need)) for number, need in enumerate(option.needs) if need]
        if peak is not None:
            (number,) = option.hosts[0]
            # A device alone in its group runs one option at most; of a larger group, one from each cut on.
            key = (number, option.first if ways.sizes[number] > 1 else -1)
            row = rows.setdefault(key, cuts + groups + 1 + len(rows))
            entries += [(cuts + groups, ways.price.adds(option) * _SCALE), (row, peak(option) * _SCALE)]
        columns.append(entries)
    bounded = 0 if peak is None else 1 + len(rows)
    if peak is not None:
        columns.append([(cuts + groups + extra, -1.0) for extra in range(bounded)])
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(columns), cuts + groups + bounded
    lp.col_cost_ = [0.0] * len(options) + [1.0] if peak else [ways.price.adds(each) * _SCALE for each in options]
    lp.col_lower_ = [0.0] * len(columns)
    highest = infinity if ceiling is None else ceiling * _SCALE
    lp.col_upper_ = [1.0] * len(options) + ([highest] if peak else [])
    flow = [-1.0] + [0.0] * (cuts - 2) + [1.0]
    lp.row_lower_ = flow + [-infinity] * (groups + bounded)
    lp.row_upper_ = flow + [float(size) for size in ways.sizes] + [0.0] * bounded
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    starts = [0]
    for column in columns:
        starts.append(starts[-1] + len(column))
    lp.a_matrix_.start_ = starts
    lp.a_matrix_.index_ = [row for column in columns for row, _ in column]
    lp.a_matrix_.value_ = [value for column in columns for _, value in column]
    kinds = highspy.HighsVarType
    lp.integrality_ = [kinds.kInteger] * len(options) + ([kinds.kContinuous] if peak else [])
    return lp
