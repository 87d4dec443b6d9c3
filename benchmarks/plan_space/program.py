"""The cheapest of all chains by an integer program, for instances with too many chains to try.

One path of steps through the cuts, with no more devices of a group than there are; HiGHS leaves no gap.
Latency, energy and devices are sums over the steps. The period of a chain is the larger of what its busiest device
or port needs and of what all steps together send (on a shared medium; else deliver): of the chains whose devices
keep a period, the one that sends least is found by the same program, and the shortest period by bisection.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import highspy

from benchmarks.plan_space.instance import Chain, cost
from benchmarks.plan_space.step import Price, Step, StepSpace, groups_of
from fita.tinyml.plan.cost import Figures, Setting, evaluate, feasible
from fita.tinyml.plan.search.chain import Objective

_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Offer:
    """A step that fits, at its price."""

    step: Step
    price: Price


@dataclass(frozen=True, slots=True)
class Optimum:
    """The cheapest chain and what it costs."""

    chain: Chain
    figures: Figures
    cost: int


class ProgramError(Exception):
    """The program contradicts `evaluate` or gave up: its answers prove nothing."""


def least_chain(setting: Setting, objective: Objective) -> Optimum | None:
    """The cheapest of all chains that fit, or None where none does."""
    space = StepSpace(setting, groups_of(setting))
    sizes = [len(group.names) for group in space.groups]
    copies = objective is Objective.THROUGHPUT
    offers = [Offer(step, space.price_of(step)) for step in space.steps(copies=copies) if space.fits(step)]
    program = _Program(len(setting.graph.operators), sizes, offers)
    chains = _shortest(setting, program) if copies else [program.cheapest(_weight(setting, objective))]
    found = [_checked(space, objective, chain) for chain in chains if chain is not None]
    return min(found, key=lambda optimum: optimum.cost, default=None)


def _weight(setting: Setting, objective: Objective) -> Callable[[Offer], float]:
    match objective:
        case Objective.LATENCY:
            return lambda offer: offer.price.latency_ns
        case Objective.ENERGY:
            return lambda offer: offer.price.compute_nj + setting.link.nj_per_byte * offer.price.air_bytes
        case Objective.DEVICES:
            return lambda offer: sum(offer.step.needs) * _NS_PER_MS
        case Objective.THROUGHPUT:
            return lambda offer: offer.price.shared_ns


@dataclass(frozen=True, slots=True, eq=False)
class _Program:
    """Offers between cuts 0..end over groups of devices."""

    end: int
    sizes: Sequence[int]
    offers: Sequence[Offer]

    def cheapest(
        self, weight: Callable[[Offer], float], accept: Callable[[Offer], bool] = lambda _: True
    ) -> tuple[Offer, ...] | None:
        """The chain of accepted offers that weighs least; None when there is none."""
        best: dict[tuple[int, int, tuple[int, ...]], tuple[float, Offer]] = {}
        for offer in filter(accept, self.offers):
            # Of those that take the same devices over the same operators only the cheapest can matter.
            key = (offer.step.first, offer.step.last, offer.step.needs)
            weighed = (weight(offer), offer)
            if key not in best or weighed[0] < best[key][0]:
                best[key] = weighed
        columns = list(best.values())
        values = _solved(self._model(columns)) if columns else None
        if values is None:
            return None
        chosen = [offer for (_, offer), value in zip(columns, values, strict=True) if value > 0.5]
        return tuple(sorted(chosen, key=lambda offer: offer.step.first))

    def _model(self, columns: Sequence[tuple[float, Offer]]) -> Any:
        """Rows: for each cut what arrives less what leaves, for each group the devices taken."""
        lp, cuts = highspy.HighsLp(), self.end + 1
        entries = [
            [
                (offer.step.first, -1.0),
                (offer.step.last, 1.0),
                *((cuts + number, float(need)) for number, need in enumerate(offer.step.needs) if need),
            ]
            for _, offer in columns
        ]
        lp.num_col_, lp.num_row_ = len(columns), cuts + len(self.sizes)
        lp.col_cost_ = [weight / _NS_PER_MS for weight, _ in columns]
        lp.col_lower_, lp.col_upper_ = [0.0] * len(columns), [1.0] * len(columns)
        flow = [-1.0] + [0.0] * (cuts - 2) + [1.0]
        lp.row_lower_ = flow + [-highspy.kHighsInf] * len(self.sizes)
        lp.row_upper_ = flow + [float(size) for size in self.sizes]
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        starts = [0]
        for column in entries:
            starts.append(starts[-1] + len(column))
        lp.a_matrix_.start_ = starts
        lp.a_matrix_.index_ = [row for column in entries for row, _ in column]
        lp.a_matrix_.value_ = [value for column in entries for _, value in column]
        lp.integrality_ = [highspy.HighsVarType.kInteger] * len(columns)
        return lp


def _solved(model: Any) -> Sequence[float] | None:
    """The values of an optimum, or None where nothing is feasible."""
    # The public class says hello on standard output before it can be told not to.
    (silent,) = highspy.Highs.__bases__
    solver: Any = silent()
    for name, value in (
        ("output_flag", False),
        ("threads", 1),
        ("random_seed", 1),
        ("mip_rel_gap", 0.0),
        ("mip_abs_gap", 0.0),
    ):
        solver.setOptionValue(name, value)
    solver.passModel(model)
    solver.run()
    status = solver.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return None
    if status != highspy.HighsModelStatus.kOptimal:
        raise ProgramError(f"HiGHS ended with {status}")
    values: Sequence[float] = solver.getSolution().col_value
    return values


def _shortest(setting: Setting, program: _Program) -> Iterable[tuple[Offer, ...] | None]:
    """The chains of which one has the shortest period.

    Up to the first period that is kept, the air is what takes longer: the less, the longer the devices may take.
    From it on the devices take longer.
    """
    periods = sorted({offer.price.busy_ns for offer in program.offers})
    sends = _weight(setting, Objective.THROUGHPUT)
    known: dict[int, tuple[Offer, ...] | None] = {}

    def least_sent(position: int) -> tuple[Offer, ...] | None:
        if position not in known:
            known[position] = program.cheapest(sends, lambda offer: offer.price.busy_ns <= periods[position])
        return known[position]

    def is_kept(position: int) -> bool:
        chain = least_sent(position)
        if chain is None:
            return False
        return sum(map(sends, chain)) <= periods[position]

    first = bisect_left(range(len(periods)), True, key=is_kept)
    return [least_sent(place) for place in (first - 1, first) if 0 <= place < len(periods)]


def _checked(space: StepSpace, objective: Objective, offers: Sequence[Offer]) -> Optimum:
    """The chain at the price that `evaluate` has for it, which is that of the offers."""
    setting = space.setting
    stages, placement = space.chain_of([offer.step for offer in offers])
    figures = evaluate(setting, stages, placement)
    if price_together(setting, offers) != (figures.latency_ns, figures.period_ns, figures.energy_nj):
        raise ProgramError(f"the steps of {stages} over {placement} do not cost what they cost together")
    if not feasible(setting.by_name, figures, setting.slack_bytes):
        raise ProgramError(f"{stages} over {placement} do not fit")
    return Optimum((stages, placement), figures, cost(objective, figures))


def price_together(setting: Setting, offers: Sequence[Offer]) -> tuple[int, int, int]:
    """Latency, period and energy of a chain from the prices of its steps."""
    link, prices = setting.link, [offer.price for offer in offers]
    air_bytes = sum(price.air_bytes for price in prices)
    return (
        sum(price.latency_ns for price in prices),
        max(sum(price.shared_ns for price in prices), *(price.busy_ns for price in prices)),
        sum(price.compute_nj for price in prices) + round(link.nj_per_byte * air_bytes),
    )
