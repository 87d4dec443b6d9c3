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
    setting: Setting, objective: Objective, start: Evaluation, budget: int, *, cuts: Sequence[int] = ()
) -> Evaluation:
    """The start, or what so many evaluations led to. Teams share what lies before one of the cuts."""
    search = _Search(setting, objective, start, budget)
    if objective is Objective.LATENCY:
        search.try_teams(cuts)
    search.descend()
    return search.best


@dataclass(frozen=True, slots=True)
class _Front:
    """Operators before a cut that a team shares out; its first device does the rest."""

    team: tuple[DeviceModel, ...]
    cut: int
    rest_ns: int
    least_ns: int


class _Search:
    def __init__(self, setting: Setting, objective: Objective, start: Evaluation, budget: int) -> None:
        self.setting, self.objective, self.best, self._left = setting, objective, start, budget
        self._devices = setting.by_name

    def _try(self, stages: tuple[Stage, ...], placement: Placement) -> bool:
        """Whether this is the best so far."""
        if self._left <= 0:
            return False
        self._left -= 1
        tried = Evaluation(self.setting, stages, placement)
        if rank(self.objective, tried) >= rank(self.objective, self.best) or not tried.fits():
            return False
        self.best = tried
        return True

    def try_teams(self, cuts: Sequence[int]) -> None:
        """Every front cut up over a team, the most promising first."""
        for front in sorted(self._fronts(cuts), key=lambda front: front.least_ns):
            if front.least_ns >= self.best.latency_ns or self._left <= 0:
                return
            for stage in self._shared(front):
                if self._until_ns(front, stage) < self.best.latency_ns:
                    hosts = (*((device.name,) for device in front.team), (front.team[0].name,))
                    self._try((stage, Stage(first=front.cut, last=len(self.setting.graph.operators))), hosts)

    def _fronts(self, cuts: Sequence[int]) -> Iterator[_Front]:
        """With what they take at least if nothing is computed twice."""
        setting, end = self.setting, len(self.setting.graph.operators)
        for team in self._teams():
            hub = team[0]
            for cut in cuts:
                if not 0 < cut < end:
                    continue
                (before,) = setting.table.demands(Stage(first=0, last=cut))
                (behind,) = setting.table.demands(Stage(first=cut, last=end))
                if not behind.may_fit(hub, slack_bytes=setting.slack_bytes):
                    continue
                rest_ns = hub.compute_ns(behind.units, behind.operators, 1)
                together = sum(1.0 / max(1, device.compute_ns(before.units, 0)) for device in team)
                yield _Front(team, cut, rest_ns, round(1.0 / together) + setting.link.latency_ns + rest_ns)

    def _teams(self) -> Iterator[tuple[DeviceModel, ...]]:
        """The device of the input, or the fastest, with the fastest others."""
        order = sorted(
            self.setting.devices,
            key=lambda d: (d.name != self.setting.input_at, d.ns_per_unit[OperatorClass.CONV], d.name),
        )
        for count in range(2, min(len(order), SHARES_MAX) + 1):
            yield tuple(order[:count])

    def _shared(self, front: _Front) -> Iterator[Stage]:
        weights = [1.0 / sum(device.ns_per_unit.values()) for device in front.team]
        for kind in (StageKind.ROWS, StageKind.OUTPUT_CHANNELS):
            length = share_length(self.setting.graph, Stage(first=0, last=front.cut, kind=kind))
            if length >= len(front.team):
                yield Stage(first=0, last=front.cut, kind=kind, shares=weighted_shares(length, weights))

    def _until_ns(self, front: _Front, stage: Stage) -> int:
        """Until the rest is done, but for what travels between."""
        remote, compute = [], []
        for device, demand in zip(front.team, self.setting.table.demands(stage), strict=True):
            held = demand.graph_input_bytes if device.name == self.setting.input_at else 0
            remote.append(demand.input_bytes - held)
            compute.append(device.compute_ns(demand.units, demand.operators, 1))
        return arrival_ns(self.setting.link, remote, compute) + front.rest_ns

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
