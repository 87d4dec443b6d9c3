"""Measures what operators, segments and pipes of emulated devices cost on this machine.

Operators of typical sizes run on one MicroPython process, several copies in one segment since its clock counts
microseconds; chains of convolutions run in parts on several to see what carrying tensors takes. Rounds of
everything are taken in turn, and each time is the lower quartile of its own: what else the machine does only adds.
Nothing here is a budget or a promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np

from fita.simulator.inference.firmware import THIS_MACHINE, compile_segment_firmware
from fita.simulator.inference.native_kernel import build_native
from fita.simulator.inference.process import SegmentProcess
from fita.simulator.inference.split import InferenceDevice, SplitDevices
from fita.tinyml.decode import flatbuffer
from fita.tinyml.draw import sized
from fita.tinyml.draw.model_builder import ModelBuilder, Quantization, Value
from fita.tinyml.draw.sized import QUANTIZATION, Sized
from fita.tinyml.generate import random_inputs
from fita.tinyml.graph import Graph
from fita.tinyml.operator import OperatorClass
from fita.tinyml.pack.layout import Direction
from fita.tinyml.pack.packer import pack_split
from fita.tinyml.plan.fit import CarryTime, OperatorTime, fit_carriage, fit_operators
from fita.tinyml.plan.link import Link
from fita.tinyml.plan.speed import Speeds
from fita.tinyml.reader import read_model
from fita.tinyml.segment import SplitModel
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage

PIPE = "pipe"
"""What the link between emulated devices is called."""
ROUNDS = 11
_COPIES = 4
_WARM_UP, _FRAMES = 2, 8
_HEAP_BYTES = 8 << 20
_CHAIN_HEAP_BYTES = 512 * 1024
_CHAIN_OPERATORS = 6
_CHAIN_PARTS = {1: (2, 3, 6), 3: (3,)}
"""Numbers of parts for one chain, and for several side by side, whose messages go in as many transfers.

Not one part alone: what comes from outside and what goes there passes one pipe, what goes on passes two.
"""

_PROBES: tuple[tuple[tuple[int, ...], Sized], ...] = (
    ((1, 16, 16, 1), sized.convolution(3, 16, relu=True)),
    ((1, 32, 32, 3), sized.convolution(3, 16, stride=2, relu=True)),
    ((1, 16, 16, 16), sized.convolution(3, 16, relu=True)),
    ((1, 8, 8, 24), sized.convolution(3, 32, relu=True)),
    ((1, 6, 6, 48), sized.convolution(3, 48, relu=True)),
    ((1, 8, 8, 16), sized.convolution(5, 16, relu=True)),
    ((1, 16, 16, 24), sized.convolution(1, 32, relu=True)),
    ((1, 12, 12, 32), sized.convolution(1, 64, stride=2, relu=True)),
    ((1, 8, 8, 64), sized.convolution(1, 96, relu=True)),
    ((1, 4, 4, 160), sized.convolution(1, 160, relu=True)),
    ((1, 2, 2, 320), sized.convolution(1, 256, relu=True)),
    ((1, 24, 24, 16), sized.depthwise(relu=True)),
    ((1, 16, 16, 32), sized.depthwise(stride=2, relu=True)),
    ((1, 8, 8, 96), sized.depthwise(relu=True)),
    ((1, 8, 8, 96), sized.depthwise(stride=2, relu=True)),
    ((1, 4, 4, 192), sized.depthwise(relu=True)),
    ((1, 4, 2, 256), sized.depthwise(relu=True)),
    ((1, 40), sized.dense(10)),
    ((1, 256), sized.dense(64)),
    ((1, 1024), sized.dense(128)),
    ((1, 16, 16, 24), sized.pool("AVERAGE_POOL_2D")),
    ((1, 8, 8, 32), sized.pool("MAX_POOL_2D")),
    ((1, 6, 6, 64), sized.mean),
    ((1, 12, 12, 24), sized.two("ADD")),
    ((1, 6, 6, 32), sized.two("ADD")),
    ((1, 12, 12, 32), sized.tanh),
    ((1, 10), sized.softmax),
    ((16, 48), sized.softmax),
    ((1, 12, 12, 24), sized.pad),
    ((1, 12, 12, 24), sized.transpose),
)
"""Shapes of inputs and what runs over them, as in models: a processor cannot guess which outputs a RELU clamps.

