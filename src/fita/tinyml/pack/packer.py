"""Segments to segment files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fita.tinyml.operator import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    Lookup,
    MaxPool2D,
    Mean,
    Mul,
    OperatorBase,
    Pad,
    Quantize,
    Reshape,
    Softmax,
    StridedSlice,
    Sub,
    Transpose,
)
from fita.tinyml.pack import element, move, weighted
from fita.tinyml.pack.layout import Direction, Edge, SegmentFile, encode
from fita.tinyml.pack.promise import promised_ram_bytes
from fita.tinyml.pack.site import PackSite
from fita.tinyml.segment import Accumulate, PartialSum, Segment, SegmentOperator, SplitModel, Transfer
from fita.tinyml.split.execute import run_segment_operator
from fita.tinyml.split.memory import MemoryPlan, segment_memory


def _pack_partial_sum(site: PackSite, operator: PartialSum) -> None:
    pack = weighted.pack_dense if operator.window is None else weighted.pack_convolution
    pack(site, operator)


def _pack_constant(site: PackSite, operator: SegmentOperator) -> None:
    """An operator over constants alone is computed here and copied there."""
    result = run_segment_operator(operator, [tensor.values for tensor in operator.inputs])
    source = replace(operator.output, data=result)
    move.pack_reshape(site, Reshape(index=operator.index, input=source, output=operator.output))


_PACKERS: dict[type[OperatorBase], Callable[[PackSite, Any], None]] = {
    Accumulate: weighted.pack_accumulate,
    Add: element.pack_elementwise,
    AveragePool2D: weighted.pack_pool,
    Concatenation: move.pack_concatenation,
    Conv2D: weighted.pack_convolution,
    DepthwiseConv2D: weighted.pack_depthwise,
    Dequantize: element.pack_dequantize,
    FullyConnected: weighted.pack_dense,
    Lookup: element.pack_lookup,
    MaxPool2D: weighted.pack_pool,
    Mean: element.pack_mean,
    Mul: element.pack_elementwise,
    Pad: move.pack_pad,
    PartialSum: _pack_partial_sum,
    Quantize: element.pack_quantize,
    Reshape: move.pack_reshape,
    Softmax: element.pack_softmax,
    StridedSlice: move.pack_strided_slice,
    Sub: element.pack_elementwise,
    Transpose: move.pack_transpose,
}
_ALIGN = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedSegment:
    """A segment as what its file says, and the file."""

    segment: Segment
    file: SegmentFile
    data: bytes


def pack_split(split: SplitModel) -> tuple[PackedSegment, ...]:
    """Every segment of a split model, in order. `PackError` when one has what no kernel runs."""
    return tuple(pack_segment(split, segment) for segment in split.segments)


def pack_segment(split: SplitModel, segment: Segment, memory: MemoryPlan | None = None) -> PackedSegment:
    """One segment; `memory` is its `segment_memory`, where somebody has planned it already."""
    memory = memory or segment_memory(segment)
    site = PackSite(memory.offsets, scratch_at=-(-memory.arena_bytes // _ALIGN) * _ALIGN)
    for operator in segment.operators:
        if operator.activation_inputs:
            _PACKERS[type(operator)](site, operator)
        else:
            _pack_constant(site, operator)
    edges = tuple(_edges(split, segment, memory))
    arena_bytes = site.scratch_at + site.scratch_bytes
    operators = tuple(site.records)
    file = SegmentFile(
        index=segment.index,
        segments=len(split.segments),
        model_digest=bytes.fromhex(split.graph.digest)[:4],
        arena_bytes=arena_bytes,
        ram_bytes=promised_ram_bytes(arena_bytes, operators, edges),
        operators=operators,
        edges=edges,
        constants=site.pool.content,
    )
    return PackedSegment(segment=segment, file=file, data=encode(file))


def _edges(split: SplitModel, segment: Segment, memory: MemoryPlan) -> list[Edge]:
    edges = []
    for number, transfer in enumerate(split.transfers):
        if transfer.consumer == segment.index:
            edges.append(_edge(Direction.IN, number, transfer, memory))
        if transfer.producer == segment.index:
            edges.append(_edge(Direction.OUT, number, transfer, memory))
    return edges


def _edge(direction: Direction, number: int, transfer: Transfer, memory: MemoryPlan) -> Edge:
    if direction is Direction.IN:
        peer, tensor, box = transfer.producer, transfer.destination, transfer.destination_box
    else:
        peer, tensor, box = transfer.consumer, transfer.source, transfer.source_box
    return Edge(
        direction=direction,
        transfer=number,
        peer=peer,
        size_bytes=transfer.size_bytes,
        words=move.edge_words(tensor, memory.offsets[tensor], box),
    )
