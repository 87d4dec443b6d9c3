"""Arithmetic of boxes, and the axes along which tensors are cut.

All boxes of one call belong to one tensor and have its rank. No box is empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import le, sub

from fita.tinyml.segment import Box

Shape = tuple[int, ...]


def whole_box(shape: Shape) -> Box:
    """All of a tensor of this shape."""
    return Box(starts=(0,) * len(shape), stops=shape)


def elements(box: Box) -> int:
    return math.prod(map(sub, box.stops, box.starts))


def intersection(first: Box, second: Box) -> Box | None:
    """What two boxes share; None when that is nothing."""
    starts = tuple(map(max, first.starts, second.starts))
    stops = tuple(map(min, first.stops, second.stops))
    if any(start >= stop for start, stop in zip(starts, stops, strict=True)):
        return None
    return Box(starts=starts, stops=stops)


def bounding(boxes: Iterable[Box]) -> Box:
    """The smallest box around one or more."""
    first, *rest = boxes
    starts, stops = first.starts, first.stops
    for box in rest:
        starts = tuple(map(min, starts, box.starts))
        stops = tuple(map(max, stops, box.stops))
    return Box(starts=starts, stops=stops)


def contains(outer: Box, inner: Box) -> bool:
    return all(map(le, outer.starts, inner.starts)) and all(map(le, inner.stops, outer.stops))


def within(box: Box, region: Box) -> Box:
    """A box counted from the start of the region that contains it."""
    return Box(
        starts=tuple(a - b for a, b in zip(box.starts, region.starts, strict=True)),
        stops=tuple(a - b for a, b in zip(box.stops, region.starts, strict=True)),
    )


def with_axis(box: Box, axis: int, start: int, stop: int) -> Box:
    """The same box with another range along one axis."""
    axis %= len(box.starts)
    return Box(
        starts=(*box.starts[:axis], start, *box.starts[axis + 1 :]),
        stops=(*box.stops[:axis], stop, *box.stops[axis + 1 :]),
    )


def merged(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Boxes that together hold each given one whole, joined where the joint box is no larger than the two."""
    different = dict.fromkeys(boxes)
    if len(different) == 1:
        return tuple(different)
    kept: list[Box] = []
    for box in different:
        grown = box
        while (other := next((k for k in kept if _joins(k, grown)), None)) is not None:
            kept.remove(other)
            grown = bounding((grown, other))
        kept.append(grown)
    return tuple(sorted(kept, key=lambda box: (box.starts, box.stops)))


def _joins(first: Box, second: Box) -> bool:
    return elements(bounding((first, second))) <= elements(first) + elements(second)


def row_axis(shape: Shape) -> int | None:
    """The axis that row slabs cut: the first of more than one element, but never the last. None without one."""
    return next((axis for axis, size in enumerate(shape[:-1]) if size > 1), None)


def channel_axis(shape: Shape) -> int | None:
    """The axis that channel shards cut: the last. None for a tensor without axes."""
    return len(shape) - 1 if shape else None
