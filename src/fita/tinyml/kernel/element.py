"""NumPy kernels of the operators without weights or windows, exact to TFLite Micro."""

from __future__ import annotations

import numpy as np

from fita.tinyml.fixed_point import reciprocal
from fita.tinyml.operator import (
    Add,
    Concatenation,
    Dequantize,
    Lookup,
    Mean,
    Mul,
    Pad,
    Quantize,
    Reshape,
    Softmax,
    StridedSlice,
    Sub,
    Transpose,
)
from fita.tinyml.quantization import (
    Clamp,
    Int64Array,
    clamp,
    rescale,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from fita.tinyml.tensor import Array, Tensor

_SUM_SHIFT = 20
_EXP_SUM_INTEGER_BITS = 12


def _centered(tensor: Tensor, data: Array) -> Int64Array:
    centered: Int64Array = data.astype(np.int64) - tensor.zero_point
    return centered


def run_add(operator: Add, lhs: Array, rhs: Array) -> Array:
    """ADD, and SUB with the second operand's sign turned."""
    left = rescale(_centered(operator.lhs, lhs) << _SUM_SHIFT, operator.lhs_rescale)
    right = rescale(_centered(operator.rhs, rhs) << _SUM_SHIFT, operator.rhs_rescale)
    total = left - right if isinstance(operator, Sub) else left + right
    return clamp(rescale(total, operator.output_rescale) + operator.output.zero_point, operator.clamp)


def run_mul(operator: Mul, lhs: Array, rhs: Array) -> Array:
    product = _centered(operator.lhs, lhs) * _centered(operator.rhs, rhs)
    return clamp(rescale(product, operator.output_rescale) + operator.output.zero_point, operator.clamp)


def run_lookup(operator: Lookup, data: Array) -> Array:
    return np.asarray(operator.table[data.astype(np.intp) + 128])


def run_softmax(operator: Softmax, data: Array) -> Array:
    rows = data.astype(np.int64).reshape(-1, operator.depth)
    exponentials = operator.exponentials[rows.max(axis=1, keepdims=True) - rows].astype(np.int64)
    sums = rounding_divide_by_pot(exponentials, _EXP_SUM_INTEGER_BITS).sum(axis=1)
    scales = [reciprocal(int(total), _EXP_SUM_INTEGER_BITS) for total in sums]
    fractions = np.asarray([fraction for fraction, _ in scales], dtype=np.int64)[:, None]
    shifts = np.asarray([bits + 31 - 8 for _, bits in scales], dtype=np.int64)[:, None]
    values = rounding_divide_by_pot(saturating_rounding_doubling_high_mul(exponentials, fractions), shifts)
    return clamp(values - 128, Clamp()).reshape(operator.output.shape)


def run_mean(operator: Mean, data: Array) -> Array:
    sums = _centered(operator.input, data).sum(axis=operator.axes)
    mean = rescale(sums, operator.rescale) + operator.output.zero_point
    return clamp(mean, Clamp()).reshape(operator.output.shape)


def run_concatenation(operator: Concatenation, *operands: Array) -> Array:
    return np.concatenate(operands, axis=operator.axis)


def run_pad(operator: Pad, data: Array) -> Array:
    return np.pad(data, operator.paddings, constant_values=operator.fill)


def run_reshape(operator: Reshape, data: Array) -> Array:
    return data.reshape(operator.output.shape)


def run_transpose(operator: Transpose, data: Array) -> Array:
    return np.ascontiguousarray(data.transpose(operator.permutation))


def run_strided_slice(operator: StridedSlice, data: Array) -> Array:
    indices = [
        start + stride * np.arange(count)
        for start, count, stride in zip(operator.starts, operator.counts, operator.strides, strict=True)
    ]
    return np.asarray(data[np.ix_(*indices)].reshape(operator.output.shape))


def run_quantize(operator: Quantize, data: Array) -> Array:
    """Values beyond 32 bits saturate; what TFLite Micro makes of them depends on the processor."""
    with np.errstate(over="ignore"):
        quotients = (data / np.float32(operator.output.scale)).astype(np.float64)
    rounded = np.trunc(quotients + np.copysign(0.5, quotients))
    stored = np.clip(np.nan_to_num(rounded), -(2.0**31), 2.0**31 - 1) + operator.output.zero_point
    return np.asarray(np.clip(stored, -128, 127), dtype=np.int8)


def run_dequantize(operator: Dequantize, data: Array) -> Array:
    return np.asarray(operator.input.scale * _centered(operator.input, data), dtype=np.float32)
