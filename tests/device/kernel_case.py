"""Split models as cases for the kernels: what goes into each segment and what has to come out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fita.simulator.segment_process import SegmentProcess
from fita.tinyml.generate import ModelSize, random_inputs, random_model
from fita.tinyml.pack.layout import Direction
from fita.tinyml.pack.packer import PackedSegment, pack_split
from fita.tinyml.reader import read_model
from fita.tinyml.split.draw import random_stages
from fita.tinyml.split.execute import run_segments
from fita.tinyml.split.partition import partition


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
    held = run_segments(split, random_inputs(graph, seed))
    for packed in pack_split(split):
        messages = {}
        for number, edge in enumerate(packed.file.edges):
            transfer = split.transfers[edge.transfer]
            source = held[transfer.producer][transfer.source]
            messages[number] = np.ascontiguousarray(source[transfer.source_box.slices]).tobytes()
        kinds = [operator.kind for operator in packed.segment.operators]
        yield Case(packed, messages, f"seed {seed}, segment {packed.file.index}: {kinds}")


def hold_against_reference(process: SegmentProcess, folder: Path, case: Case) -> None:
    """Load, feed, run and take on a device; the bytes, the allocations and the promise must be right."""
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
    assert loaded.promised_bytes <= max(1.1 * peak, peak + 160), case.name
