"""What `fita model run` plans for tight heaps runs on processes with these heaps, within what was promised."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fita.base.resource import resource_folder
from fita.cli.model.run import emulated_devices
from fita.simulator.errors import SegmentProcessError
from fita.simulator.inference.firmware import THIS_MACHINE, compile_segment_firmware
from fita.simulator.inference.native_kernel import build_native
from fita.simulator.inference.process import SegmentProcess
from fita.simulator.inference.split import InferenceDevice, SplitDevices
from fita.tinyml.errors import NoPlanError
from fita.tinyml.execute import run_graph
from fita.tinyml.generate import random_inputs
from fita.tinyml.graph import Graph
from fita.tinyml.pack.layout import Direction
from fita.tinyml.pack.packer import pack_split
from fita.tinyml.plan.planner import plan_model
from fita.tinyml.reader import read_model
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage

CASES = [
    ("digits", "40k*4"), ("digits", "44k*3"), ("digits", "48k*2"), ("digits_residual", "64k*4"),
    ("digits_residual", "78k,71k,67k"), ("digits_residual", "128k"), ("pedestrians", "256k*4"),
    ("pedestrians", "512k,256k,128k*4"),
]  # fmt: skip
kernels = pytest.mark.parametrize("native", [False, True], ids=["viper", "native"])


@cache
def load(name: str) -> Graph:
    return read_model((resource_folder("models") / f"{name}.tflite").read_bytes(), name)


@cache
def native_module() -> bytes:
    return build_native(THIS_MACHINE.architecture)


def runs(name: str, text: str, *, native: bool) -> bool:
    """Whether the planner finds a plan; then it must run, watched and not, again and again."""
    graph, emulated = load(name), emulated_devices(text, native=native)
    try:
        plan = plan_model(graph, emulated)
    except NoPlanError:
        return False
    names = [device.name for device in emulated]
    placement = [names.index(copies[0]) for copies in plan.placement]
    heaps = [InferenceDevice(name=device.name, heap_bytes=device.ram_bytes) for device in emulated]
    inputs = random_inputs(graph, 1)
    wanted = run_graph(graph, inputs)
    module = native_module() if native else None
    with SplitDevices(plan.split, pack_split(plan.split), placement, heaps, native=module) as devices:
        for watched in (True, False, False, True):
            for part, whole in zip(devices.run(inputs, watched=watched).outputs, wanted, strict=True):
                np.testing.assert_array_equal(part, whole)
        for use in devices.use():
            assert use.native == native
            assert use.heap.peak_bytes <= use.promised_bytes
    return True


@kernels
def test_every_heap_around_the_limit_is_refused_or_suffices(native: bool) -> None:
    answers = [runs("digits", f"{size}k", native=native) for size in range(48, 69)]
    assert answers == sorted(answers)
    assert set(answers) == {False, True}


@kernels
@pytest.mark.parametrize(("name", "text"), CASES)
def test_tight_devices_are_refused_or_suffice(name: str, text: str, native: bool) -> None:
    assert runs(name, text, native=native) or native


@kernels
@pytest.mark.parametrize("heap_kb", [32, 64, 256, 1024])
def test_the_reserve_is_what_the_runtime_takes(heap_kb: int, native: bool, tmp_path: Path) -> None:
    """At least that, with what its orders need; and not much more, gaps between its objects included."""
    compile_segment_firmware(tmp_path, native=native_module() if native else None)
    (device,) = emulated_devices(f"{heap_kb}k", native=native)
    with SegmentProcess("device", tmp_path, device.ram_bytes) as process:
        taken_bytes = device.ram_bytes - process.heap().free_bytes
    assert taken_bytes + 2048 <= device.reserve_ram_bytes <= taken_bytes + 12 * 1024


def filled(process: SegmentProcess, path: Path) -> int:
    """How many times the device takes the segment."""
    for slot in range(20):
        try:
            process.load(slot, path)
        except SegmentProcessError as error:
            assert "out of memory" in error.message  # noqa: PT017  the load that fails is not known before
            return slot
    raise AssertionError


def test_frames_do_without_a_buffer_of_their_own_where_there_is_no_room(tmp_path: Path) -> None:
    """A device that is filled with segments until it refuses runs frames of all that it has taken."""
    graph = load("digits")
    (packed, *_) = pack_split(partition(graph, [Stage(first=0, last=2), Stage(first=2, last=8)]))
    path = tmp_path / "first.fits"
    path.write_bytes(packed.data)
    compile_segment_firmware(tmp_path)
    edges = packed.file.edges
    received, sent = (sum(edge.size_bytes for edge in edges if edge.direction is way) for way in Direction)
    answers, buffers = set(), set()
    for heap_bytes in range(40 * 1024, 40 * 1024 + packed.file.heap_bytes, 512):
        with SegmentProcess("full", tmp_path, heap_bytes) as process:
            slots = filled(process, path)
            free_bytes = process.heap().free_bytes
            answers |= {process.frame(slot % slots, bytes(received), sent).data for slot in range(2 * slots)}
            buffers.add(free_bytes - process.heap().free_bytes > 2048)
    assert len(answers) == 1
    assert buffers == {False, True}
