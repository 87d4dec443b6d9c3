"""Decoders of the operators that move elements: CONCATENATION, PAD, RESHAPE, TRANSPOSE, STRIDED_SLICE."""

from __future__ import annotations

from fita.tinyml.decode.check import check_rank, check_same_quantization
from fita.tinyml.decode.flatbuffer import MAX_OPERATORS
from fita.tinyml.decode.operator_source import OperatorSource
from fita.tinyml.operator import Concatenation, Pad, Reshape, StridedSlice, Transpose
from fita.tinyml.tensor import Tensor

MAX_CONCATENATION_INPUTS = 10
MAX_CONCATENATION_RANK = 4
MAX_PAD_RANK = 4
MAX_SLICE_RANK = 4


def decode_concatenation(source: OperatorSource) -> Concatenation:
    source.operands(1, MAX_OPERATORS)
    if source.input_count > MAX_CONCATENATION_INPUTS:
        source.refuse(
            f"{source.input_count} inputs, TFLite Micro takes {MAX_CONCATENATION_INPUTS}",
            "concatenate in two steps",
        )
    output = source.output
    operands = tuple(source.input(position) for position in range(source.input_count))
    check_rank(source, MAX_CONCATENATION_RANK, output, *operands)
    if source.integer("FusedActivationFunction"):
        source.refuse("a fused activation", "put the activation before the concatenation")
    axis = source.integer("Axis")
    rank = len(output.shape)
    if not -rank <= axis < rank:
        source.contradict(f"axis {axis} of {rank} dimensions")
    axis %= rank
    _check_concatenation(source, operands, axis)
    return Concatenation(index=source.index, output=output, operands=operands, axis=axis)


def _check_concatenation(source: OperatorSource, operands: tuple[Tensor, ...], axis: int) -> None:
    output = source.output
    for operand in operands:
        check_same_quantization(source, operand, output)
        if len(operand.shape) != len(output.shape) or _without(operand, axis) != _without(output, axis):
            source.contradict(f"input {list(operand.shape)} does not fit output {list(output.shape)}")
    total = sum(operand.shape[axis] for operand in operands)
    if total != output.shape[axis]:
        source.contradict(f"the inputs fill {total} of the output's {output.shape[axis]} along axis {axis}")


def _without(tensor: Tensor, axis: int) -> tuple[int, ...]:
    return tensor.shape[:axis] + tensor.shape[axis + 1 :]


def decode_pad(source: OperatorSource) -> Pad:
    source.operands(2, 2)
    data, output = source.input(), source.output
    check_rank(source, MAX_PAD_RANK, data)
    check_same_quantization(source, data, output)
    flat = source.constant_integers(1, "paddings")
    if len(flat) != 2 * len(data.shape) or any(count < 0 for count in flat):
        source.contradict(f"paddings {flat} for {len(data.shape)} dimensions")
    paddings = tuple(zip(flat[::2], flat[1::2], strict=True))
    shape = tuple(before + size + after for size, (before, after) in zip(data.shape, paddings, strict=True))
    if shape != output.shape:
        source.contradict(f"output {list(output.shape)} where {list(shape)} belongs")
    return Pad(index=source.index, output=output, input=data, paddings=paddings, fill=output.zero_point)


def decode_reshape(source: OperatorSource) -> Reshape:
    source.operands(1, 2)
    data, output, shape = source.input(), source.output, source.optional(1)
    if shape is not None and not shape.is_constant:
        source.refuse("its shape is computed while running", "convert with fixed shapes")
    check_same_quantization(source, data, output)
    if data.elements != output.elements:
        source.contradict(f"{data.elements} elements become {output.elements}")
    return Reshape(index=source.index, output=output, input=data)


def decode_transpose(source: OperatorSource) -> Transpose:
    source.operands(2, 2)
    data, output = source.input(), source.output
    check_same_quantization(source, data, output)
    permutation = tuple(source.constant_integers(1, "axes"))
    if sorted(permutation) != list(range(len(data.shape))):
        source.contradict(f"{list(permutation)} is no order of {len(data.shape)} axes")
    shape = tuple(data.shape[axis] for axis in permutation)
    if shape != output.shape:
        source.contradict(f"output {list(output.shape)} where {list(shape)} belongs")
    return Transpose(index=source.index, output=output, input=data, permutation=permutation)


def decode_strided_slice(source: OperatorSource) -> StridedSlice:
    source.operands(4, 4)
    data, output = source.input(), source.output
    check_rank(source, MAX_SLICE_RANK, data)
    check_same_quantization(source, data, output)
    if any(source.integer(option) for option in ("EllipsisMask", "NewAxisMask", "Offset")):
        source.refuse("an ellipsis, a new axis or an offset", "write the slice with plain starts and ends")
    begins, ends, strides = (source.constant_integers(position, "slice limits") for position in (1, 2, 3))
    if not len(begins) == len(ends) == len(strides) == len(data.shape) or 0 in strides:
        source.contradict(f"starts {begins}, ends {ends}, strides {strides} of {len(data.shape)} axes")
    starts, counts = [], []
    for axis, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        start, count = _slice_axis(source, axis, begin=begin, end=end, stride=stride)
        starts.append(start)
        counts.append(count)
    shrunk = source.integer("ShrinkAxisMask")
    shape = tuple(count for axis, count in enumerate(counts) if not shrunk >> axis & 1)
    if shape != output.shape:
        source.contradict(f"output {list(output.shape)} where {list(shape)} belongs")
    return StridedSlice(
        index=source.index,
        output=output,
        input=data,
        starts=tuple(starts),
        counts=tuple(counts),
        strides=tuple(strides),
    )


def _slice_axis(source: OperatorSource, axis: int, *, begin: int, end: int, stride: int) -> tuple[int, int]:
    """First index and number of elements along an axis, as Python's own slices count."""
    size = source.input().shape[axis]

    def masked(option: str) -> bool:
        return bool(source.integer(option) >> axis & 1)

    start, stop, step = slice(
        None if masked("BeginMask") else begin, None if masked("EndMask") else end, stride
    ).indices(size)
    if masked("ShrinkAxisMask"):
        if not 0 <= start < size or stride < 0:
            source.contradict(f"index {begin} of axis {axis}, which has {size}")
        return start, 1
    count = len(range(start, stop, step))
    if count == 0:
        source.contradict(f"an empty slice of axis {axis}")
    return start, count
