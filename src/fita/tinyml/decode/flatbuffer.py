"""The only module that knows the `tflite` package: .tflite bytes to `FileModel` and back.

Reading believes nothing. The package checks no offset, so every error that a wild one causes becomes a
`ModelFormatError` here; every length is held against the file's size before anything of that length is made; and
the total that is copied out of a file is bounded, so that parts which share bytes cannot multiply it.

Source: TensorFlow Lite's schema.fbs, version 3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import flatbuffers
import numpy as np
import tflite

from fita.tinyml.decode.model_file import FileModel, FileOperator, FileTensor, Number
from fita.tinyml.errors import ModelFormatError, UnsupportedModelError

SCHEMA_VERSION = 3
IDENTIFIER = b"TFL3"
MAX_FILE_BYTES = 16 * 2**20
MAX_TENSORS = 10_000
MAX_OPERATORS = 2_000
MAX_RANK = 8
"""More dimensions than any operator takes; what a given operator takes is checked by the Reader."""

_COPIED_MAX_BYTES = 4 * 2**20
"""Names, shapes, scales and numbers of all tensors and operators; a model of 1000 channels has 20 kB of them."""
_COPIED_MIN_BYTES = 4096
_COPIED_FACTOR = 4

_WINDOW = ("Padding", "StrideW", "StrideH", "FusedActivationFunction")
_DILATION = ("DilationWFactor", "DilationHFactor")
_FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "CONV_2D": ("Conv2DOptions", (*_WINDOW, *_DILATION)),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", (*_WINDOW, "DepthMultiplier", *_DILATION)),
    "FULLY_CONNECTED": ("FullyConnectedOptions", ("FusedActivationFunction", "WeightsFormat", "KeepNumDims")),
    "AVERAGE_POOL_2D": ("Pool2DOptions", (*_WINDOW, "FilterWidth", "FilterHeight")),
    "MAX_POOL_2D": ("Pool2DOptions", (*_WINDOW, "FilterWidth", "FilterHeight")),
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "SUB": ("SubOptions", ("FusedActivationFunction",)),
    "MUL": ("MulOptions", ("FusedActivationFunction",)),
    "CONCATENATION": ("ConcatenationOptions", ("Axis", "FusedActivationFunction")),
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
    "LEAKY_RELU": ("LeakyReluOptions", ("Alpha",)),
    "MEAN": ("ReducerOptions", ("KeepDims",)),
    "STRIDED_SLICE": (
        "StridedSliceOptions",
        ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask", "Offset"),
    ),
}
_BUILTIN_CODE_SLOT = 10
_TYPE_NAMES = {code: name.lower() for name, code in vars(tflite.TensorType).items() if isinstance(code, int)}
_TYPE_CODES = {name: code for code, name in _TYPE_NAMES.items()}
_OPERATOR_NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
_OPERATOR_CODES = {name: code for code, name in _OPERATOR_NAMES.items()}
_BEYOND = (struct.error, IndexError)
_DAMAGE = (struct.error, ValueError, IndexError, TypeError, OverflowError, AttributeError)


def read(data: bytes) -> FileModel:
    """The records of a .tflite file, in bounded time and memory; `ModelFormatError` when it is none or damaged."""
    if len(data) > MAX_FILE_BYTES:
        raise UnsupportedModelError(
            f"the model has {len(data)} bytes, at most {MAX_FILE_BYTES} are read", hint="use a smaller model"
        )
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise ModelFormatError("not a TensorFlow Lite model", hint="give a .tflite file")
    try:
        return _Reading(data).model()
    except _DAMAGE as error:
        what = "a part reaches beyond its end" if isinstance(error, _BEYOND) else "it contradicts itself"
        raise ModelFormatError(f"the model file is damaged: {what}", hint="export or copy it again") from error


class _Reading:
    """One pass over a file. Tables come from the schema package; everything else is checked here."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._copies_left_bytes = min(_COPIED_FACTOR * len(data) + _COPIED_MIN_BYTES, _COPIED_MAX_BYTES)
        self._table = tflite.Model.GetRootAs(data, 0)

    def model(self) -> FileModel:
        table = self._table
        if table.Version() != SCHEMA_VERSION:
            raise ModelFormatError(f"schema version {table.Version()}, FITA reads version {SCHEMA_VERSION}")
        if self._count(table.SubgraphsLength(), 1000, "subgraphs") != 1:
            raise UnsupportedModelError(
                f"the model has {table.SubgraphsLength()} subgraphs, FITA runs one",
                hint="export it without control flow and with one signature",
            )
        graph = table.Subgraphs(0)
        names = tuple(self._operator_names())
        buffers = tuple(self._buffers())
        return FileModel(
            tensors=tuple(self._tensors(graph, buffers)),
            operators=tuple(self._operators(graph, names)),
            inputs=self._integers(graph.InputsLength(), graph.InputsAsNumpy),
            outputs=self._integers(graph.OutputsLength(), graph.OutputsAsNumpy),
            description=self._text(table.Description()),
        )

    def _count(self, length: int, limit: int, what: str) -> int:
        """A vector's length, once it is known to be sane."""
        if length > limit:
            raise ModelFormatError(f"{length} {what}, at most {limit} are read")
        self._charge(4 * length)
        return length

    def _charge(self, size_bytes: int) -> None:
        self._copies_left_bytes -= size_bytes
        if self._copies_left_bytes < 0:
            raise ModelFormatError("parts of the model file overlap, reach beyond its end, or are too many")

    def _integers(self, length: int, view: Callable[[], Any], width_bytes: int = 4) -> tuple[int, ...]:
        self._charge(width_bytes * length)
        return tuple(int(value) for value in view().tolist()) if length else ()

    def _reals(self, length: int, view: Callable[[], Any]) -> tuple[float, ...]:
        self._charge(4 * length)
        return tuple(float(value) for value in view().tolist()) if length else ()

    def _text(self, raw: bytes | None) -> str:
        self._charge(len(raw or b""))
        return (raw or b"").decode("utf-8", "replace")

    def _operator_names(self) -> Iterator[str]:
        for position in range(self._count(self._table.OperatorCodesLength(), MAX_OPERATORS, "operator codes")):
            code = self._table.OperatorCodes(position)
            number = _builtin_code(code)
            name = _OPERATOR_NAMES.get(number, f"operator code {number}")
            if name == "CUSTOM":
                name = f"CUSTOM {self._text(code.CustomCode()) or 'without a name'}"
            yield name

    def _buffers(self) -> Iterator[memoryview | None]:
        for position in range(self._count(self._table.BuffersLength(), MAX_TENSORS, "buffers")):
            buffer = self._table.Buffers(position)
            if buffer.Offset() > 1:
                raise UnsupportedModelError(
                    "weights lie outside the file's structure", hint="use a model below 2 GB"
                )
            yield memoryview(buffer.DataAsNumpy()) if buffer.DataLength() else None

    def _tensors(self, graph: Any, buffers: tuple[memoryview | None, ...]) -> Iterator[FileTensor]:
        for position in range(self._count(graph.TensorsLength(), MAX_TENSORS, "tensors")):
            yield self._tensor(graph.Tensors(position), buffers)

    def _tensor(self, table: Any, buffers: tuple[memoryview | None, ...]) -> FileTensor:
        number = table.Buffer()
        if number >= len(buffers):
            raise ModelFormatError(f"a tensor names buffer {number} of {len(buffers)}")
        rank = table.ShapeLength()
        if rank > MAX_RANK:
            raise ModelFormatError(f"a tensor of {rank} dimensions, at most {MAX_RANK} are read")
        scales, zero_points, dimension = self._quantization(table.Quantization())
        return FileTensor(
            name=self._text(table.Name()),
            shape=self._integers(rank, table.ShapeAsNumpy),
            dtype=_TYPE_NAMES.get(table.Type(), f"type {table.Type()}"),
            scales=scales,
            zero_points=zero_points,
            quantized_dimension=dimension,
            data=buffers[number],
            is_variable=bool(table.IsVariable()),
            is_sparse=table.Sparsity() is not None,
        )

    def _quantization(self, table: Any) -> tuple[tuple[float, ...], tuple[int, ...], int]:
        if table is None:
            return (), (), 0
        scales = self._reals(table.ScaleLength(), table.ScaleAsNumpy)
        zero_points = self._integers(table.ZeroPointLength(), table.ZeroPointAsNumpy, width_bytes=8)
        return scales, zero_points, table.QuantizedDimension()

    def _operators(self, graph: Any, names: tuple[str, ...]) -> Iterator[FileOperator]:
        for position in range(self._count(graph.OperatorsLength(), MAX_OPERATORS, "operators")):
            table = graph.Operators(position)
            number = table.OpcodeIndex()
            if number >= len(names):
                raise ModelFormatError(f"operator {position} names operator code {number} of {len(names)}")
            yield FileOperator(
                name=names[number],
                inputs=self._integers(table.InputsLength(), table.InputsAsNumpy),
                outputs=self._integers(table.OutputsLength(), table.OutputsAsNumpy),
                options=_options(names[number], table, position),
            )


