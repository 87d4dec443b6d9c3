"""Fixed-point arithmetic of TFLite Micro's int8 kernels, exact to the bit, on NumPy arrays.

Source: gemmlowp's fixedpoint.h and TensorFlow Lite's kernels/internal (common.cc, quantization_util.cc), in the
double-rounding form that TFLite Micro is built with. Products are formed in 64 bits; a left shift that leaves
int32 wraps, as it does in the compiled kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer[Any]]

INT32_MAX = 2**31 - 1
SHIFT_MIN = -31
SHIFT_MAX = 30
"""Shifts that a kernel can apply to 32 bits; `quantize_multiplier` flushes smaller factors to zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamp:
    """The int8 range that outputs are held in: the type's own, narrowed by a fused activation."""

    minimum: int = -128
    maximum: int = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """The real factor multiplier / 2^31 * 2^shift: a Q31 `multiplier`, a `shift` positive to the left."""

    multiplier: int
    shift: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Requantization:
    """int32 accumulators to int8, one `multipliers` and `shifts` element per output channel (always expanded).

    output = clamp(multiply_by_quantized_multiplier(accumulator, multiplier, shift) + output_zero_point)
    """

    multipliers: Int32Array
    shifts: Int32Array
    output_zero_point: int
    clamp: Clamp


def quantize_multiplier(factor: float) -> Rescale:
    """The Q31 multiplier and shift nearest to a real factor; `OverflowError` when the shift exceeds 30 bits."""
    if not math.isfinite(factor):
        raise OverflowError(f"the factor {factor} is not finite")
    fraction, shift = math.frexp(factor)
    multiplier = _round_half_away(fraction * 2.0**31)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    if shift < SHIFT_MIN:
        return Rescale(multiplier=0, shift=0)
    if shift > SHIFT_MAX:
        raise OverflowError(f"the factor {factor} needs a shift of {shift} bits, at most {SHIFT_MAX}")
    return Rescale(multiplier=multiplier, shift=shift)


def quantize_multipliers(factors: npt.NDArray[np.float64]) -> tuple[Int32Array, Int32Array]:
    """`quantize_multiplier` for positive factors, element by element: multipliers and shifts."""
    if not np.isfinite(factors).all():
        raise OverflowError("a factor is not finite")
    fractions, shifts = np.frexp(factors)
    multipliers = np.floor(fractions * 2.0**31 + 0.5).astype(np.int64)
    carried = multipliers == 2**31
    multipliers = np.where(carried, 2**30, multipliers)
    shifts = shifts + carried
    if shifts.max(initial=0) > SHIFT_MAX:
        raise OverflowError(f"a factor needs a shift of {shifts.max()} bits, at most {SHIFT_MAX}")
    vanishing = shifts < SHIFT_MIN
    return (
        np.where(vanishing, 0, multipliers).astype(np.int32),
        np.where(vanishing, 0, shifts).astype(np.int32),
    )


def _round_half_away(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def wrap_int32(values: IntArray) -> Int64Array:
    """The int32 that two's complement leaves of each value, held in 64 bits for further products."""
    return values.astype(np.int32).astype(np.int64)


def saturating_rounding_doubling_high_mul(a: IntArray, b: IntArray | int) -> Int64Array:
    """gemmlowp's product of two int32 fractions: (a * b + 2^30) >> 31, and INT32_MAX for -1 times -1."""
    product: Int64Array = np.asarray(a, dtype=np.int64) * np.asarray(b, dtype=np.int64)
    return np.asarray(np.minimum((product + 2**30) >> 31, INT32_MAX))


def rounding_divide_by_pot(values: IntArray, exponent: IntArray | int) -> Int64Array:
    """values / 2^exponent, rounded half away from zero; exponents 0..31."""
    wide = np.asarray(values, dtype=np.int64)
    mask = (np.int64(1) << np.asarray(exponent, dtype=np.int64)) - 1
    threshold = (mask >> 1) + (wide < 0)
    return (wide >> exponent) + ((wide & mask) > threshold)


def multiply_by_quantized_multiplier(
    values: IntArray, multiplier: IntArray | int, shift: IntArray | int
) -> Int64Array:
    """int32 values times multiplier / 2^31 * 2^shift; multiplier and shift broadcast against the values."""
    left = np.maximum(shift, 0)
    right = np.maximum(np.negative(shift), 0)
    shifted = wrap_int32(np.asarray(values, dtype=np.int64) << left)
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(shifted, multiplier), right)


def rescale(values: IntArray, factor: Rescale) -> Int64Array:
    """`multiply_by_quantized_multiplier` by one factor."""
    return multiply_by_quantized_multiplier(values, factor.multiplier, factor.shift)


def clamp(values: IntArray, limits: Clamp) -> Int8Array:
    """Values held within the limits, as int8."""
    return np.clip(values, limits.minimum, limits.maximum).astype(np.int8)


def requantize(accumulators: IntArray, requantization: Requantization) -> Int8Array:
    """int32 accumulators whose last axis is the output channel, to int8."""
    scaled = multiply_by_quantized_multiplier(accumulators, requantization.multipliers, requantization.shifts)
    return clamp(scaled + requantization.output_zero_point, requantization.clamp)
