"""Frames on their way through the segments of a split model, each on its device's process.

A segment runs as soon as its inputs are there and its device has nothing else to do, those of one device in the
order of the split; so devices work at the same time where the split lets them. This process only carries bytes
from one device to the next, one message after the other.
"""

from __future__ import annotations

import os
import select
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from fita.simulator.errors import SegmentProcessError
from fita.simulator.inference.process import Answer, SegmentProcess
from fita.tinyml.pack.layout import Direction, Edge
from fita.tinyml.pack.packer import PackedSegment


def _output_bytes(packed: PackedSegment) -> int:
    return sum(edge.size_bytes for edge in _edges(packed, Direction.OUT).values())


def processors() -> list[int]:
    """Those of this machine that this process and the devices may use, by number."""
    return sorted(os.sched_getaffinity(0))


def _part(processes: Iterable[SegmentProcess]) -> None:
    """Each on a processor of its own, as far as there are so many.

    Left to itself, the kernel keeps two that were woken together on one of them for some milliseconds.
    """
    used = Counter(process.processor for process in processes)
    for process in processes:
        if process.processor is None:
            process.processor = min(processors(), key=lambda number: (used[number], number))
            used[process.processor] += 1
            with suppress(ProcessLookupError):  # one that has ended says so by its pipe
                os.sched_setaffinity(process.pid, {process.processor})


Messages = dict[int, bytes]
"""Bytes of transfers by their number in the split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a segment's device has said of its run: microseconds, and bytes allocated where that was watched."""

    taken_us: int
    allocated_bytes: int


@dataclass(slots=True)
class _Segment:
    """Its edges by their numbers, what has come in for them, and what its device has said."""

    packed: PackedSegment
    process: SegmentProcess
    inputs: dict[int, Edge]
    outputs: dict[int, Edge]
    output_bytes: int
    held: dict[int, bytes] = field(default_factory=dict)
    started: bool = False
    answers: list[Answer] = field(default_factory=list)

    @property
    def slot(self) -> int:
        return self.packed.file.index


def _edges(packed: PackedSegment, direction: Direction) -> dict[int, Edge]:
    return {number: edge for number, edge in enumerate(packed.file.edges) if edge.direction is direction}


class Carrier:
    """Takes frames through segments, one after the other.

    Raises `SegmentProcessError` as soon as a device refuses, ends or is silent for too long; then it is of no use.
    """

    def __init__(self, packed: Sequence[PackedSegment], processes: Sequence[SegmentProcess]) -> None:
        self._watched = False
        self._segments = [
            _Segment(part, process, _edges(part, Direction.IN), _edges(part, Direction.OUT), _output_bytes(part))
            for part, process in zip(packed, processes, strict=True)
        ]
        self._consumers = {
            edge.transfer: (segment, number)
            for segment in self._segments
            for number, edge in segment.inputs.items()
        }
        self._working: dict[SegmentProcess, _Segment] = {}
        self._ran: dict[int, Ran] = {}
        self.most_at_once = 0
        """How many devices have been at work at the same time in the last frame."""

    def run(self, fed: Mapping[int, bytes], *, watched: bool) -> tuple[Messages, tuple[Ran, ...]]:
        """All messages that no segment takes, and what each segment took; `fed` are those from outside."""
        for process in self._working:
            raise SegmentProcessError(process.name, "has not ended an earlier frame: start the devices anew")
        self._watched, self.most_at_once = watched, 0
        for segment in self._segments:
            segment.held.clear()
            segment.answers.clear()
            segment.started = False
        kept: Messages = {}
        self._carry(fed.items(), kept)
        while self._working:
            for process in self._heard():
                segment = self._working[process]
                segment.answers += process.receive()
                if not process.owed:
                    del self._working[process]
                    self._carry(self._finished(segment), kept)
        return kept, tuple(self._ran[segment.slot] for segment in self._segments)

    def _carry(self, messages: Iterable[tuple[int, bytes]], kept: Messages) -> None:
        """Towards those who wait for them; whoever then can work is told to."""
        for number, data in messages:
            if number in self._consumers:
                consumer, edge = self._consumers[number]
                consumer.held[edge] = data
            else:
                kept[number] = data
        for segment in self._segments:
            complete = len(segment.held) == len(segment.inputs)
            if complete and not segment.started and segment.process not in self._working:
                self._start(segment)

    def _start(self, segment: _Segment) -> None:
        """Tell an idle device all that there is to do for a segment."""
        process, slot, held = segment.process, segment.slot, segment.held
        if self._watched:
            for number in segment.inputs:
                process.post_feed(slot, number, held[number])
            process.post_run(slot)
            for number, edge in segment.outputs.items():
                process.post_take(slot, number, edge.size_bytes)
        else:
            process.post_frame(slot, b"".join(held[number] for number in segment.inputs), segment.output_bytes)
        segment.started = True
        self._working[process] = segment
        if len(self._working) > 1:
            _part(self._working)
        self.most_at_once = max(self.most_at_once, len(self._working))

    def _heard(self) -> list[SegmentProcess]:
        """The devices at work that have something to say, or the one whose time to say something is over."""
        first = min(self._working, key=lambda process: process.deadline)
        wait_s = max(0.0, first.deadline - time.monotonic())
        ready, _, _ = select.select(list(self._working), [], [], wait_s)
        return ready or [first]

    def _finished(self, segment: _Segment) -> list[tuple[int, bytes]]:
        """The outputs of a segment that has run."""
        ran = segment.answers[len(segment.inputs) if self._watched else 0]
        taken_us, *allocated = ran.numbers
        self._ran[segment.slot] = Ran(taken_us=taken_us, allocated_bytes=sum(allocated))
        data, found = b"".join(answer.data for answer in segment.answers), []
        for output in segment.outputs.values():
            found.append((output.transfer, data[: output.size_bytes]))
            data = data[output.size_bytes :]
        return found