def _builtin_code(code: Any) -> int:
    """The larger of the field and its one-byte predecessor, as TFLite Micro takes it.

    The package's own accessor takes the predecessor alone where it is below 127, even when the two contradict.
    """
    table = code._tab
    offset = table.Offset(_BUILTIN_CODE_SLOT)
    field = table.Get(flatbuffers.number_types.Int32Flags, offset + table.Pos) if offset else 0
    return max(int(field), int(code.DeprecatedBuiltinCode()))


def _options(name: str, table: Any, position: int) -> dict[str, Number]:
    """The fields that FITA reads, or none where the file leaves the whole table out."""
    kind, fields = _FIELDS.get(name, ("", ()))
    union = table.BuiltinOptions() if fields else None
    if union is None:
        return {}
    if table.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, kind):
        raise ModelFormatError(f"{name} (operator {position}) carries the options of another operator")
    options = getattr(tflite, kind)()
    options.Init(union.Bytes, union.Pos)
    return {field: _number(getattr(options, field)()) for field in fields}


def _number(value: Number) -> Number:
    return int(value) if isinstance(value, bool) else value


def write(model: FileModel) -> bytes:
    """A .tflite file of these records; tensors without data share the empty buffer 0."""
    builder = flatbuffers.Builder(1024 + sum(len(tensor.data or b"") for tensor in model.tensors))
    contents = [tensor.data for tensor in model.tensors if tensor.data is not None]
    buffers = [_write_buffer(builder, content) for content in (None, *contents)]
    names = list(dict.fromkeys(operator.name for operator in model.operators))
    codes = [_write_code(builder, name) for name in names]
    graph = _write_graph(builder, model, names)
    description = builder.CreateString(model.description)
    tables = {"OperatorCodes": codes, "Subgraphs": [graph], "Buffers": buffers}
    vectors = {field: _write_offsets(builder, offsets) for field, offsets in tables.items()}
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, SCHEMA_VERSION)
    tflite.ModelAddDescription(builder, description)
    for field, vector in vectors.items():
        getattr(tflite, f"ModelAdd{field}")(builder, vector)
    builder.Finish(tflite.ModelEnd(builder), IDENTIFIER)
    return bytes(builder.Output())


