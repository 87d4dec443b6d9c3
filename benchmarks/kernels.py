"""The device kernels against TFLite Micro on the same processor, operator by operator, in one run.

Every figure of speed is a ratio: TFLite Micro's time divided by ours, both the fastest of several rounds taken in
turn. TFLite Micro is the reference kernels of its PyPI package; ours run in MicroPython's Unix port, once as viper
and once as native code. Then the memory for activations of the project's own models.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tflite_micro import runtime

from benchmarks.report import Figure, emit, parser
from fita.simulator.native_kernel import build_native
from fita.simulator.segment_firmware import THIS_MACHINE, compile_segment_firmware
from fita.simulator.segment_process import SegmentProcess
from fita.tinyml.decode import flatbuffer
from fita.tinyml.draw.model_builder import ModelBuilder, Quantization, Value
from fita.tinyml.execute import run_graph
from fita.tinyml.generate import random_inputs
from fita.tinyml.graph import Graph
from fita.tinyml.pack.layout import Direction
from fita.tinyml.pack.packer import PackedSegment, pack_split
from fita.tinyml.reader import read_model
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage
from fita.tinyml.tensor import Array

HEAP_BYTES = 4 << 20
ARENA_BYTES = 4 << 20
SLOWEST_S = 0.02
MODELS = Path(__file__).parents[1] / "models"
OWN = ("digits", "digits_residual", "pedestrians")
_QUANTIZATION = Quantization(scale=0.05, zero_point=-3)
_WINDOW = {"Padding": 0, "StrideW": 1, "StrideH": 1, "FusedActivationFunction": 0}
_DILATION = {"DilationWFactor": 1, "DilationHFactor": 1}
_RANDOM = np.random.default_rng(7)


def _weights(builder: ModelBuilder, shape: tuple[int, ...], axis: int) -> list[int]:
    content = _RANDOM.integers(-127, 128, size=shape, dtype=np.int8)
    channels = shape[axis]
    bias = builder.constant(_RANDOM.integers(-1000, 1000, size=channels, dtype=np.int32))
    scales = tuple(float(np.float32(scale)) for scale in _RANDOM.uniform(0.001, 0.002, channels))
    return [builder.weights(content, scales, axis), bias.number]


def _convolution(builder: ModelBuilder, data: Value, window: int, channels: int) -> Value:
    operands = _weights(builder, (channels, window, window, data.shape[3]), 0)
    return builder.operator(
        "CONV_2D", [data.number, *operands],
        shape=(*data.shape[:3], channels), quantization=_QUANTIZATION, **_WINDOW, **_DILATION,
    )  # fmt: skip


def _depthwise(builder: ModelBuilder, data: Value) -> Value:
    operands = _weights(builder, (1, 3, 3, data.shape[3]), 3)
    return builder.operator(
        "DEPTHWISE_CONV_2D", [data.number, *operands],
        shape=data.shape, quantization=_QUANTIZATION, DepthMultiplier=1, **_WINDOW, **_DILATION,
    )  # fmt: skip


def _dense(builder: ModelBuilder, data: Value) -> Value:
    operands = _weights(builder, (256, data.shape[1]), 0)
    return builder.operator(
        "FULLY_CONNECTED", [data.number, *operands], shape=(1, 256), quantization=_QUANTIZATION,
        FusedActivationFunction=0, WeightsFormat=0, KeepNumDims=0,
    )  # fmt: skip


def _pool(kind: str) -> Callable[[ModelBuilder, Value], Value]:
    def build(builder: ModelBuilder, data: Value) -> Value:
        _, height, width, channels = data.shape
        options = {"Padding": 1, "StrideW": 2, "StrideH": 2, "FusedActivationFunction": 0}
        return builder.operator(
            kind, [data.number], shape=(1, height // 2, width // 2, channels), quantization=_QUANTIZATION,
            FilterWidth=2, FilterHeight=2, **options,
        )  # fmt: skip

    return build


def _two(kind: str) -> Callable[[ModelBuilder, Value], Value]:
    def build(builder: ModelBuilder, data: Value) -> Value:
        other = builder.input(data.shape, Quantization(scale=0.03, zero_point=5))
        return builder.operator(
            kind, [data.number, other.number], shape=data.shape, quantization=_QUANTIZATION,
            FusedActivationFunction=0,
        )  # fmt: skip

    return build


def _tanh(builder: ModelBuilder, data: Value) -> Value:
    quantization = Quantization(scale=1 / 128, zero_point=0)
    return builder.operator("TANH", [data.number], shape=data.shape, quantization=quantization)


def _softmax(builder: ModelBuilder, data: Value) -> Value:
    quantization = Quantization(scale=1 / 256, zero_point=-128)
    return builder.operator("SOFTMAX", [data.number], shape=data.shape, quantization=quantization, Beta=1.0)


def _mean(builder: ModelBuilder, data: Value) -> Value:
    axes = builder.constant(np.asarray([1, 2], dtype=np.int32))
    return builder.operator(
        "MEAN", [data.number, axes.number], shape=(1, data.shape[3]), quantization=_QUANTIZATION, KeepDims=0
    )


def _pad(builder: ModelBuilder, data: Value) -> Value:
    around = builder.constant(np.asarray([[0, 0], [1, 1], [1, 1], [0, 0]], dtype=np.int32))
    _, height, width, channels = data.shape
    shape = (1, height + 2, width + 2, channels)
    return builder.operator("PAD", [data.number, around.number], shape=shape, quantization=_QUANTIZATION)


def _transpose(builder: ModelBuilder, data: Value) -> Value:
    order = builder.constant(np.asarray([0, 2, 1, 3], dtype=np.int32))
    _, height, width, channels = data.shape
    shape = (1, width, height, channels)
    return builder.operator("TRANSPOSE", [data.number, order.number], shape=shape, quantization=_QUANTIZATION)


@dataclass(frozen=True)
class Subject:
    """An operator of a size that small models have."""

    name: str
    shape: tuple[int, ...]
    build: Callable[[ModelBuilder, Value], Value]

    def model(self) -> bytes:
        builder = ModelBuilder()
        output = self.build(builder, builder.input(self.shape, _QUANTIZATION))
        return flatbuffer.write(builder.finish([output]))


SUBJECTS = (
    Subject("pointwise 16x16x64 to 64", (1, 16, 16, 64), lambda b, x: _convolution(b, x, 1, 64)),
    Subject("convolution 3x3 16x16x16 to 32", (1, 16, 16, 16), lambda b, x: _convolution(b, x, 3, 32)),
    Subject("convolution 3x3 32x32x3 to 16", (1, 32, 32, 3), lambda b, x: _convolution(b, x, 3, 16)),
    Subject("depthwise 3x3 24x24x64", (1, 24, 24, 64), _depthwise),
    Subject("dense 1024 to 256", (1, 1024), _dense),
    Subject("average pool 2x2 24x24x32", (1, 24, 24, 32), _pool("AVERAGE_POOL_2D")),
    Subject("max pool 2x2 24x24x32", (1, 24, 24, 32), _pool("MAX_POOL_2D")),
    Subject("add 24x24x32", (1, 24, 24, 32), _two("ADD")),
    Subject("mul 24x24x32", (1, 24, 24, 32), _two("MUL")),
    Subject("lookup (tanh) 24x24x32", (1, 24, 24, 32), _tanh),
    Subject("softmax 64x64", (64, 64), _softmax),
    Subject("mean 24x24x32", (1, 24, 24, 32), _mean),
    Subject("pad 24x24x32", (1, 24, 24, 32), _pad),
    Subject("transpose 24x24x32", (1, 24, 24, 32), _transpose),
)


def packed_whole(graph: Graph) -> PackedSegment:
    (packed,) = pack_split(partition(graph, [Stage(first=0, last=len(graph.operators))]))
    return packed


@contextmanager
def devices() -> Iterator[dict[str, SegmentProcess]]:
    """A device with each kind of kernels."""
    with TemporaryDirectory(prefix="fita-kernels-") as name:
        viper, native = (Path(name) / kind for kind in ("viper", "native"))
        for folder, module in ((viper, None), (native, build_native(THIS_MACHINE.architecture))):
            folder.mkdir()
            compile_segment_firmware(folder, native=module)
        with (
            SegmentProcess("viper", viper, HEAP_BYTES) as first,
            SegmentProcess("native", native, HEAP_BYTES) as second,
        ):
            yield {"viper": first, "native": second}


def compare(name: str, model: bytes, running: dict[str, SegmentProcess], rounds: int) -> Iterator[Figure]:
    """The ratios for one model, once all three have given the same bytes."""
    graph = read_model(model)
    inputs = random_inputs(graph, 1)
    packed = packed_whole(graph)
    reference = runtime.Interpreter.from_bytes(model, arena_size=ARENA_BYTES)
    _load(packed, running.values())
    fastest = dict.fromkeys(["reference", *running], float("inf"))
    for _ in range(rounds):
        fastest["reference"] = min(fastest["reference"], _reference_s(reference, inputs))
        for kind, process in running.items():
            fastest[kind] = min(fastest[kind], _ours_s(process, packed, inputs))
    wanted = run_graph(graph, inputs)[0]
    _require_equal(name, reference.get_output(0), wanted)
    (out,) = (number for number, edge in enumerate(packed.file.edges) if edge.direction is Direction.OUT)
    for process in running.values():
        found = np.frombuffer(process.take(0, out, wanted.nbytes), dtype=wanted.dtype).reshape(wanted.shape)
        _require_equal(name, found, wanted)
    for kind in running:
        target = ">= 1" if kind == "native" else ""
        yield Figure(f"{name}: {kind}", fastest["reference"] / fastest[kind], "x TFLite Micro", target)


def _require_equal(name: str, found: Array, wanted: Array) -> None:
    if not np.array_equal(found, wanted):
        raise SystemExit(f"{name}: wrong bytes, so its speed says nothing")


def _load(packed: PackedSegment, processes: Iterable[SegmentProcess]) -> None:
    with TemporaryDirectory(prefix="fita-kernels-") as folder:
        path = Path(folder) / "whole.fits"
        path.write_bytes(packed.data)
        for process in processes:
            process.load(0, path)


def _reference_s(interpreter: runtime.Interpreter, inputs: tuple[Array, ...]) -> float:
    """Seconds of the fastest of some runs. Inputs are set anew: activations may lie on them."""
    fastest, taken = float("inf"), 0.0
    while taken < SLOWEST_S:
        for number, array in enumerate(inputs):
            interpreter.set_input(array, number)
        start = time.perf_counter()
        interpreter.invoke()
        now = time.perf_counter() - start
        fastest = min(fastest, now)
        taken += now + 1e-4
    return fastest


def _ours_s(process: SegmentProcess, packed: PackedSegment, inputs: tuple[Array, ...]) -> float:
    """Seconds of the fastest of some runs, by the device's own clock."""
    fastest = float("inf")
    edges = [number for number, edge in enumerate(packed.file.edges) if edge.direction is Direction.IN]
    taken = 0.0
    while taken < SLOWEST_S:
        for number, array in zip(edges, inputs, strict=True):
            process.feed(0, number, array.tobytes())
        now = process.run(0)[0] / 1e6
        fastest = min(fastest, now)
        taken += now + 1e-3
    return fastest


