"""One operator of a model file with checked access to its operands and options; what the decoders read from.

A decoder asks for what it needs (`input`, `constant`, `integer`); whatever is missing, contradictory or
beyond FITA raises here, with the operator's name and place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from fita.tinyml.decode.model_file import OPTIONAL_TENSOR, FileOperator, FileTensor
from fita.tinyml.errors import ModelFormatError, UnsupportedModelError
from fita.tinyml.tensor import TYPE_BYTES, Array, DType, Tensor

MAX_TENSOR_BYTES = 64 * 2**20
MAX_RANK = 5
MAX_WORK_BYTES = 256 * 2**20
QUANTIZE_HINT = "convert it with full int8 quantisation (representative dataset, int8 input and output)"


class TensorTable:
    """The tensors of a file, checked when an operator first asks for one; `data` is shared with the file."""

    def __init__(self, tensors: Sequence[FileTensor]) -> None:
        self._records = tensors
        self._tensors: dict[int, Tensor] = {}
        self._work_left_bytes = MAX_WORK_BYTES

    def charge(self, size_bytes: int) -> None:
        """Count work on a file's content; ends files whose operators use the same weights thousands of times."""
        self._work_left_bytes -= size_bytes
        if self._work_left_bytes < 0:
            raise ModelFormatError(f"the operators use more than {MAX_WORK_BYTES} bytes of weights")

    def check(self, number: int) -> None:
        if not 0 <= number < len(self._records):
            raise ModelFormatError(f"tensor {number} of {len(self._records)} does not exist")

    def tensor(self, number: int) -> Tensor:
        self.check(number)
        if number not in self._tensors:
            self._tensors[number] = _tensor(number, self._records[number])
        return self._tensors[number]


def _tensor(number: int, record: FileTensor) -> Tensor:
    place = f"tensor {number} ({record.name!r})"
    if record.dtype not in TYPE_BYTES:
        raise UnsupportedModelError(f"the type {record.dtype}", place=place, hint=QUANTIZE_HINT)
    if record.is_variable:
        raise UnsupportedModelError("it keeps state between runs", place=place, hint="use a model without state")
    if record.is_sparse:
        raise UnsupportedModelError("sparse weights", place=place, hint="convert it without sparsity")
    _check_shape(record, place)
    _check_quantization(record, place)
    tensor = Tensor(
        index=number,
        name=record.name,
        shape=record.shape,
        dtype=record.dtype,
        scales=record.scales,
        zero_points=record.zero_points,
        quantized_dimension=record.quantized_dimension,
        data=None if record.data is None else _content(record, record.dtype, place),
    )
    if tensor.size_bytes > MAX_TENSOR_BYTES:
        raise UnsupportedModelError(
            f"it has {tensor.size_bytes} bytes, at most {MAX_TENSOR_BYTES}",
            place=place,
            hint="use a smaller model",
        )
    return tensor


def _check_shape(record: FileTensor, place: str) -> None:
    if len(record.shape) > MAX_RANK:
        raise UnsupportedModelError(f"{len(record.shape)} dimensions, at most {MAX_RANK}", place=place)
    if any(size < 0 for size in record.shape):
        raise UnsupportedModelError("its shape is open", place=place, hint="convert with fixed shapes and batch 1")
    if 0 in record.shape:
        raise UnsupportedModelError(
            "it has no elements", place=place, hint="convert with fixed shapes and batch 1"
        )


def _check_quantization(record: FileTensor, place: str) -> None:
    scales, zero_points = record.scales, record.zero_points
    if len(scales) != len(zero_points):
        raise ModelFormatError(f"{place}: {len(scales)} scales but {len(zero_points)} zero points")
    if not all(0 < scale < math.inf for scale in scales):
        raise ModelFormatError(f"{place}: a scale that is not a positive number")
    if len(scales) > 1:
        axis = record.quantized_dimension
        if not 0 <= axis < len(record.shape) or record.shape[axis] != len(scales):
            raise ModelFormatError(f"{place}: {len(scales)} scales do not fit axis {axis} of {list(record.shape)}")
    if record.dtype == "int8" and not all(-128 <= point <= 127 for point in zero_points):
        raise ModelFormatError(f"{place}: a zero point outside int8")


