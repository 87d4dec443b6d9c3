"""Records of the operators that copy, and the loops of edges."""

from __future__ import annotations

from collections.abc import Sequence

from fita.tinyml.errors import PackError
from fita.tinyml.operator import Concatenation, Pad, Reshape, StridedSlice, Transpose
from fita.tinyml.pack.layout import Kernel
from fita.tinyml.pack.loop import Loop, dense_strides, joined, loop_words
from fita.tinyml.pack.site import ARENA, PackSite
from fita.tinyml.segment import Box
from fita.tinyml.tensor import TYPE_BYTES, Tensor


def pack_reshape(site: PackSite, operator: Reshape) -> None:
    size = operator.output.size_bytes
    _emit_copy(site, operator.input, site.activation(operator.output), [Loop(size, (1, 1))], 0)


def pack_transpose(site: PackSite, operator: Transpose) -> None:
    unit = TYPE_BYTES[operator.output.dtype]
    source = dense_strides(operator.input.shape, unit)
    loops = joined(
        operator.output.shape,
        [source[axis] for axis in operator.permutation],
        dense_strides(operator.output.shape, unit),
    )
    _emit_copy(site, operator.input, site.activation(operator.output), loops, 0)


def pack_strided_slice(site: PackSite, operator: StridedSlice) -> None:
    unit = TYPE_BYTES[operator.output.dtype]
    strides = dense_strides(operator.input.shape, unit)
    start = sum(a * b for a, b in zip(operator.starts, strides, strict=True))
    steps = [a * b for a, b in zip(operator.strides, strides, strict=True)]
    loops = joined(operator.counts, steps, dense_strides(operator.counts, unit))
    _emit_copy(site, operator.input, site.activation(operator.output), loops, start)


def pack_concatenation(site: PackSite, operator: Concatenation) -> None:
    """One copy for each operand that is not computed in place."""
    unit = TYPE_BYTES[operator.output.dtype]
    strides = dense_strides(operator.output.shape, unit)
    place = site.activation(operator.output)
    for operand in operator.operands:
        loops = joined(operand.shape, dense_strides(operand.shape, unit), strides)
        _emit_copy(site, operand, place, loops, 0)
        place += operand.shape[operator.axis] * strides[operator.axis]


def pack_pad(site: PackSite, operator: Pad) -> None:
    """Everything filled, then the inside copied."""
    output = operator.output
    unit = TYPE_BYTES[output.dtype]
    if unit != 1 and operator.fill != 0:
        raise PackError(f"{operator.name}: {output.dtype} padded with {operator.fill}", hint="pad int8 tensors")
    strides = dense_strides(output.shape, unit)
    place = site.activation(output)
    site.emit(Kernel.FILL, place, output.size_bytes, operator.fill & 255)
    inside = place + sum(before * stride for (before, _), stride in zip(operator.paddings, strides, strict=True))
    loops = joined(operator.input.shape, dense_strides(operator.input.shape, unit), strides)
    _emit_copy(site, operator.input, inside, loops, 0)


def _emit_copy(site: PackSite, source: Tensor, destination: int, loops: Sequence[Loop], start: int) -> None:
    """A copy in ascending order of the destination; none where all bytes are there already."""
    space, place = site.operand(source)
    in_place = all(loop.strides[0] == loop.strides[1] for loop in loops)
    if space == ARENA and place + start == destination and in_place:
        return
    run, outer = _run(loops, TYPE_BYTES[source.dtype])
    site.emit(Kernel.COPY, space, place + start, destination, run, *loop_words(outer, 2))


def _run(loops: Sequence[Loop], unit: int) -> tuple[int, Sequence[Loop]]:
    """Bytes that lie side by side on all sides, and the loops around them."""
    if loops and set(loops[-1].strides) == {unit}:
        return loops[-1].count * unit, loops[:-1]
    if loops and set(loops[-1].strides) == {1}:
        return loops[-1].count, loops[:-1]
    return unit, loops


def edge_words(tensor: Tensor, offset: int, box: Box) -> tuple[int, ...]:
    """The walk through a box of a tensor at an offset of the arena, beside the bytes of a message."""
    unit = TYPE_BYTES[tensor.dtype]
    strides = dense_strides(tensor.shape, unit)
    start = offset + sum(a * b for a, b in zip(box.starts, strides, strict=True))
    loops = joined(box.shape, strides, dense_strides(box.shape, unit))
    run, outer = _run(loops, unit)
    counts_and_strides = loop_words([Loop(loop.count, loop.strides[:1]) for loop in outer], 1)
    return (start, run, *counts_and_strides, 0, 0)
