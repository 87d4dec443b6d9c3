"""The Reader: .tflite bytes to the typed graph, or an error that says which operator, where and what would help.

Accepts what TFLite Micro runs in int8 of the operators below, and nothing that its kernels would compute
differently from what the file says, abort on, or overflow. Refuses everything else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from fita.tinyml.decode import elementwise, flatbuffer, move, weighted
from fita.tinyml.decode.model_file import FileModel
from fita.tinyml.decode.operator_source import OperatorSource, TensorTable
from fita.tinyml.errors import ModelFormatError, UnsupportedModelError
from fita.tinyml.graph import Graph, Operator
from fita.tinyml.tensor import Tensor

_DECODERS: dict[str, Callable[[OperatorSource], Operator]] = {
    "ADD": elementwise.decode_add,
    "AVERAGE_POOL_2D": weighted.decode_average_pool_2d,
    "CONCATENATION": move.decode_concatenation,
    "CONV_2D": weighted.decode_conv_2d,
    "DEPTHWISE_CONV_2D": weighted.decode_depthwise_conv_2d,
    "DEQUANTIZE": elementwise.decode_dequantize,
    "FULLY_CONNECTED": weighted.decode_fully_connected,
    "LEAKY_RELU": elementwise.decode_leaky_relu,
    "LOGISTIC": elementwise.decode_logistic,
    "MAX_POOL_2D": weighted.decode_max_pool_2d,
    "MEAN": elementwise.decode_mean,
    "MUL": elementwise.decode_mul,
    "PAD": move.decode_pad,
    "QUANTIZE": elementwise.decode_quantize,
    "RELU": elementwise.decode_relu,
    "RELU6": elementwise.decode_relu6,
    "RESHAPE": move.decode_reshape,
    "SOFTMAX": elementwise.decode_softmax,
    "STRIDED_SLICE": move.decode_strided_slice,
    "SUB": elementwise.decode_sub,
    "TANH": elementwise.decode_tanh,
    "TRANSPOSE": move.decode_transpose,
}
SUPPORTED_OPERATORS = tuple(_DECODERS)
"""Schema names of the operators that FITA runs."""


def read_model(data: bytes, name: str = "model") -> Graph:
    """The graph of a .tflite file.

    `ModelFormatError` when the bytes are no sound model, `UnsupportedModelError` when they ask for more than FITA
    runs. Time and memory are bounded by the file's size. Constants share `data`'s memory.
    """
    return graph_of(flatbuffer.read(data), name=name, digest=hashlib.sha256(data).hexdigest())


def graph_of(model: FileModel, *, name: str, digest: str) -> Graph:
    """The graph of a file's records."""
    table = TensorTable(model.tensors)
    inputs = _endpoints(table, model.inputs, "input")
    with np.errstate(over="ignore", invalid="ignore"):  # decoders refuse what overflows
        operators = _operators(model, table, inputs)
    outputs = _endpoints(table, model.outputs, "output")
    computed = {*inputs, *(operator.output for operator in operators)}
    for tensor in outputs:
        if tensor not in computed:
            raise ModelFormatError(f"the graph's output {tensor.index} ({tensor.name!r}) is never computed")
    return Graph(name=name, digest=digest, inputs=inputs, outputs=outputs, operators=operators)


def _endpoints(table: TensorTable, numbers: Sequence[int], what: str) -> tuple[Tensor, ...]:
    tensors = tuple(table.tensor(number) for number in numbers)
    if not tensors or len(set(tensors)) != len(tensors):
        raise ModelFormatError(f"the graph has no {what}, or one twice")
    for tensor in tensors:
        place = f"{what} {tensor.index} ({tensor.name!r})"
        if tensor.is_constant:
            raise ModelFormatError(f"{place}: it is constant")
        if tensor.dtype not in ("int8", "float32"):
            raise UnsupportedModelError(
                f"its type is {tensor.dtype}", place=place, hint="convert with int8 input and output"
            )
    return tensors


def _operators(model: FileModel, table: TensorTable, inputs: tuple[Tensor, ...]) -> tuple[Operator, ...]:
    known = set(inputs)
    operators = []
    for index, record in enumerate(model.operators):
        source = OperatorSource(index, record, table)
        decode = _DECODERS.get(record.name)
        if decode is None:
            source.refuse(
                "FITA does not run this operator", f"build the model from {', '.join(SUPPORTED_OPERATORS)}"
            )
        operator = decode(source)
        for tensor in operator.activation_inputs:
            if tensor not in known:
                source.contradict(f"it reads tensor {tensor.index} ({tensor.name!r}) before that is computed")
        if operator.output in known:
            source.contradict(f"it computes tensor {operator.output.index} ({operator.output.name!r}) again")
        known.add(operator.output)
        operators.append(operator)
    if not operators:
        raise ModelFormatError("the graph has no operators")
    return tuple(operators)
