"""Split models as cases for the kernels: what goes into each segment and what has to come out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from fita.simulator.inference.process import SegmentProcess
from fita.tinyml.generate import ModelSize, random_inputs, random_model
from fita.tinyml.pack.layout import Direction, Kernel
from fita.tinyml.pack.packer import PackedSegment, pack_split
from fita.tinyml.reader import read_model
from fita.tinyml.segment import SplitModel
from fita.tinyml.split.draw import random_stages
from fita.tinyml.split.execute import run_segments
from fita.tinyml.split.partition import partition
from fita.tinyml.tensor import Array

SLACK_BYTES = 160
SLACK_BYTES_32 = 512
"""Promises count objects of 64-bit ports; those of 32-bit ones are half as large."""


@dataclass(frozen=True)
class Case:
    """One segment, the bytes of its edges by their place in the file, and what it is for messages."""

    packed: PackedSegment
    messages: dict[int, bytes]
    name: str

    def edges(self, direction: Direction) -> list[int]:
        edges = self.packed.file.edges
        return [number for number, edge in enumerate(edges) if edge.direction is direction]


def cases(seed: int, size: ModelSize | None = None) -> Iterator[Case]:
    """The segments of a random split of a random model."""
    graph = read_model(random_model(seed, size))
    split = partition(graph, random_stages(graph, np.random.default_rng(seed)))
    return split_cases(split, random_inputs(graph, seed), f"seed {seed}")


def split_cases(split: SplitModel, inputs: Sequence[Array], name: str) -> Iterator[Case]:
    """The segments of a split, with what flows between them for these inputs."""
    held = run_segments(split, inputs)
    for packed in pack_split(split):
        messages = {}
        for number, edge in enumerate(packed.file.edges):
            transfer = split.transfers[edge.transfer]
            source = held[transfer.producer][transfer.source]
            messages[number] = np.ascontiguousarray(source[transfer.source_box.slices]).tobytes()
        kinds = [operator.kind for operator in packed.segment.operators]
        yield Case(packed, messages, f"{name}, segment {packed.file.index}: {kinds}")


def hold_against_reference(
    process: SegmentProcess, folder: Path, case: Case, slack_bytes: int = SLACK_BYTES
) -> None:
    """Load, feed, run and take on a device; the bytes, the allocations and the promise must be right.

    A promise exceeds what is taken by a tenth, or by `slack_bytes` where that is more.
    """
    path = folder / "case.fits"
    path.write_bytes(case.packed.data)
    loaded = process.load(0, path)
    for number in case.edges(Direction.IN):
        process.feed(0, number, case.messages[number])
    _, allocated_bytes = process.run(0)
    assert allocated_bytes == 0, case.name
    for number in case.edges(Direction.OUT):
        found = process.take(0, number, len(case.messages[number]))
        assert found == case.messages[number], case.name
    peak = process.heap().peak_bytes
    assert peak <= loaded.promised_bytes == case.packed.file.heap_bytes, case.name
    assert loaded.promised_bytes <= max(1.1 * peak, peak + slack_bytes), case.name


def run_random_models(
    process: SegmentProcess, folder: Path, models: int, slack_bytes: int = SLACK_BYTES
) -> set[int]:
    """Segments of so many random models, and of a larger one; the kernels that have run."""
    kernels = set()
    larger = ModelSize(operators=12, side=24, channels=24, elements=16384)
    for case in chain(chain.from_iterable(map(cases, range(models))), cases(1000, larger)):
        hold_against_reference(process, folder, case, slack_bytes)
        kernels |= {record[0] for record in case.packed.file.operators}
    if models >= 30:
        assert kernels == set(Kernel), "a kernel has not run"
    return kernels
