"""A discrete-event simulator of a plan: what happens when, for one frame or many in a row.

Each device runs one segment at a time, in the order in which their inputs have come in; older frames go first. A
message leaves as soon as its segment has run. On a shared medium messages go one after the other, those of older
frames and earlier stages first; otherwise each receiver has a port of its own. Deterministic: losses count by
their mean, as in the cost model, and nothing is drawn at random.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count

from fita.tinyml.plan.demand.table import DemandTable
from fita.tinyml.plan.plan import Plan
from fita.tinyml.segment import OUTSIDE

_OUTSIDE_DEVICE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took its time: a segment on a device, or a message of `size_bytes` in the air to one."""

    frame: int
    segment: int
    device: str
    start_ns: int
    stop_ns: int
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySample:
    """RAM that a device has in use from this time on: what lies there all the time, and frames in flight."""

    device: str
    at_ns: int
    ram_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a run of some frames came to. `latencies_ns` has one entry for each frame."""

    latencies_ns: tuple[int, ...]
    period_ns: int
    runs: tuple[Span, ...]
    messages: tuple[Span, ...]
    memory: tuple[MemorySample, ...]

    @property
    def latency_ns(self) -> int:
        """Of the first frame, which has everything to itself."""
        return self.latencies_ns[0]

    @property
    def frames_per_s(self) -> float:
        return 1e9 / max(1, self.period_ns)


def simulate(plan: Plan, *, frames: int = 1, every_ns: int = 0, processors: int | None = None) -> Simulation:
    """Run so many frames, a new one every so often; 0 for all at once, which shows the throughput.

    `processors` where the devices are processes of one machine that has no more of them; a device then waits for
    one to become free, which in the end takes as long as taking turns.
    """
    run = _Run(plan, frames, every_ns, processors if processors is not None else len(plan.setting.devices))
    run.finish()
    return run.result()


@dataclass(order=True, slots=True)
class _Job:
    """A segment of a frame that waits for inputs and then for its device."""

    frame: int
    segment: int
    device: str = field(compare=False)
    took_ns: int = field(compare=False)
    missing: int = field(compare=False)
    input_bytes: int = field(compare=False, default=0)


@dataclass(slots=True)
class _Flow:
    """What goes from one segment to another: bytes, in so many transfers; the last one tells it to run."""

    size_bytes: int = 0
    transfers: int = 0
    is_last: bool = False


@dataclass(order=True, slots=True)
class _Message:
    frame: int
    consumer: int
    producer: int
    port: str = field(compare=False)
    device: str = field(compare=False)
    flow: _Flow = field(compare=False)


class _Run:
    """Events are (time, serial, what to do); queues hold what waits for a device or for the air."""

    def __init__(self, plan: Plan, frames: int, every_ns: int, processors: int) -> None:
        self._plan, self._frames, self._every_ns = plan, frames, every_ns
        self._free = processors
        self._link = plan.setting.link
        self._traffic = _traffic(plan)
        self._took = _compute_ns(plan, plan.setting.table)
        self._events: list[tuple[int, int, _Job | _Message | int, str]] = []
        self._serial = count()
        self._ready: dict[str, list[_Job]] = {}
        self._busy: dict[str, bool] = {}
        self._waiting: dict[str, list[_Message]] = {}
        self._sending: dict[str, bool] = {}
        self._jobs: dict[tuple[int, int], _Job] = {}
        self._delivered: dict[int, int] = {}
        self._pending = {
            frame: sum(1 for _, consumer in self._traffic if consumer == OUTSIDE) for frame in range(frames)
        }
        self._runs: list[Span] = []
        self._messages: list[Span] = []
        self._memory = {use.device: use.ram_bytes for use in plan.figures.uses}
        self._samples = [MemorySample(device=d, at_ns=0, ram_bytes=ram) for d, ram in self._memory.items()]

    def finish(self) -> None:
        for frame in range(self._frames):
            self._at(frame * self._every_ns, frame, "born")
        while self._events:
            now, _, what, kind = heapq.heappop(self._events)
            if isinstance(what, int):
                self._born(now, what)
            elif isinstance(what, _Job):
                self._ran(now, what)
            elif kind == "sent":
                self._sent(now, what)
            else:
                self._arrived(now, what.frame, what.consumer, what.flow.size_bytes)

    def result(self) -> Simulation:
        ends = [self._delivered[frame] for frame in range(self._frames)]
        latencies = tuple(end - frame * self._every_ns for frame, end in enumerate(ends))
        half = self._frames // 2
        ordered = sorted(ends)
        period = (ordered[-1] - ordered[half]) // max(1, self._frames - 1 - half) if self._frames > 1 else ends[0]
        return Simulation(
            latencies_ns=latencies,
            period_ns=period,
            runs=tuple(self._runs),
            messages=tuple(self._messages),
            memory=tuple(self._samples),
        )

    def _at(self, time_ns: int, what: _Job | _Message | int, kind: str) -> None:
        heapq.heappush(self._events, (time_ns, next(self._serial), what, kind))

    def _host(self, frame: int, segment: int) -> str:
        names = self._plan.placement[segment]
        return names[frame % len(names)]

    def _born(self, now: int, frame: int) -> None:
        for segment in range(len(self._plan.placement)):
            device = self._host(frame, segment)
            missing = sum(1 for _, consumer in self._traffic if consumer == segment)
            job = _Job(frame, segment, device, self._took[segment][device], missing)
            self._jobs[frame, segment] = job
            if not missing:
                self._queue(now, job)
        self._give(now, frame, OUTSIDE, self._plan.setting.input_at)

    def _give(self, now: int, frame: int, producer: int, source: str) -> None:
        """Send what a segment has for others, or hand it over where it stays on its device."""
        for (giver, consumer), flow in self._traffic.items():
            if giver != producer:
                continue
            outside = self._plan.setting.result_at
            target = outside if consumer == OUTSIDE else self._host(frame, consumer)
            if target == source or (giver == OUTSIDE and consumer == OUTSIDE):
                self._arrived(now, frame, consumer, flow.size_bytes)
                continue
            port = "air" if self._link.shared else ("results" if consumer == OUTSIDE else target)
            place = consumer if consumer != OUTSIDE else len(self._plan.placement)
            message = _Message(frame, place, producer, port, target, flow)
            heapq.heappush(self._waiting.setdefault(port, []), message)
            self._send(now, port)

    def _send(self, now: int, port: str) -> None:
        if self._sending.get(port) or not self._waiting.get(port):
            return
        message = heapq.heappop(self._waiting[port])
        flow = message.flow
        self._sending[port] = True
        stop = now + self._link.air_ns(flow.size_bytes, flow.transfers, int(flow.is_last))
        self._messages.append(
            Span(
                frame=message.frame,
                segment=message.consumer,
                device=message.device,
                start_ns=now,
                stop_ns=stop,
                size_bytes=flow.size_bytes,
            )
        )
        self._at(stop, message, "sent")
        self._at(stop + self._link.latency_ns, message, "arrived")

    def _sent(self, now: int, message: _Message) -> None:
        self._sending[message.port] = False
        self._send(now, message.port)

    def _arrived(self, now: int, frame: int, consumer: int, size_bytes: int) -> None:
        if consumer in (OUTSIDE, len(self._plan.placement)):
            self._pending[frame] -= 1
            if self._pending[frame] <= 0:
                self._delivered[frame] = now
            return
        job = self._jobs[frame, consumer]
        job.missing -= 1
        job.input_bytes += size_bytes
        # Inputs of a frame that has to wait lie beside the arena that is in use.
        if self._busy.get(job.device):
            self._use(now, job.device, size_bytes)
        if job.missing == 0:
            self._queue(now, job)

    def _queue(self, now: int, job: _Job) -> None:
        heapq.heappush(self._ready.setdefault(job.device, []), job)
        self._start(now, job.device)

    def _start(self, now: int, device: str) -> None:
        if self._busy.get(device) or not self._ready.get(device) or not self._free:
            return
        self._free -= 1
        job = heapq.heappop(self._ready[device])
        self._busy[device] = True
        waited = self._memory[device] - self._base(device)
        self._use(now, device, -min(waited, job.input_bytes))
        stop = now + job.took_ns
        self._runs.append(Span(frame=job.frame, segment=job.segment, device=device, start_ns=now, stop_ns=stop))
        self._at(stop, job, "ran")

    def _ran(self, now: int, job: _Job) -> None:
        self._busy[job.device] = False
        self._free += 1
        self._give(now, job.frame, job.segment, job.device)
        waiting = [device for device, jobs in self._ready.items() if jobs]
        for device in sorted(waiting, key=lambda name: self._ready[name][0]):
            self._start(now, device)

    def _base(self, device: str) -> int:
        return next(use.ram_bytes for use in self._plan.figures.uses if use.device == device)

    def _use(self, now: int, device: str, change: int) -> None:
        if change:
            self._memory[device] += change
            self._samples.append(MemorySample(device=device, at_ns=now, ram_bytes=self._memory[device]))


def _traffic(plan: Plan) -> dict[tuple[int, int], _Flow]:
    """What goes from each segment to each, `OUTSIDE` included."""
    found: dict[tuple[int, int], _Flow] = {}
    for transfer in plan.split.transfers:
        flow = found.setdefault((transfer.producer, transfer.consumer), _Flow())
        flow.size_bytes += transfer.size_bytes
        flow.transfers += 1
    last = {consumer: producer for producer, consumer in sorted(found) if consumer != OUTSIDE}
    for consumer, producer in last.items():
        found[producer, consumer].is_last = True
    return found


def _compute_ns(plan: Plan, table: DemandTable) -> list[dict[str, int]]:
    """For each segment its time on each of its devices."""
    devices = plan.setting.by_name
    return [
        {name: devices[name].compute_ns(demand.units, demand.operators, 1) for name in names}
        for demand, names in zip(table.demands_of(plan.stages), plan.placement, strict=True)
    ]
