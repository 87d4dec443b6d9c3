"""Runs the armv7m kernels on an emulated Cortex-M3 over random segments: ``python -m tools.kernels_armv7m``.

What `make kernels` builds for microcontrollers is machine code that a PC cannot run. Here QEMU runs it bare,
with the bytes that MicroPython would call, and every output is held against the NumPy executor. `make test` does
that with some models (tests/interop/test_kernel_cortex_m3.py).
"""

from __future__ import annotations

import argparse
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fita.simulator.inference.native_kernel import kernel_codes
from fita.tinyml.generate import random_inputs, random_model
from fita.tinyml.pack.layout import LOOPS, Direction, Edge, Kernel
from fita.tinyml.pack.packer import PackedSegment, pack_split
from fita.tinyml.reader import read_model
from fita.tinyml.split.draw import random_stages
from fita.tinyml.split.execute import run_segments
from fita.tinyml.split.partition import partition
from fita.tinyml.tensor import Array

HERE = Path(__file__).parent / "armv7m"
QEMU = "qemu-system-arm"
DEADLINE_S = 60
_ALIGN = 16
_MODELS_A_RUN = 20
_GCC = ("arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", "-O2", "-ffreestanding", "-nostdlib")
_PLACES = ("-Wl,-Ttext=0x100", "-Wl,--section-start=.vectors=0", "-Wl,-e,start", "-Wl,--build-id=none")


@dataclass(frozen=True)
class Case:
    packed: PackedSegment
    messages: dict[int, bytes]
    name: str


def places(edge: Edge) -> Array:
    """The arena's offsets of an edge's bytes, in the order of the message."""
    start, run = edge.words[:2]
    counts, strides = edge.words[2 : 2 + LOOPS], edge.words[2 + LOOPS : 2 + 2 * LOOPS]
    offsets = np.arange(run)
    for count, stride in zip(counts, strides, strict=True):
        offsets = (np.arange(count)[:, None] * stride + offsets).reshape(-1)
    return np.asarray(start + offsets)


def cases(seed: int) -> list[Case]:
    graph = read_model(random_model(seed))
    split = partition(graph, random_stages(graph, np.random.default_rng(seed)))
    held = run_segments(split, random_inputs(graph, seed))
    found = []
    for packed in pack_split(split):
        messages = {}
        for number, edge in enumerate(packed.file.edges):
            transfer = split.transfers[edge.transfer]
            source = held[transfer.producer][transfer.source]
            messages[number] = np.ascontiguousarray(source[transfer.source_box.slices]).tobytes()
        found.append(Case(packed, messages, f"seed {seed}, segment {packed.file.index}"))
    return found


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGN)


def image_of(found: list[Case]) -> bytes:
    """What the harness reads."""
    codes = kernel_codes("armv7m")
    head_words = 1 + max(Kernel) + 1
    code_at = 1 << 20
    offsets, content = [0] * (max(Kernel) + 1), b""
    for kernel, code in codes.items():
        offsets[kernel] = code_at + len(content)
        content += _padded(code)
    body = b"".join(_case_bytes(case) for case in found)
    head = struct.pack(f"<{head_words + 1}I", len(offsets), *offsets, len(found))
    return (head + body).ljust(code_at, b"\0") + content if len(head) + len(body) <= code_at else b""


def _case_bytes(case: Case) -> bytes:
    file = case.packed.file
    arena = np.zeros(file.arena_bytes, dtype=np.uint8)
    for number, edge in enumerate(file.edges):
        if edge.direction is Direction.IN:
            arena[places(edge)] = np.frombuffer(case.messages[number], dtype=np.uint8)
    parts = [_padded(part) for part in (file.table, arena.tobytes(), file.constants)]
    return struct.pack("<4I", len(file.operators), *map(len, parts)) + b"".join(parts)


def run(found: list[Case], folder: Path) -> int:
    """How many outputs were right; `SystemExit` at the first that is not."""
    image = image_of(found)
    if not image:
        raise SystemExit("too many cases for one image: give fewer models")
    (folder / "cases.bin").write_bytes(image)
    (folder / "arenas.bin").write_bytes(b"")
    kernel = folder / "harness.elf"
    subprocess.run([*_GCC, *_PLACES, str(HERE / "harness.c"), "-o", str(kernel)], check=True, timeout=DEADLINE_S)
    command = [QEMU, "-M", "mps2-an385", "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(kernel)]
    subprocess.run(command, cwd=folder, check=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL)
    arenas = (folder / "arenas.bin").read_bytes()
    right = 0
    for case in found:
        size = len(_padded(bytes(case.packed.file.arena_bytes)))
        arena, arenas = np.frombuffer(arenas[:size], dtype=np.uint8), arenas[size:]
        for number, edge in enumerate(case.packed.file.edges):
            if edge.direction is Direction.OUT:
                if len(arena) < size or arena[places(edge)].tobytes() != case.messages[number]:
                    raise SystemExit(f"{case.name}, edge {number}: wrong bytes")
                right += 1
    return right


def run_models(models: int) -> tuple[int, set[int]]:
    """How many outputs of so many random models were right, and the kernels that have run."""
    right, kernels = 0, set()
    with TemporaryDirectory(prefix="fita-armv7m-") as name:
        for first in range(0, models, _MODELS_A_RUN):
            seeds = range(first, min(first + _MODELS_A_RUN, models))
            found = [case for seed in seeds for case in cases(seed)]
            kernels |= {record[0] for case in found for record in case.packed.file.operators}
            right += run(found, Path(name))
    return right, kernels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=200, metavar="N")
    models = parser.parse_args().models
    if shutil.which(QEMU) is None:
        sys.exit(f"{QEMU} is not installed: apt-get install qemu-system-arm")
    right, _ = run_models(models)
    print(f"{right} outputs of {models} models are right on a Cortex-M3")


if __name__ == "__main__":
    main()
