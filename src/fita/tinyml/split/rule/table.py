"""Which rule cuts an operator."""

from __future__ import annotations

from typing import Any

from fita.tinyml.operator import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    Lookup,
    MaxPool2D,
    Mean,
    Mul,
    OperatorBase,
    Pad,
    Quantize,
    Reshape,
    Softmax,
    StridedSlice,
    Sub,
    Transpose,
)
from fita.tinyml.segment import Accumulate
from fita.tinyml.split.rule import dense, element, move, reshape, sharded, window
from fita.tinyml.split.rule.base import Rule

_RULES: dict[type[OperatorBase], Rule[Any]] = {
    Accumulate: element.AccumulateRule(),
    Add: element.AddRule(),
    AveragePool2D: window.AveragePoolRule(),
    Concatenation: move.ConcatenationRule(),
    Conv2D: window.ConvolutionRule(),
    DepthwiseConv2D: window.DepthwiseRule(),
    Dequantize: element.DequantizeRule(),
    FullyConnected: dense.DenseRule(),
    Lookup: element.LookupRule(),
    MaxPool2D: window.MaxPoolRule(),
    Mean: element.MeanRule(),
    Mul: element.MulRule(),
    Pad: move.PadRule(),
    Quantize: element.QuantizeRule(),
    Reshape: reshape.ReshapeRule(),
    Softmax: element.SoftmaxRule(),
    StridedSlice: move.StridedSliceRule(),
    Sub: element.SubRule(),
    Transpose: move.TransposeRule(),
    sharded.ShardedSum: sharded.ShardedSumRule(),
}


def rule_of(operator: OperatorBase) -> Rule[Any]:
    """The rule for an operator of a graph, or for one of the two steps of a sum over input channels."""
    return _RULES[type(operator)]
