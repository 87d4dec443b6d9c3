"""Decoders of CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED and the pools."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from fita.tinyml.decode.check import check_same_quantization, check_sum, fused_activation, output_clamp
from fita.tinyml.decode.operator_source import QUANTIZE_HINT, OperatorSource
from fita.tinyml.operator import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Window,
)
from fita.tinyml.quantization import Requantization, quantize_multipliers
from fita.tinyml.tensor import Array, Tensor

PoolT = TypeVar("PoolT", AveragePool2D, MaxPool2D)

MAX_WINDOW = 65_535
_SAME = 0
_VALID = 1
_POOL_SCALE_TOLERANCE = 1e-6
_BIAS_SCALE_TOLERANCE = 0.02


def decode_conv_2d(source: OperatorSource) -> Conv2D:
    source.operands(2, 3)
    data, output = source.input(), source.output
    weights = _weights(source, channel_axis=0, rank=4)
    channels, height, width, depth = weights.shape
    _check_image(source, data, output)
    if depth != data.shape[3]:
        if data.shape[3] % depth == 0:
            source.refuse("a grouped convolution", "split it into one CONV_2D for each group")
        source.contradict(f"weights of depth {depth} over an input of depth {data.shape[3]}")
    _check_channels(source, output, channels)
    bias = _bias(source, channels)
    return Conv2D(
        index=source.index,
        output=output,
        input=data,
        weights=weights,
        bias=bias,
        requantization=_requantization(source, weights.values, 0, bias),
        activation=fused_activation(source),
        window=_window(source, height, width),
    )


def decode_depthwise_conv_2d(source: OperatorSource) -> DepthwiseConv2D:
    source.operands(2, 3)
    data, output = source.input(), source.output
    weights = _weights(source, channel_axis=3, rank=4)
    one, height, width, channels = weights.shape
    _check_image(source, data, output)
    multiplier = source.integer("DepthMultiplier")
    if one != 1 or multiplier < 1 or channels != data.shape[3] * multiplier:
        source.contradict(
            f"weights {list(weights.shape)}, depth multiplier {multiplier} over an input of depth {data.shape[3]}"
        )
    _check_channels(source, output, channels)
    bias = _bias(source, channels)
    return DepthwiseConv2D(
        index=source.index,
        output=output,
        input=data,
        weights=weights,
        bias=bias,
        requantization=_requantization(source, weights.values, 3, bias),
        activation=fused_activation(source),
        window=_window(source, height, width),
        depth_multiplier=multiplier,
    )


def decode_fully_connected(source: OperatorSource) -> FullyConnected:
    source.operands(2, 3)
    data, output = source.input(), source.output
    weights = _weights(source, channel_axis=0, rank=2)
    channels, depth = weights.shape
    if source.integer("WeightsFormat"):
        source.refuse("shuffled weights", "convert for TFLite Micro, which takes them in plain order")
    _check_channels(source, output, channels)
    if data.elements % depth or data.elements // depth != output.elements // channels:
        source.contradict(
            f"input {list(data.shape)} times weights {list(weights.shape)} gives {list(output.shape)}"
        )
    bias = _bias(source, channels)
    return FullyConnected(
        index=source.index,
        output=output,
        input=data,
        weights=weights,
        bias=bias,
        requantization=_requantization(source, weights.values, 0, bias),
        activation=fused_activation(source),
    )


def decode_average_pool_2d(source: OperatorSource) -> AveragePool2D:
    return _pool(source, AveragePool2D)


def decode_max_pool_2d(source: OperatorSource) -> MaxPool2D:
    return _pool(source, MaxPool2D)


def _pool(source: OperatorSource, kind: type[PoolT]) -> PoolT:
    source.operands(1, 1)
    data, output = source.input(), source.output
    _check_image(source, data, output)
    _check_channels(source, output, data.shape[3])
    check_same_quantization(source, data, output, _POOL_SCALE_TOLERANCE)
    height, width = source.integer("FilterHeight"), source.integer("FilterWidth")
    if height >= 2 * data.shape[1] or width >= 2 * data.shape[2]:
        source.refuse(f"a window of {height}x{width} over {data.shape[1]}x{data.shape[2]}", "use a smaller window")
    return kind(
        index=source.index,
        output=output,
        input=data,
        window=_window(source, height, width),
        clamp=output_clamp(source),
        activation=fused_activation(source),
    )


def _check_image(source: OperatorSource, data: Tensor, output: Tensor) -> None:
    if len(data.shape) != 4 or len(output.shape) != 4:
        source.contradict(f"shapes {list(data.shape)} and {list(output.shape)} where four dimensions belong")
    if data.shape[0] != 1 or output.shape[0] != 1:
        source.refuse(f"a batch of {data.shape[0]}", "convert with batch 1")


def _check_channels(source: OperatorSource, output: Tensor, channels: int) -> None:
    if not output.shape or output.shape[-1] != channels:
        source.contradict(f"output {list(output.shape)} where {channels} channels belong")


def _window(source: OperatorSource, height: int, width: int) -> Window:
    """The window with the padding that SAME or VALID comes to, once it gives the output's height and width."""
    strides = source.integer("StrideH"), source.integer("StrideW")
    dilations = source.integer("DilationHFactor", 1), source.integer("DilationWFactor", 1)
    if not all(1 <= size <= MAX_WINDOW for size in (height, width, *strides, *dilations)):
        source.contradict(f"window {height}x{width}, strides {strides}, dilations {dilations}")
    top, bottom = _padding(source, 1, (height - 1) * dilations[0] + 1, strides[0])
    left, right = _padding(source, 2, (width - 1) * dilations[1] + 1, strides[1])
    return Window(
        height=height,
        width=width,
        stride_height=strides[0],
        stride_width=strides[1],
        dilation_height=dilations[0],
        dilation_width=dilations[1],
        pad_top=top,
        pad_left=left,
        pad_bottom=bottom,
        pad_right=right,
    )


