"""What it means to cut one operator to a box of its output; the families of operators each have a module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from fita.tinyml.operator import OperatorBase
from fita.tinyml.quantization import Requantization
from fita.tinyml.segment import Box, SegmentOperator
from fita.tinyml.split.box import Shape, whole_box, with_axis
from fita.tinyml.tensor import Tensor

OperatorT = TypeVar("OperatorT", bound=OperatorBase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The tensors that a cut operator works on: its output, and one operand for each of the operator's inputs.

    An operand that the box does not need is None.
    """

    output: Tensor
    operands: tuple[Tensor | None, ...]

    @property
    def operand(self) -> Tensor:
        """The first operand, which all but CONCATENATION always need."""
        return self.at(0)

    def at(self, position: int) -> Tensor:
        operand = self.operands[position]
        if operand is None:
            raise ValueError(f"operand {position} of tensor {self.output.index} is not there")
        return operand


class Rule(ABC, Generic[OperatorT]):
    """How operators of one type are cut. All boxes count in the uncut tensors."""

    def expand(self, operator: OperatorT, box: Box) -> Box:
        """The smallest box around this one that can be computed without computing more."""
        return box

    @abstractmethod
    def needs(self, operator: OperatorT, box: Box) -> tuple[Box | None, ...]:
        """What an expanded box reads of each of the operator's `inputs`; None for nothing."""

    def accepts(self, operator: OperatorT, box: Box, need: Box, region: Box) -> bool:
        """Whether an operand that holds the region, which is more than the need, will do."""
        return False

    @abstractmethod
    def cut(self, operator: OperatorT, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        """The operators that compute an expanded box into `site.output`; the last one writes it."""


def local_tensor(tensor: Tensor, box: Box) -> Tensor:
    """A tensor for a box of another one, named after it: itself when the box is all of it."""
    if box == whole_box(tensor.shape):
        return tensor
    ranges = [
        ":" if (start, stop) == (0, size) else f"{start}:{stop}"
        for start, stop, size in zip(box.starts, box.stops, tensor.shape, strict=True)
    ]
    return with_shape(tensor, box.shape, f"{tensor.name}[{','.join(ranges)}]")


def with_shape(tensor: Tensor, shape: Shape, name: str) -> Tensor:
    """A new activation of a tensor's type and quantisation."""
    return Tensor(
        index=tensor.index,
        name=name,
        shape=shape,
        dtype=tensor.dtype,
        scales=tensor.scales,
        zero_points=tensor.zero_points,
        quantized_dimension=tensor.quantized_dimension,
    )


def constant_part(tensor: Tensor, box: Box) -> Tensor:
    """A box of a constant, with the scales that belong to it: itself when the box is all of it."""
    if box == whole_box(tensor.shape):
        return tensor
    kept = slice(None)
    if len(tensor.scales) > 1:
        axis = tensor.quantized_dimension
        kept = slice(box.starts[axis], box.stops[axis])
    return Tensor(
        index=tensor.index,
        name=tensor.name,
        shape=box.shape,
        dtype=tensor.dtype,
        scales=tensor.scales[kept],
        zero_points=tensor.zero_points[kept],
        quantized_dimension=tensor.quantized_dimension,
        data=tensor.values[box.slices],
    )


def channel_part(tensor: Tensor, axis: int, start: int, stop: int) -> Tensor:
    """A range of a constant along one axis."""
    return constant_part(tensor, with_axis(whole_box(tensor.shape), axis, start, stop))


def channel_requantization(requantization: Requantization, start: int, stop: int) -> Requantization:
    """That of some output channels."""
    return Requantization(
        multipliers=requantization.multipliers[start:stop],
        shifts=requantization.shifts[start:stop],
        output_zero_point=requantization.output_zero_point,
        clamp=requantization.clamp,
    )
