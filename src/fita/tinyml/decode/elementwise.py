"""Decoders of ADD, SUB, MUL, SOFTMAX, MEAN and of the one-input maps, which become tables.

Factors are formed in double precision, limits of activations in single, as TFLite Micro's Prepare functions do.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from fita.tinyml import fixed_point
from fita.tinyml.decode.check import (
    bounded_rescale,
    check_rank,
    check_same_quantization,
    check_same_shape,
    check_sum,
    fused_activation,
    output_clamp,
    output_clamp_to,
)
from fita.tinyml.decode.operator_source import OperatorSource
from fita.tinyml.operator import Add, Dequantize, Function, Lookup, Mean, Mul, Quantize, Softmax, Sub
from fita.tinyml.quantization import (
    Clamp,
    Int64Array,
    Rescale,
    clamp,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rescale,
    rounding_divide_by_pot,
)
from fita.tinyml.tensor import Array, Tensor

SUM_SHIFT = 20
"""ADD and SUB work on operands shifted left by this many bits."""
MAX_BROADCAST_RANK = 4
MAX_SOFTMAX_DEPTH = 511
"""TFLite Micro's kernel aborts when the sum of exponentials reaches 512."""
MAX_MEAN_AXES = 2
_SOFTMAX_INTEGER_BITS = 5
_SIGMOID_INTEGER_BITS = 4
_SIGMOID_MAX_SHIFT = 62
"""From 31 on the radius is 0 and nothing is scaled; the kernel's own shift ends here."""
_Sum = TypeVar("_Sum", bound=Add)
_STORED: Int64Array = np.arange(-128, 128, dtype=np.int64)


def decode_add(source: OperatorSource) -> Add:
    return _sum(source, Add)


def decode_sub(source: OperatorSource) -> Sub:
    return _sum(source, Sub)


def _sum(source: OperatorSource, kind: type[_Sum]) -> _Sum:
    lhs, rhs, output = _two_inputs(source)
    twice_scale = 2 * max(lhs.scale, rhs.scale)
    return kind(
        index=source.index,
        output=output,
        lhs=lhs,
        rhs=rhs,
        clamp=output_clamp(source),
        output_rescale=_below_one(source, twice_scale / ((1 << SUM_SHIFT) * output.scale)),
        activation=fused_activation(source),
        lhs_rescale=_below_one(source, lhs.scale / twice_scale),
        rhs_rescale=_below_one(source, rhs.scale / twice_scale),
    )


def decode_mul(source: OperatorSource) -> Mul:
    lhs, rhs, output = _two_inputs(source)
    bound = _magnitude(lhs) * _magnitude(rhs)
    return Mul(
        index=source.index,
        output=output,
        lhs=lhs,
        rhs=rhs,
        clamp=output_clamp(source),
        output_rescale=bounded_rescale(source, lhs.scale * rhs.scale / output.scale, bound),
        activation=fused_activation(source),
    )


def _two_inputs(source: OperatorSource) -> tuple[Tensor, Tensor, Tensor]:
    source.operands(2, 2)
    lhs, rhs, output = source.input(0), source.input(1), source.output
    if lhs.shape != rhs.shape:
        check_rank(source, MAX_BROADCAST_RANK, lhs, rhs, output)
    try:
        shape = np.broadcast_shapes(lhs.shape, rhs.shape)
    except ValueError:
        source.contradict(f"shapes {list(lhs.shape)} and {list(rhs.shape)} do not go together")
    if shape != output.shape:
        source.contradict(f"output {list(output.shape)} where {list(shape)} belongs")
    return lhs, rhs, output


def _magnitude(tensor: Tensor) -> int:
    """The largest stored value without the zero point."""
    return max(127 - tensor.zero_point, tensor.zero_point + 128)


def _below_one(source: OperatorSource, factor: float) -> Rescale:
    """A factor for which TFLite Micro takes only values between 0 and 1."""
    if not 0 < factor < 1:
        source.refuse(f"the factor {factor} is not between 0 and 1", "choose scales that lie closer together")
    result = quantize_multiplier(factor)
    if result.shift > 0:
        source.refuse(f"the factor {factor} rounds to 1", "choose scales that lie closer together")
    return result


