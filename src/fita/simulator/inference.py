"""Runs a split model on MicroPython processes, each with a device's heap limit, tensors through pipes.

Segments run one after another, as one frame meets them on devices; what each takes is measured on its device.
Bytes are carried by this process, so pipes stand for no link.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np

from fita.simulator.segment_firmware import THIS_MACHINE, Processor, compile_segment_firmware
from fita.simulator.segment_process import Heap, SegmentProcess
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
    """One frame: the graph's outputs in its order, and what each segment took."""

    outputs: tuple[Array, ...]
    segments: tuple[SegmentRun, ...]


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

    def run(self, inputs: Sequence[Array]) -> InferenceRun:
        """One frame for inputs in the graph's order. `InputError` when an array does not fit its tensor."""
        graph = self._split.graph
        if len(inputs) != len(graph.inputs):
            raise InputError(f"{len(inputs)} inputs", hint=f"give {len(graph.inputs)}")
        for tensor, array in zip(graph.inputs, inputs, strict=True):
            check_input(tensor, array)
        fed = dict(zip(graph.inputs, inputs, strict=True))
        messages = {
            number: _taken(transfer, fed)
            for number, transfer in enumerate(self._split.transfers)
            if transfer.producer == OUTSIDE
        }
        runs = tuple(self._run_segment(packed, messages) for packed in self._packed)
        outputs = {tensor: tensor.empty() for tensor in graph.outputs}
        for number, transfer in enumerate(self._split.transfers):
            if transfer.consumer == OUTSIDE:
                _deliver(transfer, messages[number], outputs)
        return InferenceRun(outputs=tuple(outputs[tensor] for tensor in graph.outputs), segments=runs)

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

    def _run_segment(self, packed: PackedSegment, messages: dict[int, bytes]) -> SegmentRun:
        slot, edges = packed.file.index, packed.file.edges
        process = self._processes[self._placement[slot]]
        for number, edge in enumerate(edges):
            if edge.direction is Direction.IN:
                process.feed(slot, number, messages[edge.transfer])
        taken_us, allocated_bytes = process.run(slot)
        for number, edge in enumerate(edges):
            if edge.direction is Direction.OUT:
                messages[edge.transfer] = process.take(slot, number, edge.size_bytes)
        return SegmentRun(
            segment=slot,
            device=process.name,
            run_us=taken_us,
            allocated_bytes=allocated_bytes,
            received_bytes=_edge_bytes(edges, Direction.IN),
            sent_bytes=_edge_bytes(edges, Direction.OUT),
        )


def _edge_bytes(edges: Sequence[Edge], direction: Direction) -> int:
    return sum(edge.size_bytes for edge in edges if edge.direction is direction)


def _taken(transfer: Transfer, arrays: Mapping[Tensor, Array]) -> bytes:
    return np.ascontiguousarray(arrays[transfer.source][transfer.source_box.slices]).tobytes()


def _deliver(transfer: Transfer, message: bytes, arrays: Mapping[Tensor, Array]) -> None:
    destination = arrays[transfer.destination]
    part = np.frombuffer(message, dtype=destination.dtype).reshape(transfer.destination_box.shape)
    destination[transfer.destination_box.slices] = part
