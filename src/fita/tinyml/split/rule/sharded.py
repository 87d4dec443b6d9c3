"""Sums over input channels, shared out: the step that becomes a `PartialSum`, and its rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from fita.tinyml.operator import Conv2D, FullyConnected, OneInput, Reshape, StridedSlice
from fita.tinyml.segment import Accumulate, Box, PartialSum, SegmentOperator
from fita.tinyml.split.box import Shape, whole_box, with_axis
from fita.tinyml.split.rule.base import Rule, Site, channel_part, with_shape
from fita.tinyml.split.rule.window import CHANNELS, cut_window, holds_window, input_box
from fita.tinyml.tensor import Tensor

SummingOperator = Conv2D | FullyConnected


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardedSum(OneInput):
    """A share start..stop of an operator's input channels over the whole input; `output` is its int32 sums.

    Only on the way to a segment: there it is a `PartialSum` over what it reads.
    """

    source: SummingOperator
    start: int
    stop: int
    kind: ClassVar[str] = "SHARDED_SUM"


def partial_sums(operator: SummingOperator, edges: tuple[tuple[int, int], ...]) -> tuple[ShardedSum, ...]:
    """One sum for each range of input channels."""
    return tuple(
        ShardedSum(
            index=operator.index,
            input=operator.input,
            output=Tensor(
                index=operator.output.index,
                name=f"{operator.output.name} sum {start}:{stop}",
                shape=operator.output.shape,
                dtype="int32",
            ),
            source=operator,
            start=start,
            stop=stop,
        )
        for start, stop in edges
    )


def accumulation(operator: SummingOperator, sums: tuple[ShardedSum, ...]) -> Accumulate:
    """What makes the operator's output of all its sums."""
    return Accumulate(
        index=operator.index,
        output=operator.output,
        partials=tuple(share.output for share in sums),
        requantization=operator.requantization,
    )


class ShardedSumRule(Rule[ShardedSum]):
    """The output stays whole along the rows of a flattened dense layer; that is no loss, for nothing cuts it."""

    def expand(self, operator: ShardedSum, box: Box) -> Box:
        return whole_box(operator.output.shape)

    def needs(self, operator: ShardedSum, box: Box) -> tuple[Box | None, ...]:
        source = operator.source
        if isinstance(source, Conv2D):
            return (input_box(source.window, box, source.input, (operator.start, operator.stop)),)
        return (_dense_need(operator, source),)

    def accepts(self, operator: ShardedSum, box: Box, need: Box, region: Box) -> bool:
        source = operator.source
        return isinstance(source, Conv2D) and holds_window(
            cut_window(source.window, box, source.input), need, region
        )

    def cut(self, operator: ShardedSum, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        source = operator.source
        if isinstance(source, Conv2D):
            return (_partial_sum(operator, site, site.operand),)
        (need,) = self.needs(operator, box)
        return _dense_sum(operator, source, site, need or whole_box(source.input.shape))


def _partial_sum(operator: ShardedSum, site: Site, data: Tensor) -> PartialSum:
    source = operator.source
    window = None
    axis = 1
    if isinstance(source, Conv2D):
        window, axis = cut_window(source.window, whole_box(source.output.shape), source.input), CHANNELS
    return PartialSum(
        index=operator.index,
        input=data,
        output=site.output,
        weights=channel_part(source.weights, axis, operator.start, operator.stop),
        bias=source.bias if operator.start == 0 else None,
        window=window,
    )


def _flat_axis(shape: Shape) -> int:
    """The axis along which a single flattened row is cut into slabs."""
    return next((axis for axis, size in enumerate(shape) if size > 1), len(shape) - 1)


def _dense_need(operator: ShardedSum, source: FullyConnected) -> Box:
    shape = source.input.shape
    if shape[-1:] == source.weights.shape[1:]:
        return with_axis(whole_box(shape), -1, operator.start, operator.stop)
    if source.rows > 1 or not shape:
        return whole_box(shape)
    axis = _flat_axis(shape)
    unit = math.prod(shape[axis + 1 :])
    return with_axis(whole_box(shape), axis, operator.start // unit, -(-operator.stop // unit))


def _dense_sum(operator: ShardedSum, source: FullyConnected, site: Site, need: Box) -> tuple[SegmentOperator, ...]:
    """A dense layer's sum; where the operand holds more than the share, the share is taken out of it first."""
    data, count, rows = site.operand, operator.stop - operator.start, source.rows
    if data.elements == rows * count:
        return (_partial_sum(operator, site, data),)
    held = data.elements // rows
    flat = with_shape(data, (rows, held), f"{data.name} flat")
    taken = with_shape(data, (rows, count), f"{data.name} share")
    skipped = operator.start - _flat_start(source, need)
    return (
        Reshape(index=operator.index, input=data, output=flat),
        StridedSlice(
            index=operator.index,
            input=flat,
            output=taken,
            starts=(0, skipped),
            counts=(rows, count),
            strides=(1, 1),
        ),
        _partial_sum(operator, site, taken),
    )


def _flat_start(source: FullyConnected, need: Box) -> int:
    """The place in a row where the box begins."""
    shape = source.input.shape
    if source.rows > 1:
        return 0
    axis = _flat_axis(shape)
    return need.starts[axis] * math.prod(shape[axis + 1 :])