def decode_softmax(source: OperatorSource) -> Softmax:
    source.operands(1, 1)
    data, output, beta = source.input(), source.output, source.real("Beta")
    check_same_shape(source, data, output)
    if not data.shape or data.shape[-1] > MAX_SOFTMAX_DEPTH:
        source.refuse(f"more than {MAX_SOFTMAX_DEPTH} classes", "leave SOFTMAX out and take the largest output")
    if output.scale != 1 / 256 or output.zero_point != -128:
        source.refuse("an output scale other than 1/256 or a zero point other than -128")
    factor = min(beta * data.scale * (1 << (31 - _SOFTMAX_INTEGER_BITS)), 2.0**31 - 1)
    if not factor > 1:
        source.refuse(f"beta {beta} at scale {data.scale} is too small for TFLite Micro", "use a larger beta")
    return Softmax(
        index=source.index,
        output=output,
        input=data,
        beta=beta,
        exponentials=_exponentials(factor),
    )


def _input_radius(integer_bits: int, shift: int) -> int:
    """The first stored difference that the fixed-point function cannot tell from infinity."""
    return math.floor(((1 << integer_bits) - 1) * 2.0 ** (31 - integer_bits) / 2.0**shift)


def _exponentials(factor: float) -> Array:
    differences = -np.arange(256, dtype=np.int64)
    try:
        multiplier = quantize_multiplier(factor)
    except OverflowError:  # so steep that only the maximum itself counts
        multiplier = Rescale(multiplier=0, shift=31)
    counted = differences >= -_input_radius(_SOFTMAX_INTEGER_BITS, multiplier.shift)
    scaled = rescale(np.where(counted, differences, 0), multiplier)
    values = fixed_point.exp_on_negative_values(scaled, _SOFTMAX_INTEGER_BITS)
    return np.where(counted, values, 0).astype(np.int32)


def decode_mean(source: OperatorSource) -> Mean:
    source.operands(2, 2)
    data, output = source.input(), source.output
    rank = len(data.shape)
    given = source.constant_integers(1, "axes")
    if not all(-rank <= axis < rank for axis in given):
        source.contradict(f"axes {given} of {rank} dimensions")
    axes = tuple(sorted({axis % rank for axis in given}))
    if not 1 <= len(axes) <= MAX_MEAN_AXES:
        source.refuse(f"the mean over {len(axes)} axes, TFLite Micro takes 1 or {MAX_MEAN_AXES}", "use two MEANs")
    keep = bool(source.integer("KeepDims"))
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(data.shape))
    shape = kept if keep else tuple(size for axis, size in enumerate(data.shape) if axis not in axes)
    if output.shape != shape:
        source.contradict(f"output {list(output.shape)} where {list(shape)} belongs")
    count = math.prod(data.shape[axis] for axis in axes)
    return Mean(
        index=source.index,
        output=output,
        input=data,
        axes=axes,
        keep_dims=keep,
        rescale=_mean_rescale(source, count),
    )


