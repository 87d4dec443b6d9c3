"""Lower bounds of what sharing out a range of operators costs, without cutting it.

Walks back from the last operator with what each share has to compute of each tensor, which for row slabs of
convolutions is already exact. Operators about which nothing simple can be said ask for nothing of what lies before
them, which is always right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
)
from fita.tinyml.split.box import row_axis
from fita.tinyml.split.stage import Stage, StageKind
from fita.tinyml.tensor import Tensor

_HEIGHT = 1
_SLIDING = (Conv2D, DepthwiseConv2D, AveragePool2D, MaxPool2D)
_ELEMENTWISE = (TwoInputs, Lookup, Quantize, Dequantize)


@dataclass(frozen=True, slots=True)
class ShareBound:
    """The least that one share does, holds and receives."""

    units: Mapping[OperatorClass, int]
    operators: int
    weight_bytes: int
    input_bytes: int


def share_bounds(graph: Graph, stage: Stage) -> tuple[ShareBound, ...]:
    """For each share of rows or output channels of the last operator's output."""
    operators = graph.operators[stage.first : stage.last]
    if stage.kind is StageKind.ROWS:
        if row_axis(operators[-1].output.shape) != _HEIGHT:
            return (ShareBound({}, 0, 0, 0),) * len(stage.shares)
        return tuple(_row_bound(operators, (share.start, share.stop)) for share in stage.shares)
    sizes = [share.stop - share.start for share in stage.shares]
    bounds = {size: _channel_bound(operators, size / stage.shares[-1].stop) for size in sorted(set(sizes))}
    return tuple(bounds[size] for size in sizes)


def _row_bound(operators: Sequence[OperatorBase], rows: tuple[int, int]) -> ShareBound:
    computed = {operator.output for operator in operators}
    regions: dict[Tensor, tuple[int, int]] = {operators[-1].output: rows}
    units: dict[OperatorClass, int] = {}
    received: dict[Tensor, int] = {}
    weights = counted = 0
    for operator in reversed(operators):
        region = regions.get(operator.output)
        if region is None:
            continue
        counted += 1
        height = operator.output.shape[_HEIGHT] if len(operator.output.shape) > _HEIGHT else 1
        for name, amount in operator.work.items():
            units[name] = units.get(name, 0) + amount * (region[1] - region[0]) // max(1, height)
        weights += operator.weight_bytes
        for tensor in operator.activation_inputs:
            need = _rows(operator, tensor, region)
            if need is None:
                continue
            if tensor in computed:
                known = regions.get(tensor, need)
                regions[tensor] = (min(known[0], need[0]), max(known[1], need[1]))
            else:
                size = tensor.size_bytes * (need[1] - need[0]) // tensor.shape[_HEIGHT]
                received[tensor] = max(received.get(tensor, 0), size)
    return ShareBound(units, counted, weights, sum(received.values()))


def _rows(operator: OperatorBase, tensor: Tensor, region: tuple[int, int]) -> tuple[int, int] | None:
    """Which rows of an operand some rows of the output need; None where that is not simply said."""
    if len(tensor.shape) <= _HEIGHT:
        return None
    height = tensor.shape[_HEIGHT]
    if isinstance(operator, _SLIDING):
        return operator.window.input_rows(*region, height)
    if isinstance(operator, (*_ELEMENTWISE, Softmax)):
        return region if tensor.shape == operator.output.shape else None
    whole = isinstance(operator, FullyConnected) and operator.rows == 1
    if whole or (isinstance(operator, Mean) and row_axis(tensor.shape) == _HEIGHT and _HEIGHT in operator.axes):
        return (0, height)
    return None


def _channel_bound(operators: Sequence[OperatorBase], share: float) -> ShareBound:
    fractions: dict[Tensor, float] = {operators[-1].output: share}
    units: dict[OperatorClass, float] = {}
    weights, counted = 0.0, 0
    for operator in reversed(operators):
        fraction = fractions.get(operator.output, 0.0)
        if not fraction:
            continue
        counted += 1
        for name, amount in operator.work.items():
            units[name] = units.get(name, 0.0) + fraction * amount
        weights += operator.weight_bytes * fraction
        for tensor in operator.activation_inputs:
            fractions[tensor] = max(fractions.get(tensor, 0.0), _channels(operator, fraction))
    computed = {operator.output for operator in operators}
    received = sum(t.size_bytes * fraction for t, fraction in fractions.items() if t not in computed)
    whole_units = {name: int(value) for name, value in units.items()}
    return ShareBound(whole_units, counted, int(weights), int(received))


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
