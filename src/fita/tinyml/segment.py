"""A model in parts: segments that each run on one device, and the transfers between them.

A segment is atomic: it waits until its inputs are whole, runs its operators in order, and gives its outputs away.
Its operators are ordinary ones over tensors of its own, cut to what the segment computes: a row slab of a
convolution is a convolution with other explicit padding, a channel shard one with fewer weights. Only sums over
input channels need two operators that no model file has: `PartialSum` and `Accumulate`. A device may host several
segments.

Nothing here decides where to cut and nothing computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import sub
from typing import ClassVar

import msgspec

from fita.tinyml.graph import Graph
from fita.tinyml.operator import OneInput, Operator, OperatorBase, OperatorClass, Window
from fita.tinyml.quantization import Requantization
from fita.tinyml.tensor import Tensor

OUTSIDE = -1
"""The `producer` of the model's inputs and the `consumer` of its outputs."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PartialSum(OneInput):
    """A convolution or dense layer over some of its input channels: the int32 accumulators, not requantised.

    `weights` holds the shard's input channels only (Conv2D: OxKHxKWxI', dense: OxI'). `bias` is int32 of O
    elements in exactly one of the shards and None in the others. A dense layer has the `window` None.
    """

    weights: Tensor
    bias: Tensor | None
    window: Window | None
    kind: ClassVar[str] = "PARTIAL_SUM"

    @property
    def operator_class(self) -> OperatorClass:
        if self.window is None:
            return OperatorClass.DENSE
        return OperatorClass.POINTWISE if self.window == Window(height=1, width=1) else OperatorClass.CONV

    @property
    def macs(self) -> int:
        return self.output.elements * (self.weights.elements // self.weights.shape[0])

    @property
    def work(self) -> Mapping[OperatorClass, int]:
        return {self.operator_class: self.macs, OperatorClass.OUTPUT: self.output.elements}

    @property
    def weight_bytes(self) -> int:
        return self.weights.size_bytes + (self.bias.size_bytes if self.bias else 0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Accumulate(OperatorBase):
    """Adds the int32 `partials` of all shards, wrapping as int32 does, and requantises per output channel."""

    partials: tuple[Tensor, ...]
    requantization: Requantization
    kind: ClassVar[str] = "ACCUMULATE"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self.partials

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.ELEMENTWISE

    @property
    def macs(self) -> int:
        return self.output.elements * len(self.partials)

    @property
    def weight_bytes(self) -> int:
        return len(self.requantization.multipliers) * 5


SegmentOperator = Operator | PartialSum | Accumulate


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """A rectangular part of a tensor: half-open ranges, one for each axis."""

    starts: tuple[int, ...]
    stops: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(sub, self.stops, self.starts))

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(slice(start, stop) for start, stop in zip(self.starts, self.stops, strict=True))


def whole(tensor: Tensor) -> Box:
    """All of a tensor."""
    return Box(starts=(0,) * len(tensor.shape), stops=tensor.shape)


@dataclass(frozen=True, eq=False, kw_only=True)
class Transfer:
    """Bytes from one segment to another: `source_box` of `source` fills `destination_box` of `destination`.

    Both boxes have one shape. From `OUTSIDE` comes an input of the model, to `OUTSIDE` goes an output of it; then
    `source` or `destination` is the graph's own tensor.
    """

    producer: int
    source: Tensor
    source_box: Box
    consumer: int
    destination: Tensor
    destination_box: Box

    @property
    def size_bytes(self) -> int:
        elements = 1
        for length in self.source_box.shape:
            elements *= length
        return elements * (self.source.size_bytes // max(1, self.source.elements))


@dataclass(frozen=True, eq=False, kw_only=True)
class Segment:
    """What runs at one go on one device. `index` is its place in `SplitModel.segments`.

    `inputs` are filled by transfers, whole before the first operator runs; `outputs` are computed here.
    A tensor may be both an input and an output only by being computed from a copy.
    """

    index: int
    operators: tuple[SegmentOperator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def macs(self) -> int:
        return sum(operator.macs for operator in self.operators)

    @property
    def weight_bytes(self) -> int:
        """Flash for the constants, as packed."""
        return sum(operator.weight_bytes for operator in self.operators)


@dataclass(frozen=True, eq=False, kw_only=True)
class SplitModel:
    """A graph as segments in an order in which each comes after all that it waits for."""

    graph: Graph
    segments: tuple[Segment, ...]
    transfers: tuple[Transfer, ...]

    @cached_property
    def arrivals(self) -> dict[int, tuple[Transfer, ...]]:
        """The transfers into each segment, and into `OUTSIDE`."""
        return {index: tuple(t for t in self.transfers if t.consumer == index) for index in self._places}

    @cached_property
    def departures(self) -> dict[int, tuple[Transfer, ...]]:
        """The transfers out of each segment, and out of `OUTSIDE`."""
        return {index: tuple(t for t in self.transfers if t.producer == index) for index in self._places}

    @property
    def _places(self) -> range:
        return range(OUTSIDE, len(self.segments))
