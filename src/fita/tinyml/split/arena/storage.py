"""The storages of a segment: its tensors, those joined that are views of one another, and their lifetimes.

A RESHAPE is a view of its input, and so is a slice that is contiguous in it; an operand of a CONCATENATION that is
contiguous in the output can be computed in place there. Views cost neither time nor memory, but what shares a
storage lives as long as the longest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from fita.tinyml.operator import Concatenation, Reshape, StridedSlice
from fita.tinyml.segment import Segment, SegmentOperator
from fita.tinyml.split.arena.overlap import clearance_bytes
from fita.tinyml.tensor import TYPE_BYTES, Tensor


@dataclass(slots=True, eq=False)
class Storage:
    """Bytes that are in use from operator `born` to operator `dies`, both included.

    `places` says where each tensor starts. Inputs are born at -1, outputs die behind the last operator.
    `clearances` holds for a storage that dies as this one is born how far above this one's start it may lie.
    """

    size_bytes: int
    born: int
    dies: int
    align: int
    places: dict[Tensor, int]
    clearances: dict[Storage, int] = field(default_factory=dict)

    def meets(self, other: Storage) -> bool:
        """Whether both are ever in use together."""
        return self.born <= other.dies and other.born <= self.dies

    def gap_bytes(self, above: Storage) -> int:
        """How far above this one's start another must start at least, given that it lies above."""
        return self.clearances.get(above, self.size_bytes)


def aligned(offset: int, align: int) -> int:
    """The next offset from this one on that is a multiple of `align`."""
    return -(-offset // align) * align


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Which views to make. A RESHAPE always is one."""

    slices: bool = True
    concatenations: bool = True


def storages(segment: Segment, views: Views) -> tuple[Storage, ...]:
    """All storages of a segment, in the order of their birth."""
    owners = {tensor: storage for storage in _single(segment) for tensor in storage.places}
    for operator in segment.operators:
        for container, part, offset in _views(operator, views):
            _join(owners, container, part, offset)
    found = tuple(dict.fromkeys(owners.values()))
    for position, operator in enumerate(segment.operators):
        _note_clearances(owners, position, operator)
    return tuple(sorted(found, key=lambda storage: storage.born))


def _single(segment: Segment) -> Iterator[Storage]:
    """One storage for each tensor."""
    last = {
        tensor: position
        for position, operator in enumerate(segment.operators)
        for tensor in operator.activation_inputs
    }
    last |= dict.fromkeys(segment.outputs, len(segment.operators))
    born: Iterable[tuple[Tensor, int]] = (
        *((tensor, -1) for tensor in segment.inputs),
        *((operator.output, position) for position, operator in enumerate(segment.operators)),
    )
    for tensor, start in born:
        yield Storage(
            size_bytes=tensor.size_bytes,
            born=start,
            dies=max(last.get(tensor, start), start),
            align=min(TYPE_BYTES[tensor.dtype], 4),
            places={tensor: 0},
        )


def _views(operator: SegmentOperator, views: Views) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Pairs of a tensor and one that lies in it, with the bytes before it."""
    match operator:
        case Reshape() if not operator.input.is_constant:
            yield operator.input, operator.output, 0
        case StridedSlice() if views.slices and not operator.input.is_constant:
            offset = slice_offset(operator)
            if offset is not None:
                yield operator.input, operator.output, offset
        case Concatenation() if views.concatenations and math.prod(operator.output.shape[: operator.axis]) == 1:
            offset = 0
            for operand in operator.operands:
                if not operand.is_constant:
                    yield operator.output, operand, offset
                offset += operand.size_bytes
        case _:
            pass


def slice_offset(operator: StridedSlice) -> int | None:
    """Bytes before the slice in its input; None when the slice is not contiguous there."""
    shape, partial = operator.input.shape, False
    offset, unit = 0, TYPE_BYTES[operator.input.dtype]
    for axis in reversed(range(len(shape))):
        count = operator.counts[axis]
        if count > 1 and (partial or operator.strides[axis] != 1):
            return None
        partial = partial or count < shape[axis]
        offset += operator.starts[axis] * unit
        unit *= shape[axis]
    return offset


def _join(owners: dict[Tensor, Storage], container: Tensor, part: Tensor, offset: int) -> None:
    """Make one tensor a view of another, unless bytes beside it would come to lie over the container's."""
    around, inner = owners[container], owners[part]
    if around is inner or inner.size_bytes != part.size_bytes:
        return
    shift = around.places[container] + offset - inner.places[part]
    align = max(around.align, inner.align)
    if shift % align:
        return
    around.places |= {tensor: place + shift for tensor, place in inner.places.items()}
    around.born = min(around.born, inner.born)
    around.dies = max(around.dies, inner.dies)
    around.align = align
    for tensor in inner.places:
        owners[tensor] = around


def _note_clearances(owners: Mapping[Tensor, Storage], position: int, operator: SegmentOperator) -> None:
    output = owners[operator.output]
    if output.born != position:
        return
    for tensor in operator.activation_inputs:
        storage = owners[tensor]
        if storage.dies != position or storage is output:
            continue
        clearance = clearance_bytes(operator, tensor)
        gap = output.size_bytes
        if clearance is not None:
            gap = max(0, clearance + output.places[operator.output] - storage.places[tensor])
        output.clearances[storage] = min(output.size_bytes, max(gap, output.clearances.get(storage, 0)))
