"""Runs a segment inside its planned arena, as hostile to overlaps as the contract of `overlap` lets kernels be.

Bytes that a kernel may have written before it reads its operands are overwritten with garbage first. A plan that
holds here holds for every kernel that keeps the contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

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
    Mul,
    OneInput,
    Quantize,
    Reshape,
    Softmax,
    StridedSlice,
    Sub,
    Window,
)
from fita.tinyml.segment import Accumulate, PartialSum, Segment, SegmentOperator
from fita.tinyml.split.box import Shape, whole_box, with_axis
from fita.tinyml.split.execute import run_segment_operator
from fita.tinyml.split.memory import MemoryPlan
from fita.tinyml.split.rule.base import local_tensor, with_shape
from fita.tinyml.split.rule.window import CHANNELS, HEIGHT, cut_window, input_box
from fita.tinyml.tensor import Array, Tensor

_GARBAGE = 0x5A
_SINGLE = 4
"""Elements at either end of a tensor that are computed one by one; those between go in blocks."""
_BLOCK = 64

WindowOperator = Conv2D | DepthwiseConv2D | AveragePool2D | MaxPool2D | PartialSum
VectorOperator = FullyConnected | PartialSum | Softmax
ElementOperator = Add | Sub | Mul | Lookup | Quantize | Dequantize | Accumulate


@dataclass(frozen=True, eq=False)
class _Arena:
    """One buffer and where the tensors lie in it."""

    plan: MemoryPlan
    buffer: Array

    def view(self, tensor: Tensor) -> Array:
        """The tensor's bytes in the arena, or a constant's own."""
        if tensor.data is not None:
            return np.ascontiguousarray(tensor.data)
        start = self.plan.offsets[tensor]
        return np.asarray(self.buffer[start : start + tensor.size_bytes].view(tensor.dtype).reshape(tensor.shape))


def run_in_arena(segment: Segment, plan: MemoryPlan, values: Mapping[Tensor, Array]) -> dict[Tensor, Array]:
    """The outputs of a segment for the arrays of its inputs, computed in the arena."""
    arena = _Arena(plan, np.full(plan.arena_bytes, _GARBAGE, dtype=np.uint8))
    for tensor in segment.inputs:
        arena.view(tensor)[...] = values[tensor]
    for operator in segment.operators:
        _run(arena, operator)
    return {tensor: arena.view(tensor).copy() for tensor in segment.outputs}


def _run(arena: _Arena, operator: SegmentOperator) -> None:
    match operator:
        case Conv2D() | DepthwiseConv2D() | AveragePool2D() | MaxPool2D() | PartialSum(window=Window()):
            _by_rows(arena, operator)
        case FullyConnected() | PartialSum():
            _by_vectors(arena, operator, operator.weights.shape[1])
        case Softmax():
            _by_vectors(arena, operator, operator.depth)
        case Add() | Sub() | Mul() | Lookup() | Quantize() | Dequantize() | Accumulate():
            _by_elements(arena, operator)
        case Reshape() | StridedSlice():
            _copy(arena, operator)
        case Concatenation():
            _concatenate(arena, operator)
        case _:
            _at_once(arena, operator)


def _by_rows(arena: _Arena, operator: WindowOperator) -> None:
    """Row by row; each row is garbage before the rows under its windows are read."""
    data, output = arena.view(operator.input), arena.view(operator.output)
    window = operator.window or Window(height=1, width=1)
    for row in range(operator.output.shape[HEIGHT]):
        box = with_axis(whole_box(operator.output.shape), HEIGHT, row, row + 1)
        need = input_box(window, box, operator.input, (0, operator.input.shape[CHANNELS]))
        cut = replace(
            operator,
            input=local_tensor(operator.input, need),
            output=local_tensor(operator.output, box),
            window=cut_window(window, box, operator.input),
        )
        output[box.slices].view(np.uint8)[...] = _GARBAGE
        output[box.slices] = run_segment_operator(cut, [data[need.slices].copy()])


def _by_vectors(arena: _Arena, operator: VectorOperator, depth: int) -> None:
    """Vector by vector; for all but SOFTMAX, whose element may lie on its own operand, garbage comes first."""
    data = arena.view(operator.input).reshape(-1, depth)
    output = arena.view(operator.output).reshape(len(data), -1)
    cut = replace(
        operator,
        input=with_shape(operator.input, (1, depth), operator.input.name),
        output=with_shape(operator.output, (1, output.shape[1]), operator.output.name),
    )
    for place, vector in enumerate(data):
        if not isinstance(operator, Softmax):
            output[place].view(np.uint8)[...] = _GARBAGE
        output[place] = run_segment_operator(cut, [vector[None].copy()])[0]


def _blocks(count: int) -> Iterator[slice]:
    """Ranges of elements in ascending order."""
    place = 0
    while place < count:
        length = _BLOCK if place >= _SINGLE and place + _BLOCK + _SINGLE <= count else 1
        yield slice(place, place + length)
        place += length


def _sources(shape: Shape, output: Shape) -> Array:
    """For each flat output element the flat element of a broadcast operand."""
    numbers = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
    return np.broadcast_to(numbers, output).reshape(-1)


def _by_elements(arena: _Arena, operator: ElementOperator) -> None:
    """Elements in ascending order, each read before it is written."""
    shape = operator.output.shape
    operands = [(arena.view(tensor).reshape(-1), _sources(tensor.shape, shape)) for tensor in operator.inputs]
    output = arena.view(operator.output).reshape(-1)
    for block in _blocks(len(output)):
        cut = _over_elements(operator, block)
        output[block] = run_segment_operator(cut, [data[sources[block]] for data, sources in operands])


def _over_elements(operator: ElementOperator, block: slice) -> SegmentOperator:
    """The operator for flat arrays; the arithmetic asks shapes of nothing but the channels' multipliers."""
    if not isinstance(operator, Accumulate):
        return operator
    channels = np.arange(block.start, block.stop) % operator.output.shape[-1]
    scales = operator.requantization
    return replace(
        operator,
        requantization=replace(scales, multipliers=scales.multipliers[channels], shifts=scales.shifts[channels]),
    )


