"""Draws ADD, SUB, MUL, MEAN, SOFTMAX and the one-input maps; None where a value does not suit."""

from __future__ import annotations

import math

import numpy as np

from fita.tinyml.draw.drawing import STORED_DEVIATION, Drawing
from fita.tinyml.draw.model_builder import Quantization, Value, single


def _broadcasts(other: Value, value: Value) -> bool:
    if len(value.shape) > 4:
        return other.shape == value.shape
    sizes = zip(reversed(other.shape), reversed(value.shape), strict=False)
    return len(other.shape) <= len(value.shape) and all(small in (1, large) for small, large in sizes)


def _partner(drawing: Drawing, value: Value) -> Value | None:
    """A second operand that broadcasts to the value's shape: an activation or a constant."""
    alike = [other for other in drawing.values if _broadcasts(other, value)]
    if drawing.chance(0.7) and len(alike) > 1:
        return alike[drawing.integer(0, len(alike) - 1)]
    if len(value.shape) > 4:
        return None
    kept = value.shape[drawing.integer(0, len(value.shape)) :]
    shape = tuple(size if drawing.chance(0.7) else 1 for size in kept)
    return drawing.builder.constant(drawing.int8(shape), drawing.quantization())


def _two_inputs(drawing: Drawing, value: Value, name: str) -> Value | None:
    other = _partner(drawing, value)
    if other is None:
        return None
    operands = [value, other] if drawing.chance(0.7) else [other, value]
    if name == "MUL":
        quantization = drawing.output_quantization(STORED_DEVIATION**2, value.scale * other.scale)
    else:
        quantization = drawing.output_quantization(STORED_DEVIATION, max(value.scale, other.scale))
    return drawing.operator(
        name,
        [operand.number for operand in operands],
        shape=value.shape,
        quantization=quantization,
        FusedActivationFunction=drawing.activation(),
    )


def add(drawing: Drawing, value: Value) -> Value | None:
    return _two_inputs(drawing, value, "ADD")


def sub(drawing: Drawing, value: Value) -> Value | None:
    return _two_inputs(drawing, value, "SUB")


def mul(drawing: Drawing, value: Value) -> Value | None:
    return _two_inputs(drawing, value, "MUL")


def mean(drawing: Drawing, value: Value) -> Value | None:
    rank = len(value.shape)
    if rank < 2:
        return None
    count = drawing.integer(1, 2) if rank > 2 else 1
    axes = [int(axis) for axis in drawing.random.choice(np.arange(1, rank), count, replace=False)]
    keep = drawing.chance(0.5)
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(value.shape) if keep or axis not in axes)
    terms = math.prod(value.shape[axis] for axis in axes)
    written = [axis - rank if drawing.chance(0.3) else axis for axis in axes]
    quantization = value.quantization
    if drawing.chance(0.6):
        quantization = drawing.output_quantization(STORED_DEVIATION / math.sqrt(terms), value.scale)
    return drawing.operator(
        "MEAN",
        [value.number, drawing.integers(written)],
        shape=shape,
        quantization=quantization,
        KeepDims=int(keep),
    )


def softmax(drawing: Drawing, value: Value) -> Value | None:
    if not value.shape or value.shape[-1] > 256:
        return None
    beta = 1.0 if drawing.chance(0.7) else single(drawing.random.uniform(0.1, 3.0))
    quantization = Quantization(scale=1 / 256, zero_point=-128)
    return drawing.operator("SOFTMAX", [value.number], shape=value.shape, quantization=quantization, Beta=beta)


def logistic(drawing: Drawing, value: Value) -> Value:
    return drawing.operator(
        "LOGISTIC", [value.number], shape=value.shape, quantization=Quantization(scale=1 / 256, zero_point=-128)
    )


def tanh(drawing: Drawing, value: Value) -> Value:
    return drawing.operator(
        "TANH", [value.number], shape=value.shape, quantization=Quantization(scale=1 / 128, zero_point=0)
    )


def relu(drawing: Drawing, value: Value) -> Value:
    quantization = drawing.output_quantization(STORED_DEVIATION, value.scale)
    return drawing.operator("RELU", [value.number], shape=value.shape, quantization=quantization)


def relu6(drawing: Drawing, value: Value) -> Value:
    return drawing.operator("RELU6", [value.number], shape=value.shape, quantization=value.quantization)


def leaky_relu(drawing: Drawing, value: Value) -> Value:
    quantization = drawing.output_quantization(STORED_DEVIATION, value.scale)
    alpha = single(drawing.random.uniform(0.01, 0.5) if drawing.chance(0.8) else drawing.random.uniform(-1.0, 1.5))
    return drawing.operator(
        "LEAKY_RELU", [value.number], shape=value.shape, quantization=quantization, Alpha=alpha
    )


def quantize(drawing: Drawing, value: Value) -> Value:
    quantization = drawing.output_quantization(STORED_DEVIATION, value.scale)
    return drawing.operator("QUANTIZE", [value.number], shape=value.shape, quantization=quantization)