def _padding(source: OperatorSource, axis: int, extent: int, stride: int) -> tuple[int, int]:
    """Rows (or columns) of padding before and after; the odd one lies behind."""
    size, found = source.input().shape[axis], source.output.shape[axis]
    mode = source.integer("Padding")
    if mode not in (_SAME, _VALID):
        source.contradict(f"padding mode {mode}")
    expected = -(-size // stride) if mode == _SAME else -(-(size - extent + 1) // stride)
    if found != expected:
        source.contradict(f"axis {axis} of the output is {found} where {expected} belong")
    total = max((expected - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def _weights(source: OperatorSource, *, channel_axis: int, rank: int) -> Tensor:
    weights = source.constant(1, "weights")
    if weights.dtype != "int8":
        source.refuse(f"weights are {weights.dtype}, FITA runs int8", QUANTIZE_HINT)
    if len(weights.shape) != rank:
        source.contradict(f"weights of shape {list(weights.shape)} where {rank} dimensions belong")
    if not weights.scales or (len(weights.scales) > 1 and weights.quantized_dimension != channel_axis):
        source.refuse("weights are not quantised along their output channels", QUANTIZE_HINT)
    if any(weights.zero_points):
        source.refuse("weights have a zero point other than 0", QUANTIZE_HINT)
    return weights


def _bias(source: OperatorSource, channels: int) -> Tensor | None:
    if source.optional(2) is None:
        return None
    bias = source.constant(2, "biases")
    if bias.dtype != "int32":
        source.refuse(f"biases are {bias.dtype}, FITA runs int32", QUANTIZE_HINT)
    if bias.elements != channels:
        source.contradict(f"{bias.elements} biases for {channels} channels")
    return bias


def _requantization(source: OperatorSource, weights: Array, axis: int, bias: Tensor | None) -> Requantization:
    """Multipliers for every channel, once no sum of a channel can leave 32 bits."""
    channels = weights.shape[axis]
    factors = np.broadcast_to(_factors(source, bias), channels)
    try:
        multipliers, shifts = quantize_multipliers(factors)
    except OverflowError as error:
        source.refuse(str(error), "choose scales that lie closer together")
    offset = max(127 - source.input().zero_point, source.input().zero_point + 128)
    rows = np.abs(np.moveaxis(weights, axis, 0).reshape(channels, -1).astype(np.int16))
    bounds = rows.sum(axis=1, dtype=np.int64) * offset
    if bias is not None:
        bounds = bounds + np.abs(bias.values.reshape(-1).astype(np.int64))
    check_sum(source, int((bounds << np.maximum(shifts, 0)).max()))
    return Requantization(
        multipliers=multipliers,
        shifts=shifts,
        output_zero_point=source.output.zero_point,
        clamp=output_clamp(source),
    )


def _factors(source: OperatorSource, bias: Tensor | None) -> Array:
    """input scale * weight scale / output scale in double precision, one for each weight scale.

    For FULLY_CONNECTED with one of them TFLite Micro first holds the bias's scale against their product.
    """
    data, output = source.input(), source.output
    scales = source.any_input(1).scales
    if source.kind == "FULLY_CONNECTED" and len(scales) == 1 and bias is not None and bias.scales:
        difference = abs(data.scale * scales[0] - bias.scale)
        if difference / output.scale > _BIAS_SCALE_TOLERANCE:
            source.refuse("the bias's scale is not input scale times weight scale", QUANTIZE_HINT)
    return np.float64(data.scale) * np.asarray(scales, dtype=np.float64) / np.float64(output.scale)
