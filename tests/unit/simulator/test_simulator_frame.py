"""Frames on real MicroPython processes: at the same time where they can, right bytes, errors without a hang."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from fita.base.resource import resource_folder
from fita.simulator.errors import SegmentProcessError
from fita.simulator.inference import process as segment_process
from fita.simulator.inference.firmware import compile_segment_firmware
from fita.simulator.inference.frame import Carrier
from fita.simulator.inference.process import SegmentProcess
from fita.simulator.inference.speed import PIPE, measure_speeds
from fita.simulator.inference.split import InferenceDevice, SplitDevices
from fita.tinyml.errors import InputError
from fita.tinyml.execute import run_graph
from fita.tinyml.generate import ModelSize, random_inputs, random_model
from fita.tinyml.operator import OperatorClass
from fita.tinyml.pack.packer import PackedSegment, pack_split
from fita.tinyml.reader import read_model
from fita.tinyml.segment import OUTSIDE, SplitModel
from fita.tinyml.split.draw import random_stages
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage, StageKind, even_shares, share_length

GRAPH = read_model((resource_folder("models") / "digits.tflite").read_bytes(), "digits")
HEAP_BYTES = 256 * 1024


def halves(shares: int = 2) -> SplitModel:
    """Rows of the convolutions in so many shares, then the rest."""
    rows = Stage(first=0, last=4, kind=StageKind.ROWS)
    halves = even_shares(share_length(GRAPH, rows), shares)
    return partition(GRAPH, (Stage(first=0, last=4, kind=StageKind.ROWS, shares=halves), Stage(first=4, last=8)))


def devices(count: int) -> list[InferenceDevice]:
    return [InferenceDevice(name=f"device{number}", heap_bytes=HEAP_BYTES) for number in range(count)]


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize(
    ("placement", "at_once"), [((0, 1, 2), 2), ((0, 1, 0), 2), ((0, 0, 0), 1), ((0, 0, 1), 1)]
)
def test_shares_on_devices_of_their_own_run_at_the_same_time(
    placement: Sequence[int], at_once: int, watched: bool
) -> None:
    split = halves()
    inputs = random_inputs(GRAPH, 3)
    (wanted,) = run_graph(GRAPH, inputs)
    with SplitDevices(split, pack_split(split), placement, devices(3)) as running:
        for _ in range(3):
            found = running.run(inputs, watched=watched)
            np.testing.assert_array_equal(found.outputs[0], wanted)
            assert found.most_at_once == at_once
            assert [run.segment for run in found.segments] == [0, 1, 2]
            assert found.latency_us > 0
            assert all(run.allocated_bytes == 0 for run in found.segments)


@pytest.mark.parametrize("seed", range(6))
def test_any_split_gives_the_bytes_of_the_whole(seed: int) -> None:
    graph = read_model(random_model(seed, ModelSize(operators=7)))
    random = np.random.default_rng(seed)
    split = partition(graph, random_stages(graph, random))
    placement = [int(random.integers(3)) for _ in split.segments]
    inputs = random_inputs(graph, seed)
    with SplitDevices(split, pack_split(split), placement, devices(3)) as running:
        for watched in (True, False):
            found = running.run(inputs, watched=watched).outputs
            for part, whole in zip(found, run_graph(graph, inputs), strict=True):
                np.testing.assert_array_equal(part, whole)


def test_inputs_that_do_not_fit_are_refused_before_anything_runs() -> None:
    split = halves()
    with SplitDevices(split, pack_split(split), (0, 1, 2), devices(3)) as running:
        with pytest.raises(InputError, match="0 inputs"):
            running.run([])
        with pytest.raises(InputError):
            running.run([np.zeros((1, 8, 8, 1), np.int32)])
        assert running.run(random_inputs(GRAPH, 1)).most_at_once == 2


@contextmanager
def loaded(split: SplitModel, folder: Path) -> Iterator[tuple[list[PackedSegment], list[SegmentProcess]]]:
    """Each segment on a process of its own."""
    compile_segment_firmware(folder)
    with ExitStack() as stack:
        packed = list(pack_split(split))
        processes = []
        for part in packed:
            process = stack.enter_context(SegmentProcess(f"device{part.file.index}", folder, HEAP_BYTES))
            path = folder / "segment.fits"
            path.write_bytes(part.data)
            process.load(part.file.index, path)
            processes.append(process)
        yield packed, processes


def fed(split: SplitModel) -> dict[int, bytes]:
    return {number: bytes(t.size_bytes) for number, t in enumerate(split.transfers) if t.producer == OUTSIDE}


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_device_that_has_ended_is_named(lost: int, watched: bool, tmp_path: Path) -> None:
    split = halves()
    with loaded(split, tmp_path) as (packed, processes):
        os.kill(processes[lost].pid, signal.SIGKILL)
        with pytest.raises(SegmentProcessError, match="has ended") as caught:
            Carrier(packed, processes).run(fed(split), watched=watched)
        assert caught.value.device == f"device{lost}"


@pytest.mark.parametrize("stopped", [0, 1, 2])
def test_a_device_that_is_silent_is_named(stopped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = halves()
    with loaded(split, tmp_path) as (packed, processes):
        os.kill(processes[stopped].pid, signal.SIGSTOP)
        monkeypatch.setattr(segment_process, "DEADLINE_S", 1.0)
        carrier = Carrier(packed, processes)
        with pytest.raises(SegmentProcessError, match="has not answered for 1 s") as caught:
            carrier.run(fed(split), watched=False)
        assert caught.value.device == f"device{stopped}"
        with pytest.raises(SegmentProcessError, match="has not ended an earlier frame"):
            carrier.run(fed(split), watched=False)


def test_a_device_that_reads_nothing_is_silent_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a pipe holds is written to it."""
    split = halves()
    with loaded(split, tmp_path) as (_, processes):
        os.kill(processes[0].pid, signal.SIGSTOP)
        monkeypatch.setattr(segment_process, "DEADLINE_S", 0.5)
        with pytest.raises(SegmentProcessError, match="has not answered"):
            processes[0].frame(0, bytes(1 << 20), 1)


def test_an_order_that_fails_is_refused_and_the_next_one_answered(tmp_path: Path) -> None:
    split = halves()
    with loaded(split, tmp_path) as (packed, processes):
        with pytest.raises(
            SegmentProcessError, match=r"answers 'take' with 'error SegmentError: there is no such edge"
        ):
            processes[0].take(0, 99, 4)
        with pytest.raises(SegmentProcessError, match="answers 'run' with 'error KeyError"):
            processes[0].run(77)
        kept, ran = Carrier(packed, processes).run(fed(split), watched=False)
        assert len(kept) == 1
        assert len(ran) == 3


@pytest.mark.parametrize("native", [False, True])
def test_measured_speeds_have_all_that_a_plan_needs(native: bool) -> None:
    speeds = measure_speeds(native=native, rounds=1)
    assert set(speeds.ns_per_unit) == set(OperatorClass)
    assert all(ns >= 0 for ns in speeds.ns_per_unit.values())
    assert speeds.ns_per_unit[OperatorClass.CONV] > 0
    assert speeds.kernels == ("native" if native else "viper")
    assert speeds.link is not None
    assert speeds.link.name == PIPE
    assert speeds.link.shared
