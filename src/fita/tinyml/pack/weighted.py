"""Records of the operators with weights or windows. Source of the arithmetic: docs/reference/exactness.md."""

from __future__ import annotations

from fita.tinyml.operator import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Window,
)
from fita.tinyml.pack.constant import BIAS, biased, folded_bias
from fita.tinyml.pack.layout import Kernel
from fita.tinyml.pack.site import PackSite
from fita.tinyml.quantization import Requantization
from fita.tinyml.segment import Accumulate, PartialSum
from fita.tinyml.tensor import Array

_NONE = -1
_POINT = Window(height=1, width=1)
_CHANNELS = 3


def pack_convolution(site: PackSite, operator: Conv2D | PartialSum) -> None:
    """CONV_2D, and the partial sum of one."""
    window = operator.window or _POINT
    weights = operator.weights.values
    image, output = operator.input.shape[1:], operator.output.shape[1:]
    _emit_sum(site, operator, weights.reshape(weights.shape[0], -1), (*image, *output), window)


def pack_dense(site: PackSite, operator: FullyConnected | PartialSum) -> None:
    """FULLY_CONNECTED, and the partial sum of one: a pointwise convolution over a column of rows."""
    outputs, inputs = operator.weights.shape
    rows = operator.input.elements // inputs
    _emit_sum(site, operator, operator.weights.values, (rows, 1, inputs, rows, 1, outputs), _POINT)


def _emit_sum(
    site: PackSite,
    operator: Conv2D | FullyConnected | PartialSum,
    weights: Array,
    shape: tuple[int, ...],
    window: Window,
) -> None:
    requantization = None if isinstance(operator, PartialSum) else operator.requantization
    site.emit(
        Kernel.CONVOLUTION,
        site.activation(operator.input),
        site.activation(operator.output),
        site.pool.add(biased(weights)),
        site.pool.add(folded_bias(operator, weights, channel_axis=0)),
        *_channel_words(site, requantization),
        *shape,
        *_window_words(window),
        BIAS + operator.input.zero_point,
        *_output_words(requantization),
        site.scratch(weights.shape[1]),
    )


def pack_depthwise(site: PackSite, operator: DepthwiseConv2D) -> None:
    """DEPTHWISE_CONV_2D, with each channel's weights side by side."""
    channels = operator.output.shape[_CHANNELS]
    weights = operator.weights.values.reshape(-1, channels).T
    site.emit(
        Kernel.DEPTHWISE,
        site.activation(operator.input),
        site.activation(operator.output),
        site.pool.add(biased(weights)),
        site.pool.add(folded_bias(operator, weights, channel_axis=0)),
        *_channel_words(site, operator.requantization),
        *operator.input.shape[1:],
        *operator.output.shape[1:],
        *_window_words(operator.window),
        BIAS + operator.input.zero_point,
        *_output_words(operator.requantization),
        operator.depth_multiplier,
    )


def _channel_words(site: PackSite, requantization: Requantization | None) -> tuple[int, int]:
    return (_NONE, _NONE) if requantization is None else site.pool.requantization(requantization)


def _output_words(requantization: Requantization | None) -> tuple[int, int, int]:
    if requantization is None:
        return 0, 0, 0
    return requantization.output_zero_point, requantization.clamp.minimum, requantization.clamp.maximum


def _window_words(window: Window) -> tuple[int, ...]:
    return (
        window.height, window.width, window.stride_height, window.stride_width,
        window.dilation_height, window.dilation_width, window.pad_top, window.pad_left,
    )  # fmt: skip


def pack_pool(site: PackSite, operator: AveragePool2D | MaxPool2D) -> None:
    kernel = Kernel.AVERAGE_POOL if isinstance(operator, AveragePool2D) else Kernel.MAX_POOL
    site.emit(
        kernel,
        site.activation(operator.input),
        site.activation(operator.output),
        *operator.input.shape[1:],
        *operator.output.shape[1:3],
        *_window_words(operator.window),
        operator.clamp.minimum,
        operator.clamp.maximum,
    )


def pack_accumulate(site: PackSite, operator: Accumulate) -> None:
    channels = len(operator.requantization.multipliers)
    site.emit(
        Kernel.ACCUMULATE,
        site.activation(operator.output),
        operator.output.elements // channels,
        channels,
        *site.pool.requantization(operator.requantization),
        *_output_words(operator.requantization),
        len(operator.partials),
        *(site.activation(partial) for partial in operator.partials),
    )
