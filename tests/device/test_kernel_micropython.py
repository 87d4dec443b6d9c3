"""The kernels on MicroPython against the NumPy executor, byte for byte, over random splits of random models.

FITA_KERNEL_MODELS sets how many models each kind of kernels runs (30 by default).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_case import cases, hold_against_reference

from fita.simulator.native_kernel import build_native
from fita.simulator.segment_firmware import Processor, compile_segment_firmware
from fita.simulator.segment_process import SegmentProcess
from fita.tinyml.execute import run_graph
from fita.tinyml.generate import ModelSize, random_inputs
from fita.tinyml.pack.layout import Kernel
from fita.tinyml.pack.packer import pack_split
from fita.tinyml.reader import read_model
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage

MODELS = int(os.environ.get("FITA_KERNEL_MODELS", "30"))
HEAP_BYTES = 1 << 20
ROOT = Path(__file__).parents[2]
KINDS = {
    "viper": Processor(architecture="x64", word_bits=64),
    "viper with split products": Processor(architecture="x64", word_bits=64, split=True),
    "native": Processor(architecture="x64", word_bits=64),
}


@pytest.mark.parametrize("kind", KINDS)
def test_random_segments_give_the_reference_bytes(kind: str, tmp_path: Path) -> None:
    native = build_native("x64") if kind == "native" else None
    compile_segment_firmware(tmp_path, KINDS[kind], native)
    kernels = set()
    with SegmentProcess(kind, tmp_path, HEAP_BYTES) as process:
        for seed in range(MODELS):
            for case in cases(seed):
                hold_against_reference(process, tmp_path, case)
                kernels |= {record[0] for record in case.packed.file.operators}
        for case in cases(1000, ModelSize(operators=12, side=24, channels=24, elements=16384)):
            hold_against_reference(process, tmp_path, case)
            assert process.load(0, tmp_path / "case.fits").native == (kind == "native")
    if MODELS >= 30:
        assert kernels == set(Kernel), "a kernel has not run"


IN_PLACE = """
import gc, sys
from segment import Segment, promised_bytes, read_header
with open(sys.argv[1], "rb") as file:
    flash = file.read()
with open(sys.argv[1], "rb") as file:
    promised = promised_bytes(read_header(file), in_place=True)
file = open(sys.argv[1], "rb")
gc.collect()
before = gc.mem_alloc()
segment = Segment(file, flash)
gc.collect()
assert gc.mem_alloc() - before <= promised, (gc.mem_alloc() - before, promised)
inputs = [number for number in range(len(segment)) if not segment.edge(number)[0]]
(output,) = [number for number in range(len(segment)) if segment.edge(number)[0]]
for number in inputs:
    size = segment.edge(number)[3]
    segment.move(number, bytearray(open(sys.argv[2], "rb").read()), size)
segment.run()
size = segment.edge(output)[3]
block = bytearray(size)
for at in range(size):
    segment.move(output, memoryview(block)[at:], 1)
print(list(block))
"""


@pytest.mark.parametrize("kind", ["viper", "native"])
def test_constants_are_used_where_they_lie(kind: str, tmp_path: Path) -> None:
    compile_segment_firmware(tmp_path, native=build_native("x64") if kind == "native" else None)
    graph = read_model((ROOT / "models" / "digits_residual.tflite").read_bytes())
    (packed,) = pack_split(partition(graph, [Stage(first=0, last=len(graph.operators))]))
    (tmp_path / "whole.fits").write_bytes(packed.data)
    (image,) = random_inputs(graph, 5)
    (tmp_path / "image").write_bytes(image.tobytes())
    (tmp_path / "in_place.py").write_text(IN_PLACE, encoding="ascii")
    done = subprocess.run(
        [Path(sys.executable).parent / "micropython", "in_place.py", "whole.fits", "image"],
        cwd=tmp_path, env={"MICROPYPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str(list(run_graph(graph, [image])[0].tobytes())), done.stdout + done.stderr