Where operators of one class differ, the dearer one that models have more of stands for all: ADD, not MUL, and
QUANTIZE, which meets whole images, not DEQUANTIZE, which meets a few results.
"""
_FLOAT_PROBE = ((1, 12, 12, 24), sized.quantize)


_CHAINS: tuple[tuple[tuple[int, ...], Sized], ...] = (
    ((1, 4, 4, 16), sized.convolution(3, 16)),
    ((1, 10, 10, 16), sized.convolution(3, 16)),
    ((1, 16, 16, 32), sized.depthwise()),
)


@dataclass(slots=True)
class _Probe:
    """A segment of equal operators, loaded under a number, and what they took."""

    units: dict[OperatorClass, int]
    operators: int
    slot: int
    inputs: bytes
    output_bytes: int
    taken_us: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Chain:
    """Operators one after the other in parts, and what frames took beside the operators."""

    split: SplitModel
    devices: SplitDevices
    taken_us: list[int] = field(default_factory=list)


class SpeedMeter:
    """``with SpeedMeter(native) as meter``: take some `round`s, then ask for the `speeds`.

    `native` is what `build_native` made, or None for viper. Raises as `SplitDevices` does.
    """

    def __init__(self, native: bytes | None = None) -> None:
        self._native = native
        self._stack = ExitStack()
        self._probes: list[_Probe] = []
        self._chains: list[_Chain] = []

    def __enter__(self) -> SpeedMeter:
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
        folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="fita-speeds-")))
        compile_segment_firmware(folder, THIS_MACHINE, self._native)
        self._process = self._stack.enter_context(SegmentProcess("the measured one", folder, _HEAP_BYTES))
        graphs = [_copies(shape, operator, QUANTIZATION) for shape, operator in _PROBES]
        for slot, graph in enumerate([*graphs, _copies(*_FLOAT_PROBE, None)]):
            self._probes.append(_loaded(self._process, slot, graph, folder / "probe.fits"))
        for shape, operator in _CHAINS:
            for rows, counts in _CHAIN_PARTS.items():
                graph = _in_rows(shape, operator, rows)
                self._chains += [self._chain(graph, parts) for parts in counts]

    def _chain(self, graph: Graph, parts: int) -> _Chain:
        step = len(graph.operators) // parts
        stages = [Stage(first=at, last=at + step) for at in range(0, len(graph.operators), step)]
        split = partition(graph, stages)
        devices = [InferenceDevice(name=f"part {at}", heap_bytes=_CHAIN_HEAP_BYTES) for at in range(parts)]
        running = SplitDevices(split, pack_split(split), range(parts), devices, native=self._native)
        return _Chain(split, self._stack.enter_context(running))

    def round(self) -> None:
        """Measure everything once."""
        for probe in self._probes:
            answer = self._process.frame(probe.slot, probe.inputs, probe.output_bytes)
            probe.taken_us.append(answer.numbers[0])
        for chain in self._chains:
            inputs = random_inputs(chain.split.graph, 1)
            # The first frames find processes that have slept and caches of others, as later ones in a row do not.
            frames = [chain.devices.run(inputs, watched=False) for _ in range(_WARM_UP + _FRAMES)][_WARM_UP:]
            chain.taken_us += [
                frame.latency_us - sum(segment.run_us for segment in frame.segments) for frame in frames
            ]

    def speeds(self, name: str = "this machine") -> Speeds:
        """What all rounds so far come to. The link is this process, which carries bytes through pipes."""
        ns_per_unit, operator_ns = fit_operators(
            [
                OperatorTime(units=probe.units, operators=probe.operators, taken_ns=_typical_ns(probe.taken_us))
                for probe in self._probes
            ]
        )
        carried = fit_carriage(
            [
                CarryTime(
                    segments=len(chain.split.segments),
                    messages=len(chain.split.transfers),
                    size_bytes=sum(transfer.size_bytes for transfer in chain.split.transfers),
                    taken_ns=_typical_ns(chain.taken_us),
                )
                for chain in self._chains
            ]
        )
        return Speeds(
            name=name,
            kernels="viper" if self._native is None else "native",
            ns_per_unit=ns_per_unit,
            operator_ns=round(operator_ns),
            link=Link(
                name=PIPE,
                bandwidth_bytes_per_s=1e9 / max(carried.byte_ns, _LEAST_BYTE_NS),
                latency_s=0.0,
                message_s=carried.message_ns / 1e9,
                order_s=carried.segment_ns / 1e9,
            ),
        )


_LEAST_BYTE_NS = 1e-3


def measure_speeds(*, native: bool, rounds: int = ROUNDS) -> Speeds:
    """This machine's, with kernels in C or in viper. Takes some seconds. Raises `SimulatorError`s."""
    with SpeedMeter(build_native(THIS_MACHINE.architecture) if native else None) as meter:
        for _ in range(rounds):
            meter.round()
        return meter.speeds()


def _typical_ns(taken_us: Sequence[int]) -> float:
    """The lower quartile; the clock counts whole microseconds."""
    return 1000.0 * max(0.5, float(np.percentile(taken_us, 25)))


def _units(graph: Graph) -> dict[OperatorClass, int]:
    """Work of the whole graph."""
    units: dict[OperatorClass, int] = {}
    for operator in graph.operators:
        for name, amount in operator.work.items():
            units[name] = units.get(name, 0) + amount
    return units


def _copies(shape: tuple[int, ...], operator: Sized, quantization: Quantization | None) -> Graph:
    """Some of one operator over one input."""
    builder = ModelBuilder()
    data = builder.input(shape, quantization)
    return _read(builder, [operator(builder, data) for _ in range(_COPIES)])


def _in_rows(shape: tuple[int, ...], operator: Sized, rows: int) -> Graph:
    builder = ModelBuilder()
    values = [builder.input(shape, QUANTIZATION) for _ in range(rows)]
    for _ in range(_CHAIN_OPERATORS):
        values = [operator(builder, value) for value in values]
    return _read(builder, values)


def _read(builder: ModelBuilder, outputs: list[Value]) -> Graph:
    return read_model(flatbuffer.write(builder.finish(outputs)))


def _loaded(process: SegmentProcess, slot: int, graph: Graph, path: Path) -> _Probe:
    (packed,) = pack_split(partition(graph, [Stage(first=0, last=len(graph.operators))]))
    path.write_bytes(packed.data)
    process.load(slot, path)
    edges = packed.file.edges
    sizes = [edge.size_bytes for edge in edges if edge.direction is Direction.IN]
    # Rows that a stride leaves out are not sent; which bytes come instead does not matter here.
    arrays = zip(sizes, random_inputs(graph, slot), strict=True)
    inputs = b"".join(array.tobytes()[:size_bytes] for size_bytes, array in arrays)
    output_bytes = sum(edge.size_bytes for edge in edges if edge.direction is Direction.OUT)
    return _Probe(_units(graph), len(graph.operators), slot, inputs, output_bytes)
