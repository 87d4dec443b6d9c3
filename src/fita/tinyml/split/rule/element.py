"""Rules for the operators that work element by element, on whole rows or over reduced axes."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from fita.tinyml.operator import Add, Dequantize, Lookup, Mean, Mul, Quantize, Softmax, Sub
from fita.tinyml.segment import Accumulate, Box, SegmentOperator
from fita.tinyml.split.box import Shape, with_axis
from fita.tinyml.split.rule.base import Rule, Site, channel_requantization

TwoInputOperator = TypeVar("TwoInputOperator", Add, Sub, Mul)
MapOperator = TypeVar("MapOperator", Lookup, Quantize, Dequantize, Softmax)


def _broadcast_need(shape: Shape, output: Shape, box: Box) -> Box:
    """The part of an operand of this shape that is broadcast over a box of the output."""
    lead = len(output) - len(shape)
    spread = [size == 1 < output[axis + lead] for axis, size in enumerate(shape)]
    return Box(
        starts=tuple(0 if wide else start for wide, start in zip(spread, box.starts[lead:], strict=True)),
        stops=tuple(1 if wide else stop for wide, stop in zip(spread, box.stops[lead:], strict=True)),
    )


class _TwoInputsRule(Rule[TwoInputOperator]):
    def needs(self, operator: TwoInputOperator, box: Box) -> tuple[Box | None, ...]:
        return tuple(_broadcast_need(operand.shape, operator.output.shape, box) for operand in operator.inputs)

    def cut(self, operator: TwoInputOperator, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        cut: TwoInputOperator = replace(operator, lhs=site.at(0), rhs=site.at(1), output=site.output)
        return (cut,)


class AddRule(_TwoInputsRule[Add]):
    pass


class SubRule(_TwoInputsRule[Sub]):
    pass


class MulRule(_TwoInputsRule[Mul]):
    pass


class _MapRule(Rule[MapOperator]):
    def needs(self, operator: MapOperator, box: Box) -> tuple[Box | None, ...]:
        return (box,)

    def cut(self, operator: MapOperator, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        cut: MapOperator = replace(operator, input=site.operand, output=site.output)
        return (cut,)


class LookupRule(_MapRule[Lookup]):
    pass


class QuantizeRule(_MapRule[Quantize]):
    pass


class DequantizeRule(_MapRule[Dequantize]):
    pass


class SoftmaxRule(_MapRule[Softmax]):
    """Rows stay whole."""

    def expand(self, operator: Softmax, box: Box) -> Box:
        return with_axis(box, -1, 0, operator.depth)


class MeanRule(Rule[Mean]):
    """The axes meant over stay whole."""

    def needs(self, operator: Mean, box: Box) -> tuple[Box | None, ...]:
        ranges = list(zip(box.starts, box.stops, strict=True))
        for axis in operator.axes:
            if operator.keep_dims:
                ranges[axis] = (0, operator.input.shape[axis])
            else:
                ranges.insert(axis, (0, operator.input.shape[axis]))
        return (Box(starts=tuple(start for start, _ in ranges), stops=tuple(stop for _, stop in ranges)),)

    def cut(self, operator: Mean, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        return (replace(operator, input=site.operand, output=site.output),)


class AccumulateRule(Rule[Accumulate]):
    def needs(self, operator: Accumulate, box: Box) -> tuple[Box | None, ...]:
        return (box,) * len(operator.partials)

    def cut(self, operator: Accumulate, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        partials = tuple(site.at(position) for position in range(len(operator.partials)))
        scales = channel_requantization(operator.requantization, box.starts[-1], box.stops[-1])
        return (replace(operator, partials=partials, requantization=scales, output=site.output),)