def _mean_rescale(source: OperatorSource, count: int) -> Rescale:
    """The factor for a sum of `count` values: the scales' quotient with 1 / count worked into it."""
    data, output = source.input(), source.output
    bound = count * 255
    check_sum(source, bound)
    factor = bounded_rescale(source, data.scale / output.scale, 1)
    shift = min(count.bit_length() - 1, 32, 31 + factor.shift)
    result = Rescale(multiplier=(factor.multiplier << shift) // count, shift=factor.shift - shift)
    check_sum(source, bound << max(result.shift, 0))
    return result


def decode_logistic(source: OperatorSource) -> Lookup:
    data, output = _one_input(source)
    if output.zero_point != -128:
        source.refuse("an output zero point other than -128")
    centered, radius, scaled = _sigmoid_argument(source, data)
    values = rounding_divide_by_pot(fixed_point.logistic(scaled, _SIGMOID_INTEGER_BITS), 23) - 128
    return _lookup(source, "LOGISTIC", _saturated(values, centered, radius))


def decode_tanh(source: OperatorSource) -> Lookup:
    data, _ = _one_input(source)
    centered, radius, scaled = _sigmoid_argument(source, data)
    values = rounding_divide_by_pot(fixed_point.tanh(scaled, _SIGMOID_INTEGER_BITS), 24)
    return _lookup(source, "TANH", _saturated(values, centered, radius))


def _sigmoid_argument(source: OperatorSource, data: Tensor) -> tuple[Int64Array, int, Int64Array]:
    """Every stored value without the zero point, the radius beyond which the function is flat, and it in Q4."""
    factor = data.scale * (1 << (31 - _SIGMOID_INTEGER_BITS))
    fraction, shift = math.frexp(factor)
    if not 0 <= shift <= _SIGMOID_MAX_SHIFT:
        source.refuse(f"the input scale {data.scale} is beyond what TFLite Micro takes")
    radius = _input_radius(_SIGMOID_INTEGER_BITS, shift)
    centered = _STORED - data.zero_point
    inside = np.where(np.abs(centered) < radius, centered, 0)
    scaled = multiply_by_quantized_multiplier(inside, int(fraction * 2.0**31), shift)
    return centered, radius, scaled


def _saturated(values: Int64Array, centered: Int64Array, radius: int) -> Array:
    inside = clamp(values, Clamp())
    return np.where(centered <= -radius, -128, np.where(centered >= radius, 127, inside)).astype(np.int8)


def decode_relu(source: OperatorSource) -> Lookup:
    data, output = _one_input(source)
    factor = bounded_rescale(source, data.scale / output.scale, 1)
    values = output.zero_point + rescale(_STORED - data.zero_point, factor)
    return _lookup(source, "RELU", clamp(values, output_clamp_to(source, 0.0, math.inf)))


def decode_relu6(source: OperatorSource) -> Lookup:
    data, output = _one_input(source)
    check_same_quantization(source, data, output)
    return _lookup(source, "RELU6", clamp(_STORED, output_clamp_to(source, 0.0, 6.0)))


def decode_leaky_relu(source: OperatorSource) -> Lookup:
    data, output = _one_input(source)
    alpha = source.real("Alpha")
    identity = bounded_rescale(source, data.scale / output.scale, 1)
    slope = bounded_rescale(source, data.scale * alpha / output.scale, 1)
    sign = -1 if slope.multiplier < 0 else 1
    magnitude = Rescale(multiplier=abs(slope.multiplier), shift=slope.shift)
    centered = _STORED - data.zero_point
    values = np.where(centered >= 0, rescale(centered, identity), sign * rescale(centered, magnitude))
    return _lookup(source, "LEAKY_RELU", clamp(values + output.zero_point, Clamp()), alpha=alpha)


def decode_quantize(source: OperatorSource) -> Quantize | Lookup:
    source.operands(1, 1)
    data, output = source.any_input(), source.output
    check_same_shape(source, data, output)
    if data.dtype == "float32":
        return Quantize(index=source.index, output=output, input=data)
    data = source.input()
    factor = bounded_rescale(source, data.scale / output.scale, 1)
    values = rescale(_STORED - data.zero_point, factor) + output.zero_point
    return _lookup(source, "QUANTIZE", clamp(values, Clamp()))


def decode_dequantize(source: OperatorSource) -> Dequantize:
    source.operands(1, 1)
    data, output = source.input(), source.any_output
    check_same_shape(source, data, output)
    if output.dtype != "float32":
        source.refuse(f"an output of {output.dtype}", "dequantise to float32")
    return Dequantize(index=source.index, output=output, input=data)


def _one_input(source: OperatorSource) -> tuple[Tensor, Tensor]:
    source.operands(1, 1)
    data, output = source.input(), source.output
    check_same_shape(source, data, output)
    return data, output


def _lookup(source: OperatorSource, function: Function, table: Array, alpha: float = 0.0) -> Lookup:
    return Lookup(
        index=source.index,
        output=source.output,
        input=source.input(),
        function=function,
        table=table,
        alpha=alpha,
    )
