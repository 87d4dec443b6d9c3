"""Draws the operators that move elements; None where a value does not suit."""

from __future__ import annotations

import math

import numpy as np

from fita.tinyml.draw.drawing import Drawing
from fita.tinyml.draw.model_builder import Quantization, Value


def concatenation(drawing: Drawing, value: Value) -> Value | None:
    """With activations that agree in all other axes, requantised where theirs differ; or with itself."""
    rank = len(value.shape)
    if not 1 <= rank <= 4:
        return None
    axis = drawing.integer(1 if rank > 1 else 0, rank - 1)

    def others(shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[:axis] + shape[axis + 1 :]

    alike = [v for v in drawing.values if len(v.shape) == rank and others(v.shape) == others(value.shape)]
    chosen = [value, *(alike[drawing.integer(0, len(alike) - 1)] for _ in range(drawing.integer(1, 3)))]
    total = sum(operand.shape[axis] for operand in chosen)
    shape = (*value.shape[:axis], total, *value.shape[axis + 1 :])
    if not drawing.fits(*shape):
        return None
    operands = [_requantized(drawing, operand, value.quantization) for operand in chosen]
    written_axis = axis - rank if drawing.chance(0.3) else axis
    return drawing.operator(
        "CONCATENATION",
        [operand.number for operand in operands],
        shape=shape,
        quantization=value.quantization,
        Axis=written_axis,
    )


def _requantized(drawing: Drawing, value: Value, quantization: Quantization | None) -> Value:
    if value.quantization == quantization:
        return value
    return drawing.operator("QUANTIZE", [value.number], shape=value.shape, quantization=quantization)


def pad(drawing: Drawing, value: Value) -> Value | None:
    if not 1 <= len(value.shape) <= 4:
        return None
    paddings = [(0, 0)] + [(drawing.integer(0, 2), drawing.integer(0, 2)) for _ in value.shape[1:]]
    shape = tuple(before + size + after for size, (before, after) in zip(value.shape, paddings, strict=True))
    if not drawing.fits(*shape):
        return None
    content = np.asarray(paddings, dtype=np.int32)
    constant = drawing.builder.constant(content).number
    return drawing.operator("PAD", [value.number, constant], shape=shape, quantization=value.quantization)


def reshape(drawing: Drawing, value: Value) -> Value | None:
    elements = math.prod(value.shape)
    divisors = [number for number in range(1, min(elements, 64) + 1) if elements % number == 0]
    height = divisors[drawing.integer(0, len(divisors) - 1)]
    rest = [number for number in divisors if elements // height % number == 0]
    width = rest[drawing.integer(0, len(rest) - 1)]
    channels = elements // height // width
    shapes: list[tuple[int, ...]] = [
        (1, height, width, channels),
        (height, width, channels),
        (height * width, channels),
        (elements,),
        (1, height, width, channels, 1),
    ]
    shape = shapes[drawing.integer(0, 4) if drawing.chance(0.4) else 0]
    return drawing.operator(
        "RESHAPE", [value.number, drawing.integers(list(shape))], shape=shape, quantization=value.quantization
    )


def transpose(drawing: Drawing, value: Value) -> Value | None:
    rank = len(value.shape)
    if rank < 2:
        return None
    rest = [int(axis) for axis in drawing.random.permutation(rank - 1) + 1]
    permutation = [0, *rest] if drawing.chance(0.8) else [int(axis) for axis in drawing.random.permutation(rank)]
    shape = tuple(value.shape[axis] for axis in permutation)
    return drawing.operator(
        "TRANSPOSE", [value.number, drawing.integers(permutation)], shape=shape, quantization=value.quantization
    )


def strided_slice(drawing: Drawing, value: Value) -> Value | None:
    """Positive and negative strides, masks, negative limits, and axes dropped by the shrink mask."""
    rank = len(value.shape)
    if not 1 <= rank <= 4:
        return None
    begins, ends, strides, shape = [], [], [], []
    masks = {"BeginMask": 0, "EndMask": 0, "ShrinkAxisMask": 0}
    for axis, size in enumerate(value.shape):
        backward = drawing.chance(0.2)
        stride = drawing.integer(1, 2) * (-1 if backward else 1)
        first, last = sorted((drawing.integer(0, size - 1), drawing.integer(0, size - 1)))
        begin, end = (last, first - 1) if backward else (first, last + 1)
        masks["BeginMask"] |= drawing.chance(0.3) << axis
        masks["EndMask"] |= (drawing.chance(0.3) or end < 0) << axis
        shrunk = axis > 0 and not backward and drawing.chance(0.1)
        masks["ShrinkAxisMask"] |= shrunk << axis
        begins.append(begin - size if drawing.chance(0.2) else begin)
        ends.append(end - size if end < size and drawing.chance(0.2) else end)
        strides.append(stride)
        if not shrunk:
            start = None if masks["BeginMask"] >> axis & 1 else begin
            stop = None if masks["EndMask"] >> axis & 1 else end
            shape.append(len(range(*slice(start, stop, stride).indices(size))))
    if not shape or not drawing.fits(*shape):
        return None
    limits = [drawing.integers(values) for values in (begins, ends, strides)]
    return drawing.operator(
        "STRIDED_SLICE", [value.number, *limits], shape=tuple(shape), quantization=value.quantization, **masks
    )
