"""The random source, the limits and the model under construction that every drawn operator shares."""

from __future__ import annotations

import math

import numpy as np

from fita.tinyml.decode.model_file import Number
from fita.tinyml.draw.model_builder import ModelBuilder, Quantization, Value, single
from fita.tinyml.tensor import Array

STORED_DEVIATION = 74.0
"""Standard deviation of uniformly distributed int8."""
_ACTIVATIONS = 4


class Drawing:
    """A model under construction. `values` are the activations to draw partners from, `read` the numbers used."""

    def __init__(self, builder: ModelBuilder, random: np.random.Generator, channels: int, elements: int) -> None:
        self.builder = builder
        self.random = random
        self.channels = channels
        self.elements = elements
        self.values: list[Value] = []
        self.read: set[int] = set()

    def integer(self, least: int, most: int) -> int:
        """From least to most, both included."""
        return int(self.random.integers(least, most + 1))

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def fits(self, *shape: int) -> bool:
        """Whether a tensor of this shape stays within the limits."""
        return min(shape, default=1) >= 1 and math.prod(shape) <= self.elements

    def scale(self) -> float:
        return single(10 ** self.random.uniform(-2.5, 0.0))

    def quantization(self, scale: float | None = None) -> Quantization:
        zero_point = self.integer(-128, 127) if self.chance(0.7) else (-128, 0, 127)[self.integer(0, 2)]
        return Quantization(scale=single(min(max(scale or self.scale(), 1e-4), 64.0)), zero_point=zero_point)

    def output_quantization(self, sum_deviation: float, sum_scale: float) -> Quantization:
        """One under which sums of this deviation fill int8; sometimes far too fine or too coarse."""
        spread = self.random.uniform(15, 60) if self.chance(0.85) else 10 ** self.random.uniform(-1, 3)
        return self.quantization(sum_scale * sum_deviation / spread)

    def operator(
        self,
        name: str,
        inputs: list[int],
        *,
        shape: tuple[int, ...],
        quantization: Quantization | None,
        **options: Number,
    ) -> Value:
        self.read.update(inputs)
        return self.builder.operator(name, inputs, shape=shape, quantization=quantization, **options)

    def integers(self, values: list[int]) -> int:
        """A constant int32 list."""
        return self.builder.constant(np.asarray(values, dtype=np.int32)).number

    def activation(self) -> int:
        return self.integer(0, _ACTIVATIONS - 1) if self.chance(0.5) else 0

    def int8(self, shape: tuple[int, ...]) -> Array:
        """Random content; -128, which weights should not have but may, in some of them."""
        return self.random.integers(-128 if self.chance(0.1) else -127, 128, shape, dtype=np.int8)
