"""Random int8 models over every operator that FITA runs, for tests, fuzzing and benchmarks.

Every model is one that TFLite Micro runs. Scales are drawn so that values fill the int8 range instead of
saturating, with exceptions often enough to meet the limits as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from fita.tinyml.decode import flatbuffer
from fita.tinyml.decode.model_file import FileModel
from fita.tinyml.draw import elementwise, move, weighted
from fita.tinyml.draw.drawing import Drawing
from fita.tinyml.draw.model_builder import ModelBuilder, Value
from fita.tinyml.graph import Graph
from fita.tinyml.tensor import Array

_ATTEMPTS_PER_OPERATOR = 20
_LATEST_SHARE = 0.75
_FLOAT_SHARE = 0.05
_SECOND_INPUT_SHARE = 0.1

_WEIGHTS: dict[str, tuple[float, Callable[[Drawing, Value], Value | None]]] = {
    "CONV_2D": (4.0, weighted.conv_2d),
    "DEPTHWISE_CONV_2D": (3.0, weighted.depthwise_conv_2d),
    "FULLY_CONNECTED": (1.0, weighted.fully_connected),
    "AVERAGE_POOL_2D": (1.0, weighted.average_pool_2d),
    "MAX_POOL_2D": (1.0, weighted.max_pool_2d),
    "ADD": (2.0, elementwise.add),
    "SUB": (1.0, elementwise.sub),
    "MUL": (1.0, elementwise.mul),
    "CONCATENATION": (1.0, move.concatenation),
    "PAD": (1.0, move.pad),
    "RESHAPE": (0.7, move.reshape),
    "TRANSPOSE": (0.5, move.transpose),
    "STRIDED_SLICE": (0.7, move.strided_slice),
    "MEAN": (0.5, elementwise.mean),
    "SOFTMAX": (0.3, elementwise.softmax),
    "LOGISTIC": (0.5, elementwise.logistic),
    "TANH": (0.5, elementwise.tanh),
    "RELU": (0.5, elementwise.relu),
    "RELU6": (0.5, elementwise.relu6),
    "LEAKY_RELU": (0.5, elementwise.leaky_relu),
    "QUANTIZE": (0.5, elementwise.quantize),
}
OPERATORS = tuple(_WEIGHTS)
"""What `kinds` may name. Now and then a QUANTIZE from and a DEQUANTIZE to float32 come on top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """How large a random model becomes: operators, height and width, channels, elements of any one tensor."""

    operators: int = 8
    side: int = 10
    channels: int = 8
    elements: int = 4096


def random_model(seed: int, size: ModelSize | None = None, kinds: Collection[str] | None = None) -> bytes:
    """A .tflite file. The same arguments give the same bytes. `kinds` restricts the operators drawn."""
    return flatbuffer.write(random_file_model(seed, size, kinds))


def random_file_model(seed: int, size: ModelSize | None = None, kinds: Collection[str] | None = None) -> FileModel:
    """The records of `random_model`, for those who want to damage them."""
    size = size or ModelSize()
    random = np.random.default_rng(seed)
    builder = ModelBuilder()
    drawing = Drawing(builder, random, size.channels, size.elements)
    values = [_input(drawing, size)]
    if random.random() < _SECOND_INPUT_SHARE:
        values.append(_input(drawing, size))
    names = [name for name in _WEIGHTS if kinds is None or name in kinds]
    shares = np.asarray([_WEIGHTS[name][0] for name in names])
    shares /= shares.sum()
    for _ in range(size.operators):
        _append_operator(drawing, values, names, shares)
    unread = [value for value in values if value.number not in drawing.read]
    outputs = [value for value in unread if value not in values[:2]] or values[-1:]
    return builder.finish([_output(drawing, value) for value in outputs])


def _input(drawing: Drawing, size: ModelSize) -> Value:
    random = drawing.random
    sides = (int(random.integers(1, size.side + 1)), int(random.integers(1, size.side + 1)))
    shape = (1, *sides, int(random.integers(1, size.channels + 1)))
    if random.random() < _FLOAT_SHARE:
        outside = drawing.builder.input(shape, None)
        return drawing.operator("QUANTIZE", [outside.number], shape=shape, quantization=drawing.quantization())
    return drawing.builder.input(shape, drawing.quantization())


def _output(drawing: Drawing, value: Value) -> Value:
    if drawing.random.random() < _FLOAT_SHARE:
        return drawing.operator("DEQUANTIZE", [value.number], shape=value.shape, quantization=None)
    return value


def _append_operator(drawing: Drawing, values: list[Value], names: list[str], shares: Array) -> None:
    """Draw until an operator fits; give up after some attempts, which leaves the model shorter."""
    drawing.values = values
    for _ in range(_ATTEMPTS_PER_OPERATOR):
        latest = drawing.random.random() < _LATEST_SHARE
        value = values[-1] if latest else values[int(drawing.random.integers(len(values)))]
        name = names[int(drawing.random.choice(len(names), p=shares))]
        result = _WEIGHTS[name][1](drawing, value)
        if result is not None:
            values.append(result)
            return


def random_inputs(graph: Graph, seed: int) -> tuple[Array, ...]:
    """One array for each input of a graph, over the whole int8 range or about its float equivalent."""
    random = np.random.default_rng(seed)
    arrays: list[Array] = []
    for tensor in graph.inputs:
        if tensor.dtype == "float32":
            arrays.append(random.normal(0.0, 3.0, tensor.shape).astype(np.float32))
        else:
            arrays.append(random.integers(-128, 128, tensor.shape, dtype=np.int8))
    return tuple(arrays)
