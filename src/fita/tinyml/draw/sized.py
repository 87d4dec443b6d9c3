"""Single operators of given sizes with drawn weights, for measuring. The same sizes give the same bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fita.tinyml.draw.model_builder import ModelBuilder, Quantization, Value

Sized = Callable[[ModelBuilder, Value], Value]
"""Appends its operator over a value and gives the output."""

QUANTIZATION = Quantization(scale=0.05, zero_point=-3)
"""Of every activation that is free to choose."""
_NONE, _RELU = 0, 1
_DILATION = {"DilationWFactor": 1, "DilationHFactor": 1}


def _strides(stride: int) -> dict[str, int]:
    return {"StrideW": stride, "StrideH": stride}


def _window(stride: int, relu: bool) -> dict[str, int]:
    return {"Padding": 0, "FusedActivationFunction": _RELU if relu else _NONE, **_strides(stride), **_DILATION}


def _weights(builder: ModelBuilder, shape: tuple[int, ...], axis: int) -> list[int]:
    random = np.random.default_rng(shape)
    content = random.integers(-127, 128, size=shape, dtype=np.int8)
    channels = shape[axis]
    bias = builder.constant(random.integers(-1000, 1000, size=channels, dtype=np.int32))
    scales = tuple(float(np.float32(scale)) for scale in random.uniform(0.001, 0.002, channels))
    return [builder.weights(content, scales, axis), bias.number]


def convolution(window: int, channels: int, stride: int = 1, *, relu: bool = False) -> Sized:
    """CONV_2D with a square window; a pointwise one for a window of 1."""

    def build(builder: ModelBuilder, data: Value) -> Value:
        _, height, width, depth = data.shape
        return builder.operator(
            "CONV_2D", [data.number, *_weights(builder, (channels, window, window, depth), 0)],
            shape=(1, -(-height // stride), -(-width // stride), channels), quantization=QUANTIZATION,
            **_window(stride, relu),
        )  # fmt: skip

    return build


def depthwise(stride: int = 1, *, relu: bool = False) -> Sized:
    """DEPTHWISE_CONV_2D with a window of 3x3."""

    def build(builder: ModelBuilder, data: Value) -> Value:
        _, height, width, depth = data.shape
        return builder.operator(
            "DEPTHWISE_CONV_2D", [data.number, *_weights(builder, (1, 3, 3, depth), 3)],
            shape=(1, -(-height // stride), -(-width // stride), depth), quantization=QUANTIZATION,
            DepthMultiplier=1, **_window(stride, relu),
        )  # fmt: skip

    return build


def dense(channels: int) -> Sized:
    """FULLY_CONNECTED over rows of the last axis."""

    def build(builder: ModelBuilder, data: Value) -> Value:
        rows, depth = data.shape
        return builder.operator(
            "FULLY_CONNECTED", [data.number, *_weights(builder, (channels, depth), 0)],
            shape=(rows, channels), quantization=QUANTIZATION,
            FusedActivationFunction=0, WeightsFormat=0, KeepNumDims=0,
        )  # fmt: skip

    return build


def pool(kind: str) -> Sized:
    """AVERAGE_POOL_2D or MAX_POOL_2D, 2x2 in steps of 2."""

    def build(builder: ModelBuilder, data: Value) -> Value:
        _, height, width, depth = data.shape
        return builder.operator(
            kind, [data.number], shape=(1, height // 2, width // 2, depth), quantization=QUANTIZATION,
            Padding=1, FusedActivationFunction=0, FilterWidth=2, FilterHeight=2, **_strides(2),
        )  # fmt: skip

    return build


def two(kind: str) -> Sized:
    """ADD, SUB or MUL with a second input of the same shape."""

    def build(builder: ModelBuilder, data: Value) -> Value:
        other = builder.input(data.shape, Quantization(scale=0.03, zero_point=5))
        return builder.operator(
            kind, [data.number, other.number], shape=data.shape, quantization=QUANTIZATION,
            FusedActivationFunction=0,
        )  # fmt: skip

    return build


def tanh(builder: ModelBuilder, data: Value) -> Value:
    """TANH, which is a lookup."""
    quantization = Quantization(scale=1 / 128, zero_point=0)
    return builder.operator("TANH", [data.number], shape=data.shape, quantization=quantization)


def softmax(builder: ModelBuilder, data: Value) -> Value:
    """SOFTMAX over the last axis."""
    quantization = Quantization(scale=1 / 256, zero_point=-128)
    return builder.operator("SOFTMAX", [data.number], shape=data.shape, quantization=quantization, Beta=1.0)


def mean(builder: ModelBuilder, data: Value) -> Value:
    """MEAN over height and width."""
    axes = builder.constant(np.asarray([1, 2], dtype=np.int32))
    return builder.operator(
        "MEAN", [data.number, axes.number], shape=(1, data.shape[3]), quantization=QUANTIZATION, KeepDims=0
    )


def pad(builder: ModelBuilder, data: Value) -> Value:
    """PAD by one row and column on each side."""
    around = builder.constant(np.asarray([[0, 0], [1, 1], [1, 1], [0, 0]], dtype=np.int32))
    _, height, width, channels = data.shape
    shape = (1, height + 2, width + 2, channels)
    return builder.operator("PAD", [data.number, around.number], shape=shape, quantization=QUANTIZATION)


def transpose(builder: ModelBuilder, data: Value) -> Value:
    """TRANSPOSE of height and width."""
    order = builder.constant(np.asarray([0, 2, 1, 3], dtype=np.int32))
    _, height, width, channels = data.shape
    shape = (1, width, height, channels)
    return builder.operator("TRANSPOSE", [data.number, order.number], shape=shape, quantization=QUANTIZATION)


def quantize(builder: ModelBuilder, data: Value) -> Value:
    """QUANTIZE from float32."""
    return builder.operator("QUANTIZE", [data.number], shape=data.shape, quantization=QUANTIZATION)
