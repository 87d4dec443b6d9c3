"""The reference executor of a split model, in NumPy: what devices that run its segments must give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fita.tinyml.execute import check_input, run_operator
from fita.tinyml.kernel.window import conv_2d_sums
from fita.tinyml.operator import Conv2D, Window
from fita.tinyml.quantization import Clamp, Int64Array, Requantization, requantize
from fita.tinyml.segment import OUTSIDE, Accumulate, PartialSum, Segment, SegmentOperator, SplitModel
from fita.tinyml.tensor import Array, Tensor

_NO_REQUANTIZATION = Requantization(
    multipliers=np.zeros(0, np.int32), shifts=np.zeros(0, np.int32), output_zero_point=0, clamp=Clamp()
)


def run_split(split: SplitModel, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """The outputs of the graph, in its order, for inputs in its order.

    `InputError` when an array does not fit its tensor.
    """
    graph = split.graph
    outputs = _delivered(split, OUTSIDE, graph.outputs, run_segments(split, inputs))
    return tuple(outputs[tensor] for tensor in graph.outputs)


def run_segments(split: SplitModel, inputs: Sequence[Array]) -> dict[int, dict[Tensor, Array]]:
    """For every segment, by its number, all its tensors' arrays; under `OUTSIDE` the graph's inputs."""
    graph = split.graph
    for tensor, array in zip(graph.inputs, inputs, strict=True):
        check_input(tensor, array)
    held = {OUTSIDE: dict(zip(graph.inputs, inputs, strict=True))}
    for segment in split.segments:
        held[segment.index] = run_segment(segment, _delivered(split, segment.index, segment.inputs, held))
    return held


def run_segment(segment: Segment, values: Mapping[Tensor, Array]) -> dict[Tensor, Array]:
    """The given inputs and the output of every operator of a segment."""
    known = dict(values)
    for operator in segment.operators:
        operands = [tensor.data if tensor.data is not None else known[tensor] for tensor in operator.inputs]
        known[operator.output] = run_segment_operator(operator, operands)
    return known


def run_segment_operator(operator: SegmentOperator, operands: Sequence[Array]) -> Array:
    """One operator's output for the arrays of its `inputs`."""
    match operator:
        case PartialSum():
            return _partial_sum(operator, operands[0]).astype(np.int32).reshape(operator.output.shape)
        case Accumulate():
            total = np.sum([partial.astype(np.int64) for partial in operands], axis=0)
            return requantize(total.astype(np.int32), operator.requantization)
        case _:
            return run_operator(operator, operands)


def _partial_sum(operator: PartialSum, data: Array) -> Int64Array:
    if operator.window is not None:
        return conv_2d_sums(_convolution(operator, operator.window), data)
    rows = data.reshape(-1, operator.weights.shape[1]).astype(np.int64) - operator.input.zero_point
    sums: Int64Array = rows @ operator.weights.values.astype(np.int64).T
    return sums if operator.bias is None else sums + operator.bias.values.reshape(-1)


def _convolution(operator: PartialSum, window: Window) -> Conv2D:
    """The convolution whose accumulators the sum is."""
    return Conv2D(
        index=operator.index,
        input=operator.input,
        output=operator.output,
        weights=operator.weights,
        bias=operator.bias,
        window=window,
        requantization=_NO_REQUANTIZATION,
    )


def _delivered(
    split: SplitModel, place: int, tensors: Sequence[Tensor], held: Mapping[int, Mapping[Tensor, Array]]
) -> dict[Tensor, Array]:
    """The tensors that the transfers to a place fill."""
    arrays = {tensor: tensor.empty() for tensor in tensors}
    for transfer in split.arrivals[place]:
        source = held[transfer.producer][transfer.source]
        arrays[transfer.destination][transfer.destination_box.slices] = source[transfer.source_box.slices]
    return arrays