def _write_offsets(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _write_array(builder: Any, values: tuple[Number, ...], dtype: str) -> int:
    return int(builder.CreateNumpyVector(np.asarray(values, dtype=dtype)))


def _write_buffer(builder: Any, content: memoryview | bytes | None) -> int:
    data = None
    if content is not None:
        # TFLite Micro reads int32 biases in place: the content needs the alignment that the converter gives it.
        builder.StartVector(1, len(content), 16)
        builder.head -= len(content)
        builder.Bytes[builder.head : builder.head + len(content)] = bytes(content)
        data = builder.EndVector()
    tflite.BufferStart(builder)
    if data is not None:
        tflite.BufferAddData(builder, data)
    return int(tflite.BufferEnd(builder))


def _write_code(builder: Any, name: str) -> int:
    code = _OPERATOR_CODES[name]
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(code, 127))
    tflite.OperatorCodeAddBuiltinCode(builder, code)
    tflite.OperatorCodeAddVersion(builder, 1)
    return int(tflite.OperatorCodeEnd(builder))


def _write_graph(builder: Any, model: FileModel, names: list[str]) -> int:
    number = 0
    tensors = []
    for tensor in model.tensors:
        number += tensor.data is not None
        tensors.append(_write_tensor(builder, tensor, number if tensor.data is not None else 0))
    operators = [_write_operator(builder, operator, names) for operator in model.operators]
    vectors = {
        "Tensors": _write_offsets(builder, tensors),
        "Operators": _write_offsets(builder, operators),
        "Inputs": _write_array(builder, model.inputs, "int32"),
        "Outputs": _write_array(builder, model.outputs, "int32"),
    }
    tflite.SubGraphStart(builder)
    for field, vector in vectors.items():
        getattr(tflite, f"SubGraphAdd{field}")(builder, vector)
    return int(tflite.SubGraphEnd(builder))


