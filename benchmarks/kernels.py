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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tflite_micro import runtime

from benchmarks.report import Figure, emit, parser
from fita.simulator.inference.firmware import THIS_MACHINE, compile_segment_firmware
from fita.simulator.inference.native_kernel import build_native
from fita.simulator.inference.process import SegmentProcess
from fita.tinyml.decode import flatbuffer
from fita.tinyml.draw import sized
from fita.tinyml.draw.model_builder import ModelBuilder
from fita.tinyml.draw.sized import QUANTIZATION, Sized
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


@dataclass(frozen=True)
class Subject:
    """An operator of a size that small models have."""

    name: str
    shape: tuple[int, ...]
    build: Sized

    def model(self) -> bytes:
        builder = ModelBuilder()
        output = self.build(builder, builder.input(self.shape, QUANTIZATION))
        return flatbuffer.write(builder.finish([output]))


SUBJECTS = (
    Subject("pointwise 16x16x64 to 64", (1, 16, 16, 64), sized.convolution(1, 64)),
    Subject("convolution 3x3 16x16x16 to 32", (1, 16, 16, 16), sized.convolution(3, 32)),
    Subject("convolution 3x3 32x32x3 to 16", (1, 32, 32, 3), sized.convolution(3, 16)),
    Subject("depthwise 3x3 24x24x64", (1, 24, 24, 64), sized.depthwise()),
    Subject("dense 1024 to 256", (1, 1024), sized.dense(256)),
    Subject("average pool 2x2 24x24x32", (1, 24, 24, 32), sized.pool("AVERAGE_POOL_2D")),
    Subject("max pool 2x2 24x24x32", (1, 24, 24, 32), sized.pool("MAX_POOL_2D")),
    Subject("add 24x24x32", (1, 24, 24, 32), sized.two("ADD")),
    Subject("mul 24x24x32", (1, 24, 24, 32), sized.two("MUL")),
    Subject("lookup (tanh) 24x24x32", (1, 24, 24, 32), sized.tanh),
    Subject("softmax 64x64", (64, 64), sized.softmax),
    Subject("mean 24x24x32", (1, 24, 24, 32), sized.mean),
    Subject("pad 24x24x32", (1, 24, 24, 32), sized.pad),
    Subject("transpose 24x24x32", (1, 24, 24, 32), sized.transpose),
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
