"""How far an operator's output may lie over an operand that nobody reads again.

The contract with every kernel, which makes the overlap safe:

- Windows, dense layers and their partial sums write output rows in ascending order (a row: all columns and
  channels at one height, or one vector). While they compute a row they read only the input rows under its windows,
  and write only that row. Inside a row any order will do.
- ADD, SUB, MUL, the maps over one input, SOFTMAX, STRIDED_SLICE and ACCUMULATE write elements in ascending order
  and read all that an element needs before they write it. SOFTMAX may read a row before it writes any of it.
- Everything else overlaps nothing.
"""

from __future__ import annotations

from fita.tinyml.operator import (
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    Lookup,
    Pool,
    Quantize,
    Softmax,
    StridedSlice,
    TwoInputs,
    Window,
)
from fita.tinyml.segment import Accumulate, PartialSum, SegmentOperator
from fita.tinyml.tensor import TYPE_BYTES, Tensor


def clearance_bytes(operator: SegmentOperator, operand: Tensor) -> int | None:
    """How many bytes above the output's start an operand must start at least, when they overlap.

    None when they may not overlap. Nothing is said about the operand being read again: then it may not either.
    """
    match operator:
        case Conv2D() | DepthwiseConv2D() | Pool() | PartialSum(window=Window()):
            clearance = _window_clearance(operator.window or Window(height=1, width=1), operator.output, operand)
        case FullyConnected() | PartialSum():
            clearance = _dense_clearance(operator.output, operand, operand.elements // operator.weights.shape[1])
        case Lookup() | Softmax() | Quantize() | Dequantize() | Accumulate():
            clearance = _element_clearance(operator.output, operand)
        case TwoInputs() if operand.elements == operator.output.elements:
            clearance = _element_clearance(operator.output, operand)
        case StridedSlice() if all(stride > 0 for stride in operator.strides):
            clearance = 0
        case _:
            return None
    return clearance if clearance < operator.output.size_bytes else None


def _window_clearance(window: Window, output: Tensor, operand: Tensor) -> int:
    written = output.size_bytes // output.shape[1]
    read = operand.size_bytes // operand.shape[1]
    return max(
        (row + 1) * written - max(row * window.stride_height - window.pad_top, 0) * read
        for row in range(output.shape[1])
    )


def _dense_clearance(output: Tensor, operand: Tensor, rows: int) -> int:
    written, read = output.size_bytes // rows, operand.size_bytes // rows
    return max(written, rows * written - (rows - 1) * read)


def _element_clearance(output: Tensor, operand: Tensor) -> int:
    growth = TYPE_BYTES[output.dtype] - TYPE_BYTES[operand.dtype]
    return max(0, (output.elements - 1) * growth)
