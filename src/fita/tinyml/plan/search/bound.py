"""Lower bounds of what sharing out a range of operators costs, without cutting it.

Walks back from the last operator with the least that one share has to compute of each tensor. Operators about
which nothing simple can be said ask for nothing of what lies before them, which is always right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fita.tinyml.graph import Graph
from fita.tinyml.operator import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    Lookup,
    MaxPool2D,
    Mean,
    OperatorBase,
    OperatorClass,
    Quantize,
    Softmax,
    TwoInputs,
    Window,
)
from fita.tinyml.split.box import row_axis
from fita.tinyml.split.stage import Stage, StageKind
from fita.tinyml.tensor import Tensor

_HEIGHT = 1
_SLIDING = (Conv2D, DepthwiseConv2D, AveragePool2D, MaxPool2D)
_ELEMENTWISE = (TwoInputs, Lookup, Quantize, Dequantize)


@dataclass(frozen=True, slots=True)
class ShareBound:
    """The least that the smallest share does, holds, and that all shares together receive."""

    units: Mapping[OperatorClass, int]
    operators: int
    weight_bytes: int
    input_bytes: int


def share_bound(graph: Graph, stage: Stage) -> ShareBound:
    """For even shares of rows or output channels."""
    kind, count, length = stage.kind, len(stage.shares), stage.shares[-1].stop
    operators = graph.operators[stage.first : stage.last]
    fractions: dict[Tensor, float] = {operators[-1].output: (length // count) / length}
    units: dict[OperatorClass, float] = {}
    weights, counted = 0.0, 0
    for operator in reversed(operators):
        fraction = fractions.get(operator.output, 0.0)
        if not fraction:
            continue
        counted += 1
        name = operator.operator_class
        units[name] = units.get(name, 0.0) + fraction * operator.macs
        weights += operator.weight_bytes * (1.0 if kind is StageKind.ROWS else fraction)
        for tensor in operator.activation_inputs:
            need = _rows(operator, tensor, fraction) if kind is StageKind.ROWS else _channels(operator, fraction)
            fractions[tensor] = max(fractions.get(tensor, 0.0), need)
    computed = {operator.output for operator in operators}
    received = sum(
        int(tensor.size_bytes * max(1.0, count * fraction))
        for tensor, fraction in fractions.items()
        if tensor not in computed and fraction
    )
    whole_units = {name: int(value) for name, value in units.items()}
    return ShareBound(whole_units, counted, int(weights), received)


def _rows(operator: OperatorBase, tensor: Tensor, fraction: float) -> float:
    """The least fraction of an operand's rows behind a fraction of the output's."""
    if isinstance(operator, _SLIDING):
        if operator.output.shape[_HEIGHT] == 1:
            return 1.0 if tensor.shape[_HEIGHT] == operator.window.height else 0.0
        return _slid(operator.window, fraction * operator.output.shape[_HEIGHT], tensor.shape[_HEIGHT])
    if isinstance(operator, (*_ELEMENTWISE, Softmax)):
        return fraction if tensor.shape == operator.output.shape else 0.0
    if isinstance(operator, FullyConnected) and operator.rows == 1:
        return 1.0
    if isinstance(operator, Mean) and row_axis(tensor.shape) in operator.axes:
        return 1.0
    return 0.0


def _slid(window: Window, rows: float, height: int) -> float:
    """Fraction of the input's rows; a share at an edge, with padding on that side, reads fewest."""
    extent = (window.height - 1) * window.dilation_height + 1
    reach = (rows - 1) * window.stride_height + extent - max(window.pad_top, window.pad_bottom)
    return min(1.0, max(0.0, reach) / height)


def _channels(operator: OperatorBase, fraction: float) -> float:
    """The least fraction of an operand's channels behind a fraction of the output's."""
    if isinstance(operator, Conv2D | FullyConnected | Softmax):
        return 1.0
    if isinstance(operator, _SLIDING):
        return fraction
    if isinstance(operator, _ELEMENTWISE):
        shapes = {tensor.shape for tensor in operator.activation_inputs}
        return fraction if shapes == {operator.output.shape} else 0.0
    if isinstance(operator, Mean):
        return 1.0 if len(operator.input.shape) - 1 in operator.axes else fraction
    return 0.0
