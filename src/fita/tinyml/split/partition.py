"""From a graph and a chain of stages to segments and the transfers between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from fita.tinyml.graph import Graph
from fita.tinyml.segment import OUTSIDE, Segment, SplitModel, Transfer
from fita.tinyml.split.box import intersection, whole_box, within
from fita.tinyml.split.cutter import Cutter
from fita.tinyml.split.part import Part, Piece
from fita.tinyml.split.stage import Stage, check_stages
from fita.tinyml.tensor import Tensor


def partition(graph: Graph, stages: Sequence[Stage], cutter: Cutter | None = None) -> SplitModel:
    """The segments of all stages, one for each share, in order, and every transfer between them.

    A `cutter` of this graph spares cutting again what it has cut before. `SplitError` when the stages are no split
    of the graph.
    """
    check_stages(graph, stages)
    cutter = cutter or Cutter(graph)
    befores = [None, *stages[:-1]]
    parts = list(chain.from_iterable(map(cutter.parts, stages, befores)))
    segments = tuple(_segment(index, part) for index, part in enumerate(parts))
    return SplitModel(graph=graph, segments=segments, transfers=tuple(_transfers(graph, parts)))


def stage_of_segments(stages: Sequence[Stage]) -> tuple[tuple[int, int], ...]:
    """For each segment of a partition its stage and its share, by their numbers."""
    return tuple((number, share) for number, stage in enumerate(stages) for share in range(len(stage.shares)))


def _segment(index: int, part: Part) -> Segment:
    return Segment(
        index=index,
        operators=part.operators,
        inputs=tuple(piece.local for piece in part.inputs),
        outputs=tuple(piece.local for piece in part.outputs),
    )


@dataclass(frozen=True, slots=True)
class _Held:
    """A piece and the segment that holds it."""

    place: int
    piece: Piece


def _transfers(graph: Graph, parts: Sequence[Part]) -> Iterator[Transfer]:
    owners: dict[Tensor, list[_Held]] = {}
    for tensor in graph.inputs:
        owners[tensor] = [_Held(OUTSIDE, _outside(tensor))]
    for index, part in enumerate(parts):
        for piece in part.outputs:
            owners.setdefault(piece.tensor, []).append(_Held(index, piece))
    for index, part in enumerate(parts):
        for piece in part.inputs:
            yield from _gather(owners[piece.tensor], _Held(index, piece))
    for tensor in graph.outputs:
        yield from _gather(owners[tensor], _Held(OUTSIDE, _outside(tensor)))


def _outside(tensor: Tensor) -> Piece:
    box = whole_box(tensor.shape)
    return Piece(tensor=tensor, box=box, local=tensor, region=box)


def _gather(owners: Sequence[_Held], wanted: _Held) -> Iterator[Transfer]:
    """The transfers that fill a piece, each byte from its owner."""
    for owner in owners:
        common = intersection(owner.piece.box, wanted.piece.box)
        if common is not None:
            yield Transfer(
                producer=owner.place,
                source=owner.piece.local,
                source_box=within(common, owner.piece.region),
                consumer=wanted.place,
                destination=wanted.piece.local,
                destination_box=within(common, wanted.piece.region),
            )
