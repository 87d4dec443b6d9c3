"""Builds the records of a model operator by operator; what `generate` makes random models with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fita.tinyml.decode.model_file import FileModel, FileOperator, FileTensor, Number
from fita.tinyml.tensor import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """real = scale * (stored - zero point), for a whole int8 tensor."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An activation, or a constant operand, by its tensor number. float32 values carry no quantisation."""

    number: int
    shape: tuple[int, ...]
    quantization: Quantization | None

    @property
    def scale(self) -> float:
        return self._quantized.scale

    @property
    def zero_point(self) -> int:
        return self._quantized.zero_point

    @property
    def _quantized(self) -> Quantization:
        if self.quantization is None:
            raise ValueError(f"tensor {self.number} is float32")
        return self.quantization


class ModelBuilder:
    """The tensors and operators so far. Nothing is checked here: the Reader does."""

    def __init__(self) -> None:
        self._tensors: list[FileTensor] = []
        self._operators: list[FileOperator] = []
        self._inputs: list[int] = []

    def activation(self, shape: tuple[int, ...], quantization: Quantization | None) -> Value:
        """A new activation: int8 with a quantisation, float32 without."""
        scales = () if quantization is None else (quantization.scale,)
        points = () if quantization is None else (quantization.zero_point,)
        number = self._add(
            FileTensor(
                name=f"activation_{len(self._tensors)}",
                shape=shape,
                dtype="float32" if quantization is None else "int8",
                scales=scales,
                zero_points=points,
            )
        )
        return Value(number=number, shape=shape, quantization=quantization)

    def input(self, shape: tuple[int, ...], quantization: Quantization | None) -> Value:
        """A new activation that is fed from outside."""
        value = self.activation(shape, quantization)
        self._inputs.append(value.number)
        return value

    def constant(self, content: Array, quantization: Quantization | None = None) -> Value:
        """A tensor with content of its own type, quantised as a whole or not at all."""
        scales = () if quantization is None else (quantization.scale,)
        points = () if quantization is None else (quantization.zero_point,)
        return Value(
            number=self._constant(content, scales, points, 0), shape=content.shape, quantization=quantization
        )

    def weights(self, content: Array, scales: tuple[float, ...], axis: int) -> int:
        """int8 weights with zero points of 0, quantised along an axis or, with one scale, as a whole."""
        return self._constant(content, scales, (0,) * len(scales), axis)

    def _constant(self, content: Array, scales: tuple[float, ...], points: tuple[int, ...], axis: int) -> int:
        return self._add(
            FileTensor(
                name=f"constant_{len(self._tensors)}",
                shape=content.shape,
                dtype=str(content.dtype),
                scales=scales,
                zero_points=points,
                quantized_dimension=axis,
                data=content.astype(content.dtype.newbyteorder("<")).tobytes(),
            )
        )

    def _add(self, tensor: FileTensor) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def operator(
        self,
        name: str,
        inputs: list[int],
        *,
        shape: tuple[int, ...],
        quantization: Quantization | None,
        **options: Number,
    ) -> Value:
        """Append an operator with a new output of this shape."""
        output = self.activation(shape, quantization)
        self._operators.append(
            FileOperator(name=name, inputs=tuple(inputs), outputs=(output.number,), options=options)
        )
        return output

    def finish(self, outputs: list[Value]) -> FileModel:
        return FileModel(
            tensors=tuple(self._tensors),
            operators=tuple(self._operators),
            inputs=tuple(self._inputs),
            outputs=tuple(value.number for value in outputs),
            description="made by FITA",
        )


def single(value: float) -> float:
    """The float32 nearest to a number, as the file will hold it."""
    return float(np.float32(value))