def _content(record: FileTensor, dtype: DType, place: str) -> Array:
    data = memoryview(record.data or b"")
    expected = math.prod(record.shape) * TYPE_BYTES[dtype]
    if len(data) != expected:
        raise ModelFormatError(f"{place}: {len(data)} bytes of content where its shape needs {expected}")
    content: Array = np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<")).reshape(record.shape)
    return content


class OperatorSource:
    """One operator of the file. `index` is its place, `kind` its name in the schema."""

    def __init__(self, index: int, record: FileOperator, table: TensorTable) -> None:
        self.index = index
        self.kind = record.name
        self._record = record
        self._table = table

    @property
    def place(self) -> str:
        return f"{self.kind} (operator {self.index})"

    def refuse(self, message: str, hint: str = "") -> NoReturn:
        """End with what FITA does not run and what would help."""
        raise UnsupportedModelError(message, place=self.place, hint=hint)

    def contradict(self, message: str) -> NoReturn:
        """End because the file says two things that cannot both hold."""
        raise ModelFormatError(f"{self.place}: {message}", hint="export the model again")

    def operands(self, least: int, most: int) -> None:
        """Hold the number of inputs within limits, and the number of outputs to one."""
        inputs, outputs = len(self._record.inputs), len(self._record.outputs)
        if not least <= inputs <= most:
            self.contradict(f"{inputs} inputs where {least} to {most} belong")
        if outputs != 1:
            self.contradict(f"{outputs} outputs where one belongs")
        for number in self._record.inputs:
            if number != OPTIONAL_TENSOR:
                self._table.check(number)

    @property
    def input_count(self) -> int:
        return len(self._record.inputs)

    def optional(self, position: int) -> Tensor | None:
        """An operand that may be left out."""
        inputs = self._record.inputs
        if position >= len(inputs) or inputs[position] == OPTIONAL_TENSOR:
            return None
        tensor = self._table.tensor(inputs[position])
        self._table.charge(tensor.size_bytes if tensor.is_constant else 0)
        return tensor

    def input(self, position: int = 0) -> Tensor:
        """A data operand: int8, quantised as a whole."""
        return self._int8(self.any_input(position), f"input {position}")

    def any_input(self, position: int = 0) -> Tensor:
        """A data operand of any type."""
        tensor = self.optional(position)
        return self.contradict(f"input {position} is missing") if tensor is None else tensor

    @property
    def output(self) -> Tensor:
        """The output: int8, quantised as a whole."""
        return self._int8(self.any_output, "the output")

    @property
    def any_output(self) -> Tensor:
        """The output of any type, which must not have content already."""
        tensor = self._table.tensor(self._record.outputs[0])
        if tensor.is_constant:
            self.contradict("its output has content already")
        return tensor

    def _int8(self, tensor: Tensor, what: str) -> Tensor:
        if tensor.dtype != "int8":
            self.refuse(f"{what} is {tensor.dtype}, FITA runs int8", QUANTIZE_HINT)
        if len(tensor.scales) != 1:
            self.refuse(f"{what} has {len(tensor.scales)} scales where one belongs", QUANTIZE_HINT)
        return tensor

    def constant(self, position: int, what: str) -> Tensor:
        """An operand whose content stands in the file."""
        tensor = self.any_input(position)
        if not tensor.is_constant:
            self.refuse(f"{what} are computed while running", "convert with constant " + what)
        return tensor

    def constant_integers(self, position: int, what: str) -> list[int]:
        """A short int32 list, such as axes or paddings."""
        tensor = self.constant(position, what)
        if tensor.dtype != "int32":
            self.refuse(f"{what} are {tensor.dtype}, TFLite Micro takes int32", "convert with int32 " + what)
        if tensor.elements > 2 * MAX_RANK:
            self.contradict(f"{tensor.elements} {what}")
        return [int(value) for value in tensor.values.reshape(-1)]

    def integer(self, option: str, default: int = 0) -> int:
        return int(self._record.options.get(option, default))

    def real(self, option: str) -> float:
        value = float(self._record.options.get(option, 0.0))
        if not math.isfinite(value):
            self.contradict(f"{option} is {value}")
        return value
