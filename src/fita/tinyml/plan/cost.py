"""What a placed chain of stages costs: latency, throughput, energy, air, memory. All times in whole nanoseconds.

One frame goes through the stages one after the other. A stage's inputs leave for its shares when the stage before
is done, in the order of the shares; on a shared medium one after the other, otherwise each receiver has a port of
its own. What lies on the same device is not sent. Results go to where they are wanted as soon as a stage has them.
Skip connections that could have gone ahead make the simulator faster than this. It is slower only where messages
cost something besides their bytes and a segment gathers from several: that counts as one message here.

Frames in a row are limited by the busiest device or, on a shared medium, by the air.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from fita.tinyml.graph import Graph
from fita.tinyml.plan.demand.coverage import Gap
from fita.tinyml.plan.demand.table import Demand, DemandTable, all_fit
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.link import Link
from fita.tinyml.segment import OUTSIDE, Box
from fita.tinyml.split.box import elements, intersection, whole_box
from fita.tinyml.split.stage import Stage
from fita.tinyml.tensor import TYPE_BYTES, Tensor

Placement = tuple[tuple[str, ...], ...]
"""For each segment the devices of its copies."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting:
    """What is to be split over what. `input_at` and `result_at` name devices, or "" for outside of all."""

    graph: Graph
    devices: tuple[DeviceModel, ...]
    link: Link
    input_at: str = ""
    result_at: str = ""
    slack_bytes: int = 0
    table: DemandTable = field(repr=False)

    @property
    def by_name(self) -> dict[str, DeviceModel]:
        return {device.name: device for device in self.devices}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """What segments take of one device, in bytes, and how long they keep it busy in a frame."""

    device: str
    weight_bytes: int
    arena_bytes: int
    table_bytes: int
    ram_bytes: int
    flash_bytes: int
    busy_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a plan is predicted to do. `period_ns` is the time between frames in a row."""

    latency_ns: int
    period_ns: int
    energy_nj: int
    air_bytes: int
    device_count: int
    uses: tuple[DeviceUse, ...]

    @property
    def latency_ms(self) -> float:
        return self.latency_ns / 1e6

    @property
    def frames_per_s(self) -> float:
        return 1e9 / max(1, self.period_ns)

    @property
    def energy_mj(self) -> float:
        return self.energy_nj / 1e6


def arrival_ns(link: Link, remote_bytes: Sequence[int], compute_ns: Sequence[int]) -> int:
    """From the end of one stage to the end of the next, whose shares run on devices of their own."""
    passed = end = 0
    for size_bytes, took in zip(remote_bytes, compute_ns, strict=True):
        start = 0
        if size_bytes:
            air = link.air_ns(size_bytes, orders=1)
            passed = passed + air if link.shared else air
            start = passed + link.latency_ns
        end = max(end, start + took)
    return end


def delivery_ns(link: Link, remote_bytes: int) -> int:
    """For results of one stage to where they are wanted."""
    return link.air_ns(remote_bytes) + link.latency_ns if remote_bytes else 0


def evaluate(setting: Setting, stages: Sequence[Stage], placement: Placement) -> Figures:
    """The figures of any placed chain, whether its devices have the memory or not."""
    return Evaluation(setting, stages, placement).figures()


class Evaluation:
    """A placed chain's figures one by one, for those who often need but the first."""

    def __init__(self, setting: Setting, stages: Sequence[Stage], placement: Placement) -> None:
        self.setting, self.stages, self.placement = setting, tuple(stages), placement
        self.devices = setting.by_name
        self.demands = setting.table.demands_of(self.stages)
        self.traffic = traffic_bytes(setting.graph, self.demands)
        self._arriving, self._delivered = self._remote_bytes()
        self._hosted: dict[str, list[tuple[Demand, int]]] = {}
        for segment, names in enumerate(placement):
            for name in names:
                busy = self.compute_ns(segment, name) // len(names)
                self._hosted.setdefault(name, []).append((self.demands[segment], busy))

    def figures(self) -> Figures:
        """All of them, with the smallest arenas, which takes a search."""
        return Figures(
            latency_ns=self.latency_ns,
            period_ns=self.period_ns,
            energy_nj=self.energy_nj,
            air_bytes=self.air_bytes,
            device_count=self.device_count,
            uses=tuple(
                use_of(device, self._hosted[device.name])
                for device in self.setting.devices
                if device.name in self._hosted
            ),
        )

    def fits(self) -> bool:
        """Whether every device has the memory."""
        return all(
            all_fit([demand for demand, _ in hosted], self.devices[name], slack_bytes=self.setting.slack_bytes)
            for name, hosted in self._hosted.items()
        )

    @property
    def device_count(self) -> int:
        return len(self._hosted)

    @property
    def air_bytes(self) -> int:
        return sum(self._arriving) + sum(self._delivered)

    def _remote_bytes(self) -> tuple[list[int], list[int]]:
        """What comes to each segment from elsewhere, and what each gives to where results are wanted."""
        arriving, delivered = [0] * len(self.placement), [0] * len(self.placement)
        for (producer, consumer), count in self.traffic.items():
            source = (self.setting.input_at,) if producer == OUTSIDE else self.placement[producer]
            if consumer == OUTSIDE:
                if producer != OUTSIDE and source != (self.setting.result_at,):
                    delivered[producer] += count
            elif source != self.placement[consumer]:
                arriving[consumer] += count
        return arriving, delivered

    def compute_ns(self, segment: int, device: str) -> int:
        demand = self.demands[segment]
        return self.devices[device].compute_ns(demand.units, demand.operators, 1)

    @cached_property
    def latency_ns(self) -> int:
        link, total, first = self.setting.link, 0, 0
        for stage in self.stages:
            segments = range(first, first + len(stage.shares))
            hosts = [self.placement[segment] for segment in segments]
            slowest = [max(self.compute_ns(s, name) for name in self.placement[s]) for s in segments]
            sizes = [self._arriving[segment] for segment in segments]
            if len(set(hosts)) == len(hosts):
                total += arrival_ns(link, sizes, slowest)
            else:
                total += arrival_ns(link, [sum(sizes)], [sum(slowest)])
            total += delivery_ns(link, sum(self._delivered[segment] for segment in segments))
            first += len(stage.shares)
        return total

    @property
    def period_ns(self) -> int:
        link = self.setting.link
        busiest = max((sum(busy for _, busy in hosted) for hosted in self._hosted.values()), default=0)
        taken = [link.air_ns(size_bytes, orders=1) for size_bytes in self._arriving]
        results = sum(link.air_ns(size_bytes) for size_bytes in self._results_bytes())
        if link.shared:
            return max(busiest, sum(taken) + results)
        ports: dict[str, int] = {}
        for air, names in zip(taken, self.placement, strict=True):
            for name in names:
                ports[name] = ports.get(name, 0) + air // len(names)
        return max(busiest, results, *ports.values())

    def _results_bytes(self) -> Iterator[int]:
        """What each stage gives to where results are wanted."""
        first = 0
        for stage in self.stages:
            yield sum(self._delivered[first : first + len(stage.shares)])
            first += len(stage.shares)

    @property
    def energy_nj(self) -> int:
        total = round(self.setting.link.nj_per_byte * self.air_bytes)
        for demand, names in zip(self.demands, self.placement, strict=True):
            total += sum(self.devices[name].energy_nj(demand.units) for name in names) // len(names)
        return total


