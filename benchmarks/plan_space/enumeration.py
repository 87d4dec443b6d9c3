"""Every chain there is, for small instances: every cut, every way of sharing a stage out, every named device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

from benchmarks.plan_space.instance import Chain, alike, cost
from fita.tinyml.operator import Conv2D, FullyConnected
from fita.tinyml.plan.cost import Placement, Setting, evaluate, feasible
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.search.chain import Objective
from fita.tinyml.split.stage import Stage, StageKind, even_shares, share_length

SHARES_MAX = 8
"""More shares of one stage are no candidates."""
SUM_REACH = 3
"""How many operators may follow an input-channel sum on the device that forms it."""


def every_chain(setting: Setting, *, copies: bool = False) -> Iterator[Chain]:
    """Every chain over named devices in which each takes part in one stage."""

    def extend(
        cut: int, free: tuple[DeviceModel, ...], stages: tuple[Stage, ...], where: Placement
    ) -> Iterator[Chain]:
        if cut == len(setting.graph.operators):
            yield stages, where
            return
        for made, hosts in every_step(setting, cut, free, copies=copies):
            taken = {name for names in hosts for name in names}
            left = tuple(device for device in free if device.name not in taken)
            yield from extend(made[-1].last, left, (*stages, *made), (*where, *hosts))

    yield from extend(0, setting.devices, (), ())


def every_step(
    setting: Setting, first: int, free: Sequence[DeviceModel], *, copies: bool
) -> Iterator[tuple[tuple[Stage, ...], Placement]]:
    """Every stage from a cut on, with devices of those that are free."""
    end = len(setting.graph.operators)
    for last in range(first + 1, end + 1):
        for count in range(1, (len(free) if copies else 1) + 1):
            for team in combinations(free, count):
                yield (
                    (Stage(first=first, last=last, copies=count),),
                    (tuple(device.name for device in team),),
                )
        for kind in (StageKind.ROWS, StageKind.OUTPUT_CHANNELS):
            for stage, team in _shared(setting, first, last, kind, free):
                yield (stage,), tuple((device.name,) for device in team)
    yield from _sums(setting, first, free)


def _sums(
    setting: Setting, first: int, free: Sequence[DeviceModel]
) -> Iterator[tuple[tuple[Stage, ...], Placement]]:
    """Input-channel shards of an operator, with the sum and some operators more on another device."""
    if not isinstance(setting.graph.operators[first], Conv2D | FullyConnected):
        return
    for stage, team in _shared(setting, first, first + 1, StageKind.INPUT_CHANNELS, free):
        for other in free:
            for last in range(first + 1, min(len(setting.graph.operators), first + 1 + SUM_REACH) + 1):
                if other not in team:
                    after = Stage(first=first + 1, last=last)
                    yield (stage, after), (*((device.name,) for device in team), (other.name,))


def _shared(
    setting: Setting, first: int, last: int, kind: StageKind, free: Sequence[DeviceModel]
) -> Iterator[tuple[Stage, tuple[DeviceModel, ...]]]:
    length = share_length(setting.graph, Stage(first=first, last=last, kind=kind))
    for count in range(2, min(length, SHARES_MAX, len(free)) + 1):
        for team in permutations(free, count):
            # Who has which share matters only for those that hold the input or want the result.
            plain = [device.name for device in team if device.name not in (setting.input_at, setting.result_at)]
            if all(alike(team[0], other) for other in team) and plain == sorted(plain):
                yield Stage(first=first, last=last, kind=kind, shares=even_shares(length, count)), team


def optimum(setting: Setting, objective: Objective) -> int | None:
    """The least cost of all chains that fit, by trying them all."""
    devices = setting.by_name
    best: int | None = None
    for stages, placement in every_chain(setting, copies=objective is Objective.THROUGHPUT):
        figures = evaluate(setting, stages, placement)
        value = cost(objective, figures)
        if (best is None or value < best) and feasible(devices, figures, setting.slack_bytes):
            best = value
    return best
