"""Records of the operators that go element by element. Source of the arithmetic: docs/reference/exactness.md."""

from __future__ import annotations

import numpy as np

from fita.tinyml.kernel.element import run_dequantize, run_quantize
from fita.tinyml.operator import (
    Add,
    Dequantize,
    Lookup,
    Mean,
    Mul,
    Quantize,
    Softmax,
    Sub,
)
from fita.tinyml.pack.constant import BIAS
from fita.tinyml.pack.layout import Kernel
from fita.tinyml.pack.loop import broadcast_strides, dense_strides, joined, loop_words
from fita.tinyml.pack.site import PackSite
from fita.tinyml.quantization import INT32_MAX, Rescale
from fita.tinyml.tensor import Array

_ADD, _SUB, _MUL = 0, 1, 2
_SUM_SHIFT = 20
_NO_RESCALE = Rescale(multiplier=0, shift=0)
_48_OVER_17 = 1515870810
_MINUS_32_OVER_17 = -1010580540
_INFINITY_BITS = 0x7F800000
_PRODUCT_WORDS = (0, 0)
"""Room for the two factors of a product."""


def pack_elementwise(site: PackSite, operator: Add | Sub | Mul) -> None:
    """ADD, SUB and MUL with operands repeated as their shapes ask for."""
    shape = operator.output.shape
    operands = (operator.lhs, operator.rhs)
    loops = joined(shape, *(broadcast_strides(tensor.shape, shape) for tensor in operands))
    inner = loops.pop() if loops else None
    run = (inner.count, *inner.strides) if inner else (1, 1, 1)
    mode, rescales = _MUL, (_NO_RESCALE, _NO_RESCALE)
    if isinstance(operator, Add):
        mode, rescales = _SUB if isinstance(operator, Sub) else _ADD, (operator.lhs_rescale, operator.rhs_rescale)
    site.emit(
        Kernel.ELEMENTWISE,
        mode,
        *site.operand(operator.lhs),
        *site.operand(operator.rhs),
        site.activation(operator.output),
        *run,
        *(BIAS + tensor.zero_point for tensor in operands),
        *(word for factor in (*rescales, operator.output_rescale) for word in (factor.multiplier, factor.shift)),
        operator.output.zero_point,
        operator.clamp.minimum,
        operator.clamp.maximum,
        *loop_words(loops, 2),
    )


def pack_lookup(site: PackSite, operator: Lookup) -> None:
    table = site.pool.add(operator.table.astype(np.int8))
    _emit_map(site, Kernel.LOOKUP, operator, table)


def pack_dequantize(site: PackSite, operator: Dequantize) -> None:
    """The float32 of each of the 256 inputs: a table, so that a device needs no floats."""
    table = run_dequantize(operator, np.arange(-128, 128).astype(np.int8))
    _emit_map(site, Kernel.DEQUANTIZE, operator, site.pool.add(table))


def pack_quantize(site: PackSite, operator: Quantize) -> None:
    """The least float32 of each answer but the lowest: a device searches it by comparing bits."""
    table = site.pool.add(_thresholds(operator))
    _emit_map(site, Kernel.QUANTIZE, operator, table, operator.output.zero_point, INT32_MAX, _INFINITY_BITS)


def _emit_map(
    site: PackSite, kernel: Kernel, operator: Lookup | Dequantize | Quantize, table: int, *more: int
) -> None:
    source, output = site.activation(operator.input), site.activation(operator.output)
    site.emit(kernel, source, output, table, operator.output.elements, *more)


def _thresholds(operator: Quantize) -> Array:
    """For answers -127..127 the least input that reaches it, in the order of the bits as signed numbers.

    Negative floats are turned around by an exclusive or, so that larger floats are larger numbers. The answer
    grows with the input; 33 halvings find where it steps.
    """
    answers = np.arange(-127, 128)
    low = np.full(len(answers), _ordered(-np.inf), dtype=np.int64)
    high = np.full(len(answers), _ordered(np.inf) + 1, dtype=np.int64)
    while (high > low).any():
        middle = (low + high) >> 1
        reached = run_quantize(operator, _float_of(np.minimum(middle, _ordered(np.inf)))) >= answers
        reached |= middle > _ordered(np.inf)
        high = np.where(reached, middle, high)
        low = np.where(reached, low, np.minimum(middle + 1, high))
    return high.astype(np.int32)


def _ordered(value: float) -> int:
    bits = int(np.float32(value).view(np.int32))
    return bits if bits >= 0 else bits ^ INT32_MAX


def _float_of(ordered: Array) -> Array:
    bits = np.where(ordered >= 0, ordered, ordered ^ INT32_MAX)
    return bits.astype(np.int32).view(np.float32)


def pack_softmax(site: PackSite, operator: Softmax) -> None:
    site.emit(
        Kernel.SOFTMAX,
        site.activation(operator.input),
        site.activation(operator.output),
        site.pool.add(operator.exponentials.astype(np.int32)),
        operator.input.elements // operator.depth,
        operator.depth,
        _48_OVER_17,
        _MINUS_32_OVER_17,
        INT32_MAX,
        *_PRODUCT_WORDS,
    )


def pack_mean(site: PackSite, operator: Mean) -> None:
    """The outer loops walk what stays, the inner two what is summed."""
    shape = operator.input.shape
    strides = dense_strides(shape)
    summed = [axis for axis in range(len(shape)) if axis in operator.axes]
    kept = [axis for axis in range(len(shape)) if axis not in operator.axes]
    inner = joined([shape[axis] for axis in summed], [strides[axis] for axis in summed])
    outer = joined([shape[axis] for axis in kept], [strides[axis] for axis in kept])
    steps = [(loop.count, loop.strides[0]) for loop in reversed(inner)]
    steps += [(1, 0)] * (2 - len(steps))
    count = steps[0][0] * steps[1][0]
    site.emit(
        Kernel.MEAN,
        site.activation(operator.input),
        site.activation(operator.output),
        *steps[0],
        *steps[1],
        count * (BIAS + operator.input.zero_point),
        operator.rescale.multiplier,
        operator.rescale.shift,
        operator.output.zero_point,
        *loop_words(outer, 1),
    )
