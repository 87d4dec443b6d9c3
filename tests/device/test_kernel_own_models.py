"""The project's own models on MicroPython processes of 512, 256 and 4 x 128 kB, within what was promised."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from fita.simulator.errors import SegmentProcessError
from fita.simulator.inference.firmware import compile_segment_firmware
from fita.simulator.inference.process import SegmentProcess
from fita.simulator.inference.split import InferenceDevice, SplitDevices
from fita.tinyml.execute import run_graph
from fita.tinyml.graph import Graph
from fita.tinyml.pack.packer import pack_split
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.planner import plan_model
from fita.tinyml.reader import read_model
from fita.tinyml.segment import SplitModel
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage, StageKind, share_length, weighted_shares

ROOT = Path(__file__).parents[2]
HEAPS = (512, 256, 128, 128, 128, 128)
DEVICES = [InferenceDevice(name=f"device{n}", heap_bytes=heap * 1024) for n, heap in enumerate(HEAPS)]
RUNTIME_BYTES = 24 * 1024
MODELS = ("digits", "digits_residual", "pedestrians")


def load(name: str) -> Graph:
    return read_model((ROOT / "models" / f"{name}.tflite").read_bytes(), name)


def samples(name: str, graph: Graph, count: int) -> list[list[np.ndarray]]:
    with np.load(ROOT / "models" / f"{name}.npz") as held_out:
        return [[image.reshape(graph.inputs[0].shape)] for image in held_out["inputs"][:count]]


def assert_runs(split: SplitModel, placement: tuple[int, ...], name: str) -> None:
    """Right bytes for three samples, nothing allocated, heap within the promise, which is at most 10 % more."""
    graph = split.graph
    with SplitDevices(split, pack_split(split), placement, DEVICES) as devices:
        for inputs in samples(name, graph, 3):
            found = devices.run(inputs)
            for part, whole in zip(found.outputs, run_graph(graph, inputs), strict=True):
                np.testing.assert_array_equal(part, whole)
            assert all(run.allocated_bytes == 0 for run in found.segments)
        for use in devices.use():
            assert use.heap.peak_bytes <= use.promised_bytes <= 1.1 * use.heap.peak_bytes


@pytest.mark.parametrize("name", MODELS)
def test_planned_splits_run_within_the_promise(name: str) -> None:
    names = [device.name for device in DEVICES]
    plan = plan_model(
        load(name),
        [
            DeviceModel(
                name=device.name,
                ram_bytes=device.heap_bytes,
                weights_in_ram=True,
                reserve_ram_bytes=RUNTIME_BYTES + device.heap_bytes // 64,
            )
            for device in DEVICES
        ],
    )
    assert_runs(plan.split, tuple(names.index(copies[0]) for copies in plan.placement), name)


def shared(graph: Graph, first: int, last: int, kind: StageKind) -> Stage:
    """Over all six devices in proportion to their memory."""
    length = share_length(graph, Stage(first=first, last=last, kind=kind))
    weights = tuple(float(heap) for heap in HEAPS)
    return Stage(first=first, last=last, kind=kind, shares=weighted_shares(length, weights))


def test_pedestrians_run_on_all_six_at_once() -> None:
    """Row slabs of the large images, whole layers, channel shards of the large weights, and sums of shards."""
    graph = load("pedestrians")
    end = len(graph.operators)
    stages = (
        shared(graph, 0, 6, StageKind.ROWS),
        Stage(first=6, last=14),
        shared(graph, 14, 16, StageKind.OUTPUT_CHANNELS),
        shared(graph, 16, 18, StageKind.OUTPUT_CHANNELS),
        shared(graph, 18, 19, StageKind.INPUT_CHANNELS),
        Stage(first=19, last=end),
    )
    everywhere = tuple(range(len(HEAPS)))
    # The last stage is for the second: it would fill up the first, runtime not counted.
    placement = tuple(
        chain.from_iterable(everywhere if len(stage.shares) > 1 else (int(stage.last == end),) for stage in stages)
    )
    assert_runs(partition(graph, stages), placement, "pedestrians")


def test_a_model_that_fits_no_device_is_refused_by_the_device() -> None:
    graph = load("pedestrians")
    split = partition(graph, (Stage(first=0, last=len(graph.operators)),))
    with pytest.raises(SegmentProcessError, match="out of memory"):
        assert_runs(split, (0,), "pedestrians")


def test_a_device_needs_no_more_than_it_was_promised(tmp_path: Path) -> None:
    """A heap with hardly more than the runtime and the promise suffices, and one with less does not."""
    graph = load("digits_residual")
    (packed,) = pack_split(partition(graph, [Stage(first=0, last=len(graph.operators))]))
    compile_segment_firmware(tmp_path)
    path = tmp_path / "whole.fits"
    path.write_bytes(packed.data)
    with SegmentProcess("large", tmp_path, 1 << 20) as process:
        process.load(0, path)
        heap = process.heap()
    runtime_bytes = heap.runtime_bytes + 1024
    for spare, fits in ((1.04, True), (0.96, False)):
        heap_bytes = int((runtime_bytes + packed.file.heap_bytes * spare) * 1.025)
        with SegmentProcess("tight", tmp_path, heap_bytes) as process:
            if fits:
                process.load(0, path)
                assert process.run(0)[1] == 0
            else:
                with pytest.raises(SegmentProcessError, match="out of memory"):
                    process.load(0, path)