def _copy(arena: _Arena, operator: Reshape | StridedSlice) -> None:
    """Elements in ascending order, one at a time where they go forward."""
    data, output = arena.view(operator.input).reshape(-1), arena.view(operator.output).reshape(-1)
    numbers = np.arange(len(data)).reshape(operator.input.shape)
    sources = run_segment_operator(operator, [numbers]).reshape(-1)
    if isinstance(operator, StridedSlice) and min(operator.strides, default=1) < 0:
        if not _is_view(data[sources[0] :], output):
            _at_once(arena, operator)
        return
    for block in _blocks(len(output)):
        output[block] = data[sources[block]].copy()


def _concatenate(arena: _Arena, operator: Concatenation) -> None:
    """Operands that were computed in place stay, the others are copied onto garbage."""
    output = arena.view(operator.output)
    start = 0
    for tensor in operator.operands:
        stop = start + tensor.shape[operator.axis]
        place = output[with_axis(whole_box(output.shape), operator.axis, start, stop).slices]
        data = arena.view(tensor)
        if not _is_view(data, place):
            place.view(np.uint8)[...] = _GARBAGE
            place[...] = data.copy()
        start = stop


def _is_view(data: Array, place: Array) -> bool:
    """Whether both start at the same byte."""
    return bool(data.__array_interface__["data"] == place.__array_interface__["data"])


def _at_once(arena: _Arena, operator: SegmentOperator) -> None:
    """An operator that may write anything before it has read everything: garbage comes first."""
    if isinstance(operator, OneInput):
        output = arena.view(operator.output)
        output.reshape(-1).view(np.uint8)[...] = _GARBAGE
        output[...] = run_segment_operator(operator, [arena.view(operator.input).copy()])
