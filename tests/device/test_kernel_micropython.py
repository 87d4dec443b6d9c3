"""The kernels on MicroPython against the NumPy executor, byte for byte, over random splits of random models.

FITA_KERNEL_MODELS sets how many models each kind of kernels runs (30 by default).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kernel_case import cases, hold_against_reference

from fita.simulator.native_kernel import build_native
from fita.simulator.segment_firmware import Processor, compile_segment_firmware
from fita.simulator.segment_process import SegmentProcess
from fita.tinyml.generate import ModelSize
from fita.tinyml.pack.layout import Kernel

MODELS = int(os.environ.get("FITA_KERNEL_MODELS", "30"))
HEAP_BYTES = 1 << 20
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
