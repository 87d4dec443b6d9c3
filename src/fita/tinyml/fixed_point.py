"""gemmlowp's transcendental functions on 32-bit fixed point: exp, reciprocal, logistic, tanh.

Numbers are raw integers in int64 arrays; "Qm" below means m integer bits and 31 - m fraction bits. The functions
compute TFLite Micro's SOFTMAX, LOGISTIC and TANH to the bit. Source: gemmlowp's fixedpoint/fixedpoint.h.
"""

from __future__ import annotations

import numpy as np

from fita.tinyml.quantization import (
    INT32_MAX,
    Int64Array,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

_EXP_MINUS_EIGHTH = 1895147668  # exp(-1/8) in Q0
_ONE_THIRD = 715827883  # 1/3 in Q0
_EXP_STEPS = (  # (n, exp(-2^n) in Q0)
    (-2, 1672461947), (-1, 1302514674), (0, 790015084), (1, 290630308), (2, 39332535), (3, 720401), (4, 242),
)  # fmt: skip
_48_OVER_17 = 1515870810  # in Q2
_MINUS_32_OVER_17 = -1010580540  # in Q2
_ONE_Q2 = 1 << 29
_NEWTON_STEPS = 3

_product = saturating_rounding_doubling_high_mul


def _shift_left_saturating(values: Int64Array, bits: int) -> Int64Array:
    return np.asarray(np.clip(values << bits, -INT32_MAX - 1, INT32_MAX))


def _exp_of_last_quarter(values: Int64Array) -> Int64Array:
    """exp on [-1/4, 0) in Q0: a fourth-order Taylor series around -1/8."""
    x = values + (1 << 28)
    square = _product(x, x)
    cube = _product(square, x)
    fourth = rounding_divide_by_pot(_product(square, square), 2)
    tail = rounding_divide_by_pot(_product(fourth + cube, _ONE_THIRD) + square, 1)
    return _EXP_MINUS_EIGHTH + _product(x + tail, _EXP_MINUS_EIGHTH)


def exp_on_negative_values(values: Int64Array, integer_bits: int) -> Int64Array:
    """exp of values <= 0 in Q`integer_bits` (at most 5), in Q0."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    remainder_of_quarter = (values & (quarter - 1)) - quarter
    result = _exp_of_last_quarter(_shift_left_saturating(remainder_of_quarter, integer_bits))
    remainder = remainder_of_quarter - values
    for power, factor in _EXP_STEPS:
        if power < integer_bits:
            result = np.where(remainder & (1 << (fraction_bits + power)), _product(result, factor), result)
    return np.where(values == 0, INT32_MAX, result)


def _newton(values: Int64Array) -> Int64Array:
    """2 / (1 + x) in Q2 for x in [0, 1] in Q0, by Newton's iteration."""
    half_denominator = (values + INT32_MAX + 1) >> 1
    x = _48_OVER_17 + _product(half_denominator, _MINUS_32_OVER_17)
    for _ in range(_NEWTON_STEPS):
        error = _ONE_Q2 - _product(half_denominator, x)
        x = x + _shift_left_saturating(_product(x, error), 2)
    return x


def one_over_one_plus_x(values: Int64Array) -> Int64Array:
    """1 / (1 + x) for x in [0, 1], both in Q0."""
    return _shift_left_saturating(_newton(values), 1)


def logistic(values: Int64Array, integer_bits: int) -> Int64Array:
    """1 / (1 + exp(-x)) in Q0 for x in Q`integer_bits`."""
    positive = one_over_one_plus_x(exp_on_negative_values(-np.abs(values), integer_bits))
    return np.where(values == 0, 1 << 30, np.where(values > 0, positive, INT32_MAX - positive))


def tanh(values: Int64Array, integer_bits: int) -> Int64Array:
    """tanh in Q0 for x in Q`integer_bits` (at most 4)."""
    # Doubling the argument is reading it with one integer bit more.
    exponential = exp_on_negative_values(-np.abs(values), integer_bits + 1)
    magnitude = _shift_left_saturating(_newton(exponential) - _ONE_Q2, 2)
    return np.where(values == 0, 0, np.where(values > 0, magnitude, -magnitude))


def reciprocal(value: int, integer_bits: int) -> tuple[int, int]:
    """1 / value for a positive Q`integer_bits` value: a Q0 fraction and the bits by which the value exceeds 1."""
    leading_zeros = 32 - value.bit_length()
    fraction = ((value << leading_zeros) & 0xFFFFFFFF) - 2**31
    return int(one_over_one_plus_x(np.asarray(fraction, dtype=np.int64))), integer_bits - leading_zeros
