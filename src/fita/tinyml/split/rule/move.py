"""Rules for the operators that move elements."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fita.tinyml.operator import Concatenation, Pad, StridedSlice, Transpose
from fita.tinyml.segment import Box, SegmentOperator
from fita.tinyml.split.box import intersection, with_axis
from fita.tinyml.split.rule.base import Rule, Site


class ConcatenationRule(Rule[Concatenation]):
    """Operands outside the box fall away."""

    def needs(self, operator: Concatenation, box: Box) -> tuple[Box | None, ...]:
        axis, offset, found = operator.axis, 0, []
        for operand in operator.operands:
            size = operand.shape[axis]
            place = with_axis(box, axis, offset, offset + size)
            met = intersection(place, box)
            found.append(met and with_axis(met, axis, met.starts[axis] - offset, met.stops[axis] - offset))
            offset += size
        return tuple(found)

    def cut(self, operator: Concatenation, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        operands = tuple(operand for operand in site.operands if operand is not None)
        return (replace(operator, operands=operands, output=site.output),)


class TransposeRule(Rule[Transpose]):
    def needs(self, operator: Transpose, box: Box) -> tuple[Box | None, ...]:
        place = [operator.permutation.index(axis) for axis in range(len(operator.permutation))]
        return (Box(starts=tuple(box.starts[p] for p in place), stops=tuple(box.stops[p] for p in place)),)

    def cut(self, operator: Transpose, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        return (replace(operator, input=site.operand, output=site.output),)


@dataclass(frozen=True, slots=True)
class _Padded:
    """A range start..stop along a padded axis: `before` and `after` elements of it are padding."""

    start: int
    stop: int
    before: int
    after: int


class PadRule(Rule[Pad]):
    """A box of nothing but padding grows until it meets the input."""

    def expand(self, operator: Pad, box: Box) -> Box:
        grown = box
        for axis, (before, _) in enumerate(operator.paddings):
            last = before + operator.input.shape[axis] - 1
            grown = with_axis(grown, axis, min(box.starts[axis], last), max(box.stops[axis], before + 1))
        return grown

    def needs(self, operator: Pad, box: Box) -> tuple[Box | None, ...]:
        found = self._padded(operator, box)
        return (Box(starts=tuple(padded.start for padded in found), stops=tuple(padded.stop for padded in found)),)

    def cut(self, operator: Pad, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        paddings = tuple((padded.before, padded.after) for padded in self._padded(operator, box))
        return (replace(operator, input=site.operand, output=site.output, paddings=paddings),)

    @staticmethod
    def _padded(operator: Pad, box: Box) -> list[_Padded]:
        found = []
        for axis, (before, _) in enumerate(operator.paddings):
            size = operator.input.shape[axis]
            start, stop = box.starts[axis] - before, box.stops[axis] - before
            found.append(_Padded(max(start, 0), min(stop, size), max(-start, 0), max(stop - size, 0)))
        return found


class StridedSliceRule(Rule[StridedSlice]):
    def needs(self, operator: StridedSlice, box: Box) -> tuple[Box | None, ...]:
        taken = _slice_box(operator, box)
        starts, stops = [], []
        for axis, stride in enumerate(operator.strides):
            first = operator.starts[axis] + stride * taken.starts[axis]
            last = operator.starts[axis] + stride * (taken.stops[axis] - 1)
            starts.append(min(first, last))
            stops.append(max(first, last) + 1)
        return (Box(starts=tuple(starts), stops=tuple(stops)),)

    def cut(self, operator: StridedSlice, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        taken = _slice_box(operator, box)
        starts = tuple(
            0 if stride > 0 else site.operand.shape[axis] - 1 for axis, stride in enumerate(operator.strides)
        )
        return (replace(operator, input=site.operand, output=site.output, starts=starts, counts=taken.shape),)


def _slice_box(operator: StridedSlice, box: Box) -> Box:
    """The output box with a range for every axis of the input, those of one element that fell away included."""
    ranges, place = [], 0
    for count in operator.counts:
        if place < len(box.starts) and operator.output.shape[place] == count:
            ranges.append((box.starts[place], box.stops[place]))
            place += 1
        else:
            ranges.append((0, 1))
    return Box(starts=tuple(start for start, _ in ranges), stops=tuple(stop for _, stop in ranges))
