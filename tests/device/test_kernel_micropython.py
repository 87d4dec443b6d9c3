"""The kernels on MicroPython against the NumPy executor, byte for byte: random splits of random models, own ones.

FITA_KERNEL_MODELS sets how many random models each kind of kernels runs (30 by default).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kernel_case import hold_against_reference, run_random_models, split_cases
from kernel_kind import KINDS, ROOT

from fita.tinyml.execute import run_graph
from fita.tinyml.generate import random_inputs
from fita.tinyml.pack.packer import pack_split
from fita.tinyml.reader import read_model
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage

MODELS = int(os.environ.get("FITA_KERNEL_MODELS", "30"))
HEAP_BYTES = 1 << 20


@pytest.mark.parametrize("name", KINDS)
def test_random_segments_give_the_reference_bytes(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    kind.compile(tmp_path)
    with kind.device(tmp_path, HEAP_BYTES) as process:
        run_random_models(process, tmp_path, MODELS, kind.slack_bytes)
        assert process.load(0, tmp_path / "case.fits").native == kind.native


@pytest.mark.parametrize("name", ["viper on ARM", "native on ARM"])
def test_own_models_give_the_reference_bytes_on_arm(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    kind.compile(tmp_path)
    with kind.device(tmp_path, HEAP_BYTES) as process:
        for model in ("digits", "digits_residual", "pedestrians"):
            graph = read_model((ROOT / "models" / f"{model}.tflite").read_bytes())
            with np.load(ROOT / "models" / f"{model}.npz") as held_out:
                image = held_out["inputs"][0].reshape(graph.inputs[0].shape)
            whole = partition(graph, [Stage(first=0, last=len(graph.operators))])
            for case in split_cases(whole, [image], model):
                hold_against_reference(process, tmp_path, case, kind.slack_bytes)


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


@pytest.mark.parametrize("name", ["viper", "native", "viper on ARM", "native on ARM"])
def test_constants_are_used_where_they_lie(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    kind.compile(tmp_path)
    graph = read_model((ROOT / "models" / "digits_residual.tflite").read_bytes())
    (packed,) = pack_split(partition(graph, [Stage(first=0, last=len(graph.operators))]))
    (tmp_path / "whole.fits").write_bytes(packed.data)
    (image,) = random_inputs(graph, 5)
    (tmp_path / "image").write_bytes(image.tobytes())
    (tmp_path / "in_place.py").write_text(IN_PLACE, encoding="ascii")
    done = subprocess.run(
        [*kind.command(), "in_place.py", "whole.fits", "image"],
        cwd=tmp_path, env={**os.environ, "MICROPYPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str(list(run_graph(graph, [image])[0].tobytes())), done.stdout + done.stderr
