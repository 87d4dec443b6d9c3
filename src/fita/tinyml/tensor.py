"""Tensors of a model graph: shape, element type, quantisation and, for constants, the data.

Refuses nothing itself: the Reader has checked every figure before a tensor exists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

DType = Literal["int8", "uint8", "int16", "int32", "int64", "float32", "bool"]
"""Element types by their NumPy names."""

TYPE_BYTES: dict[DType, int] = {
    "int8": 1, "uint8": 1, "bool": 1, "int16": 2, "int32": 4, "float32": 4, "int64": 8,
}  # fmt: skip

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tensor:
    """One tensor of a graph, compared by identity and named by `index`, its place in the file's tensor list.

    `scales` and `zero_points` are equally long: empty when not quantised, one element when quantised as a whole,
    one per slice of `quantized_dimension` otherwise. real = scale * (stored - zero point). Scales are the
    file's float32 values. `data` is the constant content with `shape` and `dtype`, None for an activation.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: DType
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantized_dimension: int = 0
    data: Array | None = None

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def values(self) -> Array:
        """The constant content; `ValueError` for an activation."""
        if self.data is None:
            raise ValueError(f"tensor {self.index} ({self.name}) is an activation and has no content")
        return self.data

    @property
    def scale(self) -> float:
        """The scale of the whole tensor (float32 value)."""
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        """The zero point of the whole tensor."""
        return self.zero_points[0]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.elements * TYPE_BYTES[self.dtype]

    def empty(self) -> Array:
        """A new zeroed array of this shape and type."""
        return np.zeros(self.shape, dtype=self.dtype)
