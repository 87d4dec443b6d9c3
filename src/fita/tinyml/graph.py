"""A model as a typed graph: the one shape that Reader, planner, packer and executors share.

Operators stand in the file's order, in which every tensor is computed before it is read (the Reader refuses other
files). Cut k lies before operator k: cut 0 before the first operator, cut len(operators) after the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fita.tinyml.operator import (
    Activation,
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
    Operator,
    OperatorBase,
    OperatorClass,
    Pad,
    Pool,
    Quantize,
    Reshape,
    Softmax,
    StridedSlice,
    Sub,
    Transpose,
    TwoInputs,
    Weighted,
    Window,
)
from fita.tinyml.quantization import Clamp, Requantization, Rescale
from fita.tinyml.tensor import Array, DType, Tensor

__all__ = [
    "Activation", "Add", "Array", "AveragePool2D", "Clamp", "Concatenation", "Conv2D", "DType", "DepthwiseConv2D",
    "Dequantize", "FullyConnected", "Graph", "Lookup", "MaxPool2D", "Mean", "Mul", "Operator", "OperatorBase",
    "OperatorClass", "Pad", "Pool", "Quantize", "Requantization", "Rescale", "Reshape", "Softmax", "StridedSlice",
    "Sub", "Tensor", "Transpose", "TwoInputs", "Weighted", "Window", "live_tensors",
    "peak_activation_bytes",
]  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Graph:
    """A whole model. `digest` is the SHA-256 of the file it was read from, in hexadecimal."""

    name: str
    digest: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[Operator, ...]

    @cached_property
    def producers(self) -> dict[Tensor, int]:
        """Which operator (position in `operators`) computes a tensor; graph inputs and constants are absent."""
        return {operator.output: position for position, operator in enumerate(self.operators)}

    @cached_property
    def consumers(self) -> dict[Tensor, tuple[int, ...]]:
        """Which operators (positions, ascending) read an activation; tensors that nobody reads are absent."""
        readers: dict[Tensor, list[int]] = {}
        for position, operator in enumerate(self.operators):
            for tensor in operator.activation_inputs:
                readers.setdefault(tensor, []).append(position)
        return {tensor: tuple(positions) for tensor, positions in readers.items()}

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolutions and dense layers."""
        return sum(operator.macs for operator in self.operators if isinstance(operator, Weighted))

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants as packed."""
        return sum(operator.weight_bytes for operator in self.operators)


def live_tensors(graph: Graph) -> tuple[tuple[Tensor, ...], ...]:
    """For each cut 0..len(operators): the activations that exist before it and are needed behind it.

    Graph inputs exist from the start, graph outputs are needed to the end. Ordered by tensor index.
    """
    end = len(graph.operators)
    born = dict.fromkeys(graph.inputs, 0)
    born |= {operator.output: position + 1 for position, operator in enumerate(graph.operators)}
    last = {tensor: positions[-1] for tensor, positions in graph.consumers.items()}
    last |= {tensor: end for tensor in graph.outputs if not tensor.is_constant}
    alive = sorted(((tensor, start, last.get(tensor, -1)) for tensor, start in born.items()), key=_by_index)
    return tuple(tuple(tensor for tensor, start, stop in alive if start <= cut <= stop) for cut in range(end + 1))


def _by_index(item: tuple[Tensor, int, int]) -> int:
    return item[0].index


def peak_activation_bytes(graph: Graph) -> int:
    """The largest sum of activations alive while one operator runs, its inputs and output included."""
    cuts = live_tensors(graph)
    return max(
        (_bytes({*cuts[position], operator.output}) for position, operator in enumerate(graph.operators)),
        default=0,
    )


def _bytes(tensors: set[Tensor]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)
