"""NumPy kernels of the operators with weights or windows, exact to TFLite Micro.

Convolutions gather patches and multiply matrices in float64: the Reader keeps every sum inside 32 bits, so each
partial sum is an integer below 2^53 and exact. Images are 1xHxWxC.
"""

from __future__ import annotations

import numpy as np

from fita.tinyml.operator import AveragePool2D, Conv2D, DepthwiseConv2D, FullyConnected, MaxPool2D, Pool, Window
from fita.tinyml.quantization import Int64Array, clamp, requantize
from fita.tinyml.tensor import Array


def run_conv_2d(operator: Conv2D, data: Array) -> Array:
    return requantize(conv_2d_sums(operator, data), operator.requantization)


def run_depthwise_conv_2d(operator: DepthwiseConv2D, data: Array) -> Array:
    return requantize(depthwise_conv_2d_sums(operator, data), operator.requantization)


def run_fully_connected(operator: FullyConnected, data: Array) -> Array:
    sums = fully_connected_sums(operator, data)
    return requantize(sums, operator.requantization).reshape(operator.output.shape)


def conv_2d_sums(operator: Conv2D, data: Array) -> Int64Array:
    """The accumulators before requantisation, 1xH'xW'xO."""
    _, height, width, channels = operator.output.shape
    patches = _patches(_centered(operator, data), operator.window, height, width)
    weights = operator.weights.values.astype(np.float64).reshape(channels, -1)
    sums = patches.reshape(height * width, -1) @ weights.T
    return _with_bias(operator, sums).reshape(1, height, width, channels)


def depthwise_conv_2d_sums(operator: DepthwiseConv2D, data: Array) -> Int64Array:
    """The accumulators before requantisation, 1xH'xW'xO."""
    _, height, width, channels = operator.output.shape
    patches = _patches(_centered(operator, data), operator.window, height, width)
    spread = np.repeat(patches, operator.depth_multiplier, axis=4)
    sums = np.einsum("yxhwc,hwc->yxc", spread, operator.weights.values[0].astype(np.float64))
    return _with_bias(operator, sums).reshape(1, height, width, channels)


def fully_connected_sums(operator: FullyConnected, data: Array) -> Int64Array:
    """The accumulators before requantisation, rows x O."""
    rows = _centered(operator, data).reshape(operator.rows, -1)
    return _with_bias(operator, rows @ operator.weights.values.astype(np.float64).T)


def _centered(operator: Conv2D | DepthwiseConv2D | FullyConnected, data: Array) -> Array:
    return data.astype(np.float64) - operator.input.zero_point


def _with_bias(operator: Conv2D | DepthwiseConv2D | FullyConnected, sums: Array) -> Int64Array:
    exact = sums.astype(np.int64)
    return exact if operator.bias is None else exact + operator.bias.values.reshape(-1)


def _patches(image: Array, window: Window, height: int, width: int, fill: float = 0.0) -> Array:
    """A view H' x W' x KH x KW x C of every window of a padded image."""
    padded = np.pad(
        image[0],
        ((window.pad_top, window.pad_bottom), (window.pad_left, window.pad_right), (0, 0)),
        constant_values=fill,
    )
    row, column, channel = padded.strides
    return np.lib.stride_tricks.as_strided(
        padded,
        shape=(height, width, window.height, window.width, padded.shape[2]),
        strides=(
            row * window.stride_height,
            column * window.stride_width,
            row * window.dilation_height,
            column * window.dilation_width,
            channel,
        ),
        writeable=False,
    )


def _pool_patches(operator: Pool, data: Array, fill: float) -> Array:
    _, height, width, _ = operator.output.shape
    return _patches(data.astype(np.float64), operator.window, height, width, fill)


def run_average_pool_2d(operator: AveragePool2D, data: Array) -> Array:
    """Sum over the window's elements inside the image, divided by their number, half away from zero."""
    sums = _pool_patches(operator, data, 0.0).sum(axis=(2, 3)).astype(np.int64)
    counts = _pool_patches(operator, np.ones_like(data), 0.0).sum(axis=(2, 3)).astype(np.int64)
    magnitude = (np.abs(sums) + counts // 2) // counts
    return clamp(np.where(sums > 0, magnitude, -magnitude), operator.clamp).reshape(operator.output.shape)


def run_max_pool_2d(operator: MaxPool2D, data: Array) -> Array:
    largest = _pool_patches(operator, data, -128.0).max(axis=(2, 3)).astype(np.int64)
    return clamp(largest, operator.clamp).reshape(operator.output.shape)
