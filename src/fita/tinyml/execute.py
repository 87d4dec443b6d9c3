"""The reference executor: runs a graph, or any part of it, in NumPy and gives TFLite Micro's bytes.

Slow and simple on purpose: packed segments and device kernels are held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fita.tinyml.errors import InputError
from fita.tinyml.graph import Graph, Operator, OperatorBase, Tensor
from fita.tinyml.kernel import element, window
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
    Pad,
    Quantize,
    Reshape,
    Softmax,
    StridedSlice,
    Sub,
    Transpose,
)
from fita.tinyml.tensor import Array

_KERNELS: dict[type[OperatorBase], Callable[..., Array]] = {
    Add: element.run_add,
    AveragePool2D: window.run_average_pool_2d,
    Concatenation: element.run_concatenation,
    Conv2D: window.run_conv_2d,
    DepthwiseConv2D: window.run_depthwise_conv_2d,
    Dequantize: element.run_dequantize,
    FullyConnected: window.run_fully_connected,
    Lookup: element.run_lookup,
    MaxPool2D: window.run_max_pool_2d,
    Mean: element.run_mean,
    Mul: element.run_mul,
    Pad: element.run_pad,
    Quantize: element.run_quantize,
    Reshape: element.run_reshape,
    Softmax: element.run_softmax,
    StridedSlice: element.run_strided_slice,
    Sub: element.run_add,
    Transpose: element.run_transpose,
}


def run_graph(graph: Graph, inputs: Sequence[Array] | Mapping[str, Array]) -> tuple[Array, ...]:
    """The outputs, in the graph's order, for inputs in the graph's order or by tensor name.

    Every array has its tensor's exact shape and type; `InputError` otherwise.
    """
    fed = _by_position(graph, inputs)
    for tensor, array in zip(graph.inputs, fed, strict=True):
        check_input(tensor, array)
    values = run_operators(graph.operators, dict(zip(graph.inputs, fed, strict=True)))
    return tuple(values[tensor] for tensor in graph.outputs)


def run_operators(operators: Iterable[Operator], values: Mapping[Tensor, Array]) -> dict[Tensor, Array]:
    """The given values and the output of every operator, run in the order given.

    `values` holds every activation that the operators read and do not compute themselves.
    """
    known = dict(values)
    for operator in operators:
        known[operator.output] = run_operator(operator, [_value(tensor, known) for tensor in operator.inputs])
    return known


def run_operator(operator: Operator, operands: Sequence[Array]) -> Array:
    """One operator's output for the arrays of its `inputs`."""
    return _KERNELS[type(operator)](operator, *operands)


def check_input(tensor: Tensor, array: Array) -> None:
    """Hold an array against the tensor it is meant for; `InputError` when shape or type differ."""
    if array.shape != tensor.shape or array.dtype != tensor.dtype:
        raise InputError(
            f"input {tensor.name!r} is {array.dtype} {list(array.shape)}",
            hint=f"give {tensor.dtype} {list(tensor.shape)}",
        )


def _value(tensor: Tensor, known: Mapping[Tensor, Array]) -> Array:
    if tensor.data is not None:
        return tensor.data
    try:
        return known[tensor]
    except KeyError:
        raise InputError(
            f"tensor {tensor.index} ({tensor.name!r}) has no value", hint="give every live tensor"
        ) from None


def _by_position(graph: Graph, inputs: Sequence[Array] | Mapping[str, Array]) -> list[Any]:
    names = [tensor.name for tensor in graph.inputs]
    if isinstance(inputs, Mapping):
        if set(inputs) != set(names):
            raise InputError(f"inputs {sorted(inputs)}", hint=f"give {sorted(names)}")
        return [inputs[name] for name in names]
    if len(inputs) != len(names):
        raise InputError(f"{len(inputs)} inputs", hint=f"give {len(names)}: {', '.join(names)}")
    return list(inputs)
