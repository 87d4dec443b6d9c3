"""Runs a split model on MicroPython processes, each with a device's heap limit, tensors through pipes.

A segment runs when its inputs are there, so devices work at the same time where the split lets them; what each
takes is measured on its device. Bytes are carried by this process: the link of such a run is the pipe.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np

from fita.simulator.inference.firmware import THIS_MACHINE, Processor, compile_segment_firmware
from fita.simulator.inference.frame import Carrier
from fita.simulator.inference.process import Heap, SegmentProcess
from fita.tinyml.errors import InputError
from fita.tinyml.execute import check_input
from fita.tinyml.pack.layout import Direction, Edge
from fita.tinyml.pack.packer import PackedSegment
from fita.tinyml.segment import OUTSIDE, SplitModel, Transfer
from fita.tinyml.tensor import Array, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceDevice:
    """An emulated device by name, with its whole heap: runtime, segments and what they need."""

    name: str
    heap_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRun:
    """What one segment took in one frame. Bytes in and out count what passed its edges."""

    segment: int
    device: str
    run_us: int
    allocated_bytes: int
    received_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """What a device's segments were promised to take of its heap, and what they took."""

    device: InferenceDevice
    segments: tuple[int, ...]
    promised_bytes: int
    heap: Heap
    native: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class InferenceRun:
    """One frame: the graph's outputs in its order, and what each segment took.

    `latency_us` is the whole frame's by the clock of this process; `most_at_once` devices have worked at one time.
    """

    outputs: tuple[Array, ...]
    segments: tuple[SegmentRun, ...]
    latency_us: int
    most_at_once: int


class SplitDevices:
    """The devices of one split model. ``with SplitDevices(...) as devices`` starts them and ends them.

    `placement` says for each segment on which of the `devices` it runs. Raises `SegmentProcessError` when a
    segment does not fit its device.
    """

    def __init__(
        self,
        split: SplitModel,
        packed: Sequence[PackedSegment],
        placement: Sequence[int],
        devices: Sequence[InferenceDevice],
        *,
        processor: Processor = THIS_MACHINE,
        native: bytes | None = None,
    ) -> None:
        self._split = split
        self._packed = packed
        self._placement = placement
        self._devices = devices
        self._processor = processor
        self._native_module = native
        self._stack = ExitStack()
        self._processes: dict[int, SegmentProcess] = {}
        self._promised: dict[int, int] = {}
        self._native: dict[int, bool] = {}
        self._carrier: Carrier | None = None

    def __enter__(self) -> SplitDevices:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="fita-segments-")))
        compile_segment_firmware(folder, self._processor, self._native_module)
        for number in sorted(set(self._placement)):
            device = self._devices[number]
            process = SegmentProcess(device.name, folder, device.heap_bytes)
            self._processes[number] = self._stack.enter_context(process)
        for packed, number in zip(self._packed, self._placement, strict=True):
            path = folder / f"segment-{packed.file.index}.fits"
            path.write_bytes(packed.data)
            loaded = self._processes[number].load(packed.file.index, path)
            self._promised[number] = self._promised.get(number, 0) + loaded.promised_bytes
            self._native[number] = loaded.native

    def run(self, inputs: Sequence[Array], *, watched: bool = True) -> InferenceRun:
        """One frame for inputs in the graph's order. `InputError` when an array does not fit its tensor.

        Unless `watched`, devices do not look at their heaps, as they would not in earnest, and report no
        allocated bytes: so latency is measured.
        """
        graph = self._split.graph
        if len(inputs) != len(graph.inputs):
            raise InputError(f"{len(inputs)} inputs", hint=f"give {len(graph.inputs)}")
        for tensor, array in zip(graph.inputs, inputs, strict=True):
            check_input(tensor, array)
        hosts = [self._processes[number] for number in self._placement]
        carrier = self._carrier = self._carrier or Carrier(self._packed, hosts)
        start = time.perf_counter_ns()
        kept, ran = carrier.run(self._fed(inputs), watched=watched)
        outputs = self._delivered(kept)
        latency_us = (time.perf_counter_ns() - start) // 1000
        segments = tuple(
            SegmentRun(
                segment=packed.file.index,
                device=process.name,
                run_us=took.taken_us,
                allocated_bytes=took.allocated_bytes,
                received_bytes=_edge_bytes(packed.file.edges, Direction.IN),
                sent_bytes=_edge_bytes(packed.file.edges, Direction.OUT),
            )
            for packed, process, took in zip(self._packed, hosts, ran, strict=True)
        )
        return InferenceRun(
            outputs=outputs, segments=segments, latency_us=latency_us, most_at_once=carrier.most_at_once
        )

    def use(self) -> tuple[DeviceUse, ...]:
        """What each device in use has taken of its heap so far."""
        return tuple(
            DeviceUse(
                device=self._devices[number],
                segments=tuple(at for at, place in enumerate(self._placement) if place == number),
                promised_bytes=self._promised[number],
                heap=process.heap(),
                native=self._native[number],
            )
            for number, process in self._processes.items()
        )

    def _fed(self, inputs: Sequence[Array]) -> dict[int, bytes]:
        arrays = dict(zip(self._split.graph.inputs, inputs, strict=True))
        return {
            number: _taken(transfer, arrays)
            for number, transfer in enumerate(self._split.transfers)
            if transfer.producer == OUTSIDE
        }

    def _delivered(self, messages: Mapping[int, bytes]) -> tuple[Array, ...]:
        outputs = {tensor: tensor.empty() for tensor in self._split.graph.outputs}
        for number, transfer in enumerate(self._split.transfers):
            if transfer.consumer == OUTSIDE:
                _deliver(transfer, messages[number], outputs)
        return tuple(outputs[tensor] for tensor in self._split.graph.outputs)


def _edge_bytes(edges: Sequence[Edge], direction: Direction) -> int:
    return sum(edge.size_bytes for edge in edges if edge.direction is direction)


def _taken(transfer: Transfer, arrays: Mapping[Tensor, Array]) -> bytes:
    return np.ascontiguousarray(arrays[transfer.source][transfer.source_box.slices]).tobytes()


def _deliver(transfer: Transfer, message: bytes, arrays: Mapping[Tensor, Array]) -> None:
    destination = arrays[transfer.destination]
    part = np.frombuffer(message, dtype=destination.dtype).reshape(transfer.destination_box.shape)
    destination[transfer.destination_box.slices] = part
