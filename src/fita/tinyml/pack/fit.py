"""The simplest split that fits: layer cuts over as few devices as do.

No optimiser: it knows neither speed nor links. It serves where any split will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fita.tinyml.errors import PackError
from fita.tinyml.graph import Graph
from fita.tinyml.pack.packer import PackedSegment, pack_segment
from fita.tinyml.segment import SplitModel
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage


@dataclass(frozen=True, eq=False, kw_only=True)
class Fit:
    """A split, packed, and for each segment the device that it fits, by its place in the list."""

    split: SplitModel
    packed: tuple[PackedSegment, ...]
    placement: tuple[int, ...]


def fit_layers(graph: Graph, heap_bytes: Sequence[int]) -> Fit:
    """Layer cuts for devices with this much heap free for segments, in any order of theirs; as few as do.

    `PackError` when there are none, with the operator that stands in the way.
    """
    sizes = _Sizes(graph)
    end = len(graph.operators)
    stuck = 0
    # All ways of equally many devices, one for each cut that they reach and each choice of sizes.
    ways: dict[tuple[int, tuple[int, ...]], _Way] = {(0, ()): ()}
    while ways:
        longer: dict[tuple[int, tuple[int, ...]], _Way] = {}
        for (first, _), way in ways.items():
            for device in _unlike(heap_bytes, {device for _, device in way}):
                for last in range(first + 1, sizes.furthest(first, heap_bytes[device]) + 1):
                    extended = (*way, (Stage(first=first, last=last), device))
                    used = tuple(sorted(heap_bytes[place] for _, place in extended))
                    longer.setdefault((last, used), extended)
        for (last, _), way in longer.items():
            stuck = max(stuck, last)
            if last == end:
                return _packed(graph, [stage for stage, _ in way], [device for _, device in way])
        ways = longer
    operator = graph.operators[stuck]
    raise PackError(
        f"{operator.kind} (operator {operator.index}) does not fit what is left: alone it takes "
        f"{sizes.heap_bytes(stuck, stuck + 1)} bytes of heap",
        hint="add a device or memory; a plan that cuts inside operators may need less",
    )


_Way = tuple[tuple[Stage, int], ...]
"""Stages from the start on, each with the place of its device."""


def _unlike(heap_bytes: Sequence[int], used: set[int]) -> list[int]:
    """One unused device of each size, the largest first."""
    free = {heap_bytes[place]: place for place in range(len(heap_bytes)) if place not in used}
    return [free[size] for size in sorted(free, reverse=True)]


class _Sizes:
    """What segments of whole layers take, each packed once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[tuple[int, int], int] = {}

    def furthest(self, first: int, free: int) -> int:
        """The last cut up to which a segment from `first` on fits; `first` when nothing does."""
        fitting, weights = first, 0
        for last in range(first + 1, len(self._graph.operators) + 1):
            weights += self._graph.operators[last - 1].weight_bytes
            if weights > free:
                break
            if self.heap_bytes(first, last) <= free:
                fitting = last
        return fitting

    def heap_bytes(self, first: int, last: int) -> int:
        if (first, last) not in self._known:
            end = len(self._graph.operators)
            edges = sorted({0, first, last, end})
            stages = [Stage(first=a, last=b) for a, b in pairwise(edges)]
            split = partition(self._graph, stages)
            segment = split.segments[edges.index(first)]
            self._known[first, last] = pack_segment(split, segment).file.heap_bytes
        return self._known[first, last]


def _packed(graph: Graph, stages: Sequence[Stage], placement: Sequence[int]) -> Fit:
    split = partition(graph, stages)
    packed = tuple(pack_segment(split, segment) for segment in split.segments)
    return Fit(split=split, packed=packed, placement=tuple(placement))