_ALLOCATION = re.compile(r"Arena allocation (total|head) (\d+) bytes")
_PRINT = """
import sys
from tflite_micro import runtime
runtime.Interpreter.from_file(sys.argv[1], arena_size=1 << 22).print_allocations()
"""


def memory_figures(name: str) -> Iterator[Figure]:
    """Bytes for activations, and all bytes but weights, beside what TFLite Micro allocates in its arena."""
    path = MODELS / f"{name}.tflite"
    said = subprocess.run([sys.executable, "-c", _PRINT, str(path)], capture_output=True, text=True, check=True)
    theirs = {kind: int(size) for kind, size in _ALLOCATION.findall(said.stdout + said.stderr)}
    file = packed_whole(read_model(path.read_bytes())).file
    yield Figure(f"{name}: activations", file.arena_bytes, "B")
    yield Figure(f"{name}: activations in TFLite Micro's arena", theirs["head"], "B")
    yield Figure(f"{name}: activations, ours / theirs", file.arena_bytes / theirs["head"], "", "< 1")
    yield Figure(f"{name}: all but weights, ours / theirs", file.ram_bytes / theirs["total"], "")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=7, metavar="N")
    chosen = options.parse_args()
    figures: list[Figure] = []
    with devices() as running:
        for subject in SUBJECTS:
            figures += compare(subject.name, subject.model(), running, chosen.rounds)
        for name in OWN:
            model = (MODELS / f"{name}.tflite").read_bytes()
            figures += compare(f"{name}, whole", model, running, chosen.rounds)
    for name in OWN:
        figures += memory_figures(name)
    emit("kernels", figures, as_json=chosen.json)


if __name__ == "__main__":
    main()
