"""Better than any chain: devices that take part in several stages.

Chains give each device one stage. Here a whole team, each by its speed, cuts the front of the model into row slabs
or output channels, and one of the team goes on alone; then segments move to other devices for as long as that
helps, used ones included, where the memory allows both. A local search with a budget: it proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fita.tinyml.operator import OperatorClass
from fita.tinyml.plan.cost import Evaluation, Figures, Placement, Setting, arrival_ns
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.search.chain import Objective
from fita.tinyml.plan.search.option import SHARES_MAX
from fita.tinyml.split.stage import Stage, StageKind, share_length, weighted_shares


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A placed chain of stages and its figures."""

    stages: tuple[Stage, ...]
    placement: Placement
    figures: Figures


def rank(objective: Objective, figures: Figures | Evaluation) -> tuple[int, int, int]:
    """What is compared, from left to right: the objective, devices, bytes in the air."""
    first = {
        Objective.LATENCY: figures.latency_ns,
        Objective.THROUGHPUT: figures.period_ns,
        Objective.ENERGY: figures.energy_nj,
        Objective.DEVICES: figures.device_count,
    }[objective]
    second = figures.latency_ns if objective is Objective.DEVICES else figures.device_count
    return (first, second, figures.air_bytes)


def improved(
    setting: Setting, objective: Objective, start: Placed, budget: int, *, cuts: Sequence[int] = ()
) -> Placed:
    """The start, or what so many evaluations led to. Teams share what lies before one of the cuts."""
    search = _Search(setting, objective, start, budget)
    if objective is Objective.LATENCY:
        search.try_teams(cuts)
    search.descend()
    return search.best


class _Search:
    def __init__(self, setting: Setting, objective: Objective, start: Placed, budget: int) -> None:
        self.setting, self.objective, self.best, self._left = setting, objective, start, budget
        self._devices = setting.by_name

    def _try(self, stages: tuple[Stage, ...], placement: Placement) -> bool:
        """Whether this is the best so far."""
        if self._left <= 0:
            return False
        self._left -= 1
        tried = Evaluation(self.setting, stages, placement)
        if rank(self.objective, tried) >= rank(self.objective, self.best.figures) or not tried.fits():
            return False
        self.best = Placed(stages, placement, tried.figures())
        return True

    def try_teams(self, cuts: Sequence[int]) -> None:
        """Every front cut up over a team, the most promising first."""
        fronts = sorted(self._fronts(cuts), key=lambda front: front[0])
        for least, stages, placement in fronts:
            if least < self.best.figures.latency_ns:
                self._try(stages, placement)

    def _fronts(self, cuts: Sequence[int]) -> Iterator[tuple[int, tuple[Stage, ...], Placement]]:
        setting, end = self.setting, len(self.setting.graph.operators)
        for team in self._teams():
            hub = team[0]
            for cut in cuts:
                if not 0 < cut < end:
                    continue
                rest = Stage(first=cut, last=end)
                (behind,) = setting.table.demands(rest)
                if not behind.may_fit(hub, slack_bytes=setting.slack_bytes):
                    continue
                for front in self._shared(cut, team):
                    least = self._front_ns(front, team) + hub.compute_ns(behind.units, behind.operators, 1)
                    yield least, (front, rest), (*((device.name,) for device in team), (hub.name,))

    def _teams(self) -> Iterator[tuple[DeviceModel, ...]]:
        """The device of the input, or the fastest, with the fastest others."""
        order = sorted(
            self.setting.devices,
            key=lambda d: (d.name != self.setting.input_at, d.ns_per_unit[OperatorClass.CONV], d.name),
        )
        for count in range(2, min(len(order), SHARES_MAX) + 1):
            yield tuple(order[:count])

    def _shared(self, cut: int, team: Sequence[DeviceModel]) -> Iterator[Stage]:
        weights = [1.0 / sum(device.ns_per_unit.values()) for device in team]
        for kind in (StageKind.ROWS, StageKind.OUTPUT_CHANNELS):
            length = share_length(self.setting.graph, Stage(first=0, last=cut, kind=kind))
            if length >= len(team):
                yield Stage(first=0, last=cut, kind=kind, shares=weighted_shares(length, weights))

    def _front_ns(self, front: Stage, team: Sequence[DeviceModel]) -> int:
        """Until the last share of the front is done."""
        remote, compute = [], []
        for device, demand in zip(team, self.setting.table.demands(front), strict=True):
            held = demand.graph_input_bytes if device.name == self.setting.input_at else 0
            remote.append(demand.input_bytes - held)
            compute.append(device.compute_ns(demand.units, demand.operators, 1))
        return arrival_ns(self.setting.link, remote, compute)

    def descend(self) -> None:
        """Move one segment at a time while that helps."""
        moved = True
        while moved and self._left > 0:
            moved = sum(self._move(segment) for segment in range(len(self.best.placement))) > 0

    def _move(self, segment: int) -> bool:
        if len(self.best.placement[segment]) > 1:
            return False
        helped = False
        for name in self._devices:
            placement = self.best.placement
            if placement[segment] != (name,):
                changed = (*placement[:segment], (name,), *placement[segment + 1 :])
                helped |= self._try(self.best.stages, changed)
        return helped