def traffic_bytes(graph: Graph, demands: Sequence[Demand]) -> dict[tuple[int, int], int]:
    """The bytes from each segment to each, by their places; `OUTSIDE` gives inputs and takes results."""
    owners: dict[Tensor, list[tuple[int, Box]]] = {t: [(OUTSIDE, whole_box(t.shape))] for t in graph.inputs}
    for place, demand in enumerate(demands):
        for tensor, box in demand.outputs:
            owners.setdefault(tensor, []).append((place, box))
    wanted = [(place, tensor, box) for place, demand in enumerate(demands) for tensor, box in demand.inputs]
    wanted += [(OUTSIDE, tensor, whole_box(tensor.shape)) for tensor in graph.outputs]
    found: dict[tuple[int, int], int] = {}
    for consumer, tensor, need in wanted:
        for producer, box in owners[tensor]:
            common = intersection(box, need)
            if common is not None:
                size_bytes = elements(common) * TYPE_BYTES[tensor.dtype]
                found[producer, consumer] = found.get((producer, consumer), 0) + size_bytes
    return found


def least_period_ns(setting: Setting) -> int:
    """What no plan's period can go below: all devices busy all the time with what is computed at least once.

    0 where shares may leave something out.

    A device does in a nanosecond at most that part of a fastest device's work by which it is slower with the
    operators that it is best at.
    """
    (whole,) = setting.table.demands(Stage(first=0, last=len(setting.graph.operators)))
    if whole.gap is not Gap.NONE:
        return 0
    speeds = [device.ns_per_unit for device in setting.devices]
    fastest = {name: min(each[name] for each in speeds) for name in whole.units}
    timed = [name for name in fastest if fastest[name] > 0]
    together = sum(max((fastest[name] / each[name] for name in timed), default=1.0) for each in speeds)
    return int(sum(fastest[name] * count for name, count in whole.units.items()) / together)


def use_of(device: DeviceModel, hosted: Sequence[tuple[Demand, int]]) -> DeviceUse:
    """What demands, each with its busy time, take of a device together."""
    return DeviceUse(
        device=device.name,
        weight_bytes=sum(demand.weight_bytes for demand, _ in hosted),
        arena_bytes=sum(demand.arena_bytes for demand, _ in hosted),
        table_bytes=sum(demand.table_bytes for demand, _ in hosted),
        ram_bytes=sum(demand.ram_on(device) for demand, _ in hosted),
        flash_bytes=sum(demand.flash_bytes for demand, _ in hosted),
        busy_ns=sum(busy for _, busy in hosted),
    )


def feasible(devices: Mapping[str, DeviceModel], figures: Figures, slack_bytes: int = 0) -> bool:
    """Whether every device has the memory."""
    return all(
        use.ram_bytes <= devices[use.device].free_ram_bytes - slack_bytes
        and use.flash_bytes <= devices[use.device].free_flash_bytes
        for use in figures.uses
    )
