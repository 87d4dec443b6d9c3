"""One frame on its way through the segments of a split model, each on its device's process.

A segment runs as soon as its inputs are there and its device has nothing else to do, those of one device in the
order of the split; so devices work at the same time where the split lets them. This process only carries bytes
from one device to the next, one message after the other.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fita.simulator.segment_process import Answer, SegmentProcess
from fita.tinyml.pack.layout import Direction
from fita.tinyml.pack.packer import PackedSegment

Messages = dict[int, bytes]
"""Bytes of transfers by their number in the split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a segment's device has said of its run: microseconds, and bytes allocated where that was watched."""

    taken_us: int
    allocated_bytes: int


@dataclass(slots=True)
class _Segment:
    """What has to come in, by the edges' numbers, and what has come and is not with the device yet."""

    packed: PackedSegment
    process: SegmentProcess
    missing: dict[int, int]
    held: dict[int, bytes] = field(default_factory=dict)
    started: bool = False
    answers: list[Answer] = field(default_factory=list)

    @property
    def outputs(self) -> list[int]:
        return _edges(self.packed, Direction.OUT)


def _edges(packed: PackedSegment, direction: Direction) -> list[int]:
    return [number for number, edge in enumerate(packed.file.edges) if edge.direction is direction]


class Frame:
    """Runs once. Raises `SegmentProcessError` as soon as one device refuses, ends, or is silent for too long."""

    def __init__(
        self, packed: Sequence[PackedSegment], processes: Sequence[SegmentProcess], *, watched: bool
    ) -> None:
        self._watched = watched
        self._segments = [
            _Segment(part, process, {part.file.edges[n].transfer: n for n in _edges(part, Direction.IN)})
            for part, process in zip(packed, processes, strict=True)
        ]
        self._consumers = {number: each for each in self._segments for number in each.missing}
        self._working: dict[SegmentProcess, _Segment] = {}
        self._ran: dict[int, Ran] = {}
        self.most_at_once = 0
        """How many devices have been at work at the same time."""

    def run(self, fed: Mapping[int, bytes]) -> tuple[Messages, tuple[Ran, ...]]:
        """All messages that no segment takes, and what each segment took; `fed` are those from outside."""
        kept: Messages = {}
        self._carry(fed.items(), kept)
        while self._working:
            for process in self._heard():
                segment = self._working[process]
                segment.answers += process.receive()
                if not process.owed:
                    del self._working[process]
                    self._carry(self._finished(segment), kept)
        return kept, tuple(self._ran[segment.packed.file.index] for segment in self._segments)

    def _carry(self, messages: Iterable[tuple[int, bytes]], kept: Messages) -> None:
        """Towards those who wait for them; whoever then can work is told to."""
        for number, data in messages:
            consumer = self._consumers.get(number)
            if consumer is None:
                kept[number] = data
            else:
                consumer.held[consumer.missing.pop(number)] = data
        for segment in self._segments:
            if not segment.started and segment.process not in self._working:
                self._attend(segment)

    def _attend(self, segment: _Segment) -> None:
        """Give a segment of an idle device what there is for it."""
        process, packed, slot = segment.process, segment.packed, segment.packed.file.index
        for edge, data in segment.held.items():
            process.post_feed(slot, edge, data)
        segment.held.clear()
        if segment.missing:
            return
        process.post_run(slot, watched=self._watched)
        for edge in segment.outputs:
            process.post_take(slot, edge, packed.file.edges[edge].size_bytes)
        segment.started = True
        self._working[process] = segment
        self.most_at_once = max(self.most_at_once, len(self._working))

    def _heard(self) -> list[SegmentProcess]:
        """The devices at work that have something to say, in the order in which they were told to."""
        first = min(self._working, key=lambda process: process.deadline)
        wait_s = max(0.0, first.deadline - time.monotonic())
        ready, _, _ = select.select(list(self._working), [], [], wait_s)
        if not ready:
            raise first.silent()
        return ready

    def _finished(self, segment: _Segment) -> list[tuple[int, bytes]]:
        """The outputs of a segment that has run."""
        outputs = segment.outputs
        ran, *taken = segment.answers[-1 - len(outputs) :]
        taken_us, *allocated = ran.numbers
        self._ran[segment.packed.file.index] = Ran(taken_us=taken_us, allocated_bytes=sum(allocated))
        edges = segment.packed.file.edges
        return [(edges[edge].transfer, answer.data) for edge, answer in zip(outputs, taken, strict=True)]
