"""The constants of a segment: aligned, and each content once."""

from __future__ import annotations

import numpy as np

from fita.tinyml.operator import Weighted
from fita.tinyml.quantization import Requantization
from fita.tinyml.segment import PartialSum
from fita.tinyml.tensor import Array

_ALIGN = 4
BIAS = 128
"""Kernels read bytes unsigned: weights are stored with this added, and inputs get it as they are gathered."""


class ConstantPool:
    """Grows by what records need and says where it lies."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._places: dict[bytes, int] = {}

    @property
    def content(self) -> bytes:
        return bytes(self._content)

    def add(self, data: Array) -> int:
        """The offset of an array's little-endian bytes, a multiple of 4."""
        content = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("<")).tobytes()
        if content not in self._places:
            self._content.extend(bytes(-len(self._content) % _ALIGN))
            self._places[content] = len(self._content)
            self._content.extend(content)
        return self._places[content]

    def requantization(self, requantization: Requantization) -> tuple[int, int]:
        """The offsets of the channels' int32 multipliers and int8 shifts."""
        multipliers = self.add(requantization.multipliers.astype(np.int32))
        return multipliers, self.add(requantization.shifts.astype(np.int8))


def biased(weights: Array) -> Array:
    """int8 weights as the bytes that kernels multiply with."""
    return np.asarray(weights.astype(np.int16) + BIAS, dtype=np.uint8)


def folded_bias(operator: Weighted | PartialSum, weights: Array, *, channel_axis: int) -> Array:
    """Bias less what the input's zero point adds, for inputs that are read with 128 added; wraps as int32 does."""
    axes = tuple(axis for axis in range(weights.ndim) if axis != channel_axis)
    sums = weights.astype(np.int64).sum(axis=axes)
    bias = np.zeros_like(sums) if operator.bias is None else operator.bias.values.reshape(-1).astype(np.int64)
    return np.asarray(bias - (BIAS + operator.input.zero_point) * sums).astype(np.int32)
