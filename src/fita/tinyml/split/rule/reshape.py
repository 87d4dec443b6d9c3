"""Rule for RESHAPE: which boxes of one shape are boxes of the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fita.tinyml.operator import Reshape
from fita.tinyml.segment import Box, SegmentOperator
from fita.tinyml.split.box import Shape, whole_box, with_axis
from fita.tinyml.split.rule.base import Rule, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Axes of the input that hold the same elements as axes of the output; axes of one element are in no group."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def _groups(before: Shape, after: Shape) -> Iterator[_Group]:
    """The smallest such groups, from the first axis to the last."""
    left = [axis for axis, size in enumerate(before) if size > 1]
    right = [axis for axis, size in enumerate(after) if size > 1]
    while left:
        inputs, outputs = [left.pop(0)], [right.pop(0)]
        while (taken := _product(before, inputs)) != (given := _product(after, outputs)):
            if taken < given:
                inputs.append(left.pop(0))
            else:
                outputs.append(right.pop(0))
        yield _Group(inputs=tuple(inputs), outputs=tuple(outputs))


def _product(shape: Shape, axes: list[int] | tuple[int, ...]) -> int:
    return math.prod(shape[axis] for axis in axes)


def _slab(shape: Shape, axes: tuple[int, ...], box: Box) -> tuple[int, int]:
    """Half-open range of the group's flat elements from the box's first index along the first axis to its last."""
    unit = _product(shape, axes[1:])
    return box.starts[axes[0]] * unit, box.stops[axes[0]] * unit


def _with_slab(box: Box, shape: Shape, axes: tuple[int, ...], slab: tuple[int, int]) -> Box:
    """The box with all of a group's axes, but of the first only what the flat range covers."""
    unit = _product(shape, axes[1:])
    grown = with_axis(box, axes[0], slab[0] // unit, slab[1] // unit)
    for axis in axes[1:]:
        grown = with_axis(grown, axis, 0, shape[axis])
    return grown


class ReshapeRule(Rule[Reshape]):
    """An axis that both shapes have is cut freely, axes that merge or divide only in whole slabs of both."""

    def expand(self, operator: Reshape, box: Box) -> Box:
        before, after = operator.input.shape, operator.output.shape
        grown = box
        for group in _groups(before, after):
            start, stop = _slab(after, group.outputs, box)
            unit = math.lcm(_product(before, group.inputs[1:]), _product(after, group.outputs[1:]))
            if len(group.inputs) > 1 or len(group.outputs) > 1:
                slab = (start // unit * unit, -(-stop // unit) * unit)
                grown = _with_slab(grown, after, group.outputs, slab)
        return grown

    def needs(self, operator: Reshape, box: Box) -> tuple[Box | None, ...]:
        before, after = operator.input.shape, operator.output.shape
        need = whole_box(before)
        for group in _groups(before, after):
            need = _with_slab(need, before, group.inputs, _slab(after, group.outputs, box))
        return (need,)

    def cut(self, operator: Reshape, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        return (replace(operator, input=site.operand, output=site.output),)