def _write_tensor(builder: Any, tensor: FileTensor, buffer: int) -> int:
    name = builder.CreateString(tensor.name)
    shape = _write_array(builder, tensor.shape, "int32")
    quantization = _write_quantization(builder, tensor) if tensor.scales else None
    tflite.TensorStart(builder)
    tflite.TensorAddName(builder, name)
    tflite.TensorAddShape(builder, shape)
    tflite.TensorAddType(builder, _TYPE_CODES[tensor.dtype])
    tflite.TensorAddBuffer(builder, buffer)
    tflite.TensorAddIsVariable(builder, tensor.is_variable)
    if quantization is not None:
        tflite.TensorAddQuantization(builder, quantization)
    return int(tflite.TensorEnd(builder))


def _write_quantization(builder: Any, tensor: FileTensor) -> int:
    scales = _write_array(builder, tensor.scales, "float32")
    zero_points = _write_array(builder, tensor.zero_points, "int64")
    tflite.QuantizationParametersStart(builder)
    tflite.QuantizationParametersAddScale(builder, scales)
    tflite.QuantizationParametersAddZeroPoint(builder, zero_points)
    tflite.QuantizationParametersAddQuantizedDimension(builder, tensor.quantized_dimension)
    return int(tflite.QuantizationParametersEnd(builder))


def _write_operator(builder: Any, operator: FileOperator, names: list[str]) -> int:
    inputs = _write_array(builder, operator.inputs, "int32")
    outputs = _write_array(builder, operator.outputs, "int32")
    kind, fields = _FIELDS.get(operator.name, ("", ()))
    options = None
    if kind and operator.options:
        getattr(tflite, f"{kind}Start")(builder)
        for field in fields:
            if field in operator.options:
                getattr(tflite, f"{kind}Add{field}")(builder, operator.options[field])
        options = getattr(tflite, f"{kind}End")(builder)
    tflite.OperatorStart(builder)
    tflite.OperatorAddOpcodeIndex(builder, names.index(operator.name))
    tflite.OperatorAddInputs(builder, inputs)
    tflite.OperatorAddOutputs(builder, outputs)
    if options is not None:
        tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, kind))
        tflite.OperatorAddBuiltinOptions(builder, options)
    return int(tflite.OperatorEnd(builder))
