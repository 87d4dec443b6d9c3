"""Draws CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED and the pools; None where a value does not suit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fita.tinyml.decode.model_file import Number
from fita.tinyml.draw.drawing import STORED_DEVIATION, Drawing
from fita.tinyml.draw.model_builder import Value, single
from fita.tinyml.tensor import Array

_SAME, _VALID = 0, 1


def _is_image(value: Value) -> bool:
    return len(value.shape) == 4 and value.shape[0] == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """A window that fits an image, as its options say it, and the height and width it leaves."""

    height: int
    width: int
    sides: tuple[int, int]
    options: dict[str, Number]


def _window(drawing: Drawing, value: Value, largest: int, *, dilated: bool) -> _Window | None:
    """None when the value is no image or too small for the window drawn."""
    if not _is_image(value):
        return None
    padding = drawing.integer(_SAME, _VALID)
    options: dict[str, Number] = {"Padding": padding}
    extents, sides = [], []
    for axis, letter in ((1, "H"), (2, "W")):
        size, extent, stride = value.shape[axis], drawing.integer(1, largest), drawing.integer(1, 3)
        dilation = drawing.integer(2, 3) if dilated and drawing.chance(0.2) else 1
        reach = (extent - 1) * dilation + 1
        if reach > size and (padding == _VALID or extent >= 2 * size):
            return None
        options[f"Stride{letter}"] = stride
        if dilated:
            options[f"Dilation{letter}Factor"] = dilation
        extents.append(extent)
        sides.append(-(-(size if padding == _SAME else size - reach + 1) // stride))
    return _Window(height=extents[0], width=extents[1], sides=(sides[0], sides[1]), options=options)


def _weighted(
    drawing: Drawing,
    value: Value,
    name: str,
    *,
    content: Array,
    shape: tuple[int, ...],
    axis: int,
    options: dict[str, Number],
) -> Value:
    """A weighted operator with its scales and bias drawn; `axis` is the weights' output channel."""
    channels = content.shape[axis]
    scales = tuple(drawing.scale() for _ in range(channels if drawing.chance(0.7) else 1))
    weights = drawing.builder.weights(content, scales, axis)
    terms = content.size // channels
    deviation = math.sqrt(terms) * STORED_DEVIATION * max(float(content.std()), 1.0)
    inputs = [value.number, weights]
    if drawing.chance(0.85):
        bias_scales = tuple(single(value.scale * scale) for scale in scales)
        bias = np.asarray(drawing.random.normal(0, deviation, channels), dtype=np.int32)
        inputs.append(drawing.builder.weights(bias, bias_scales, 0))
    quantization = drawing.output_quantization(deviation, value.scale * max(scales))
    return drawing.operator(
        name,
        inputs,
        shape=shape,
        quantization=quantization,
        FusedActivationFunction=drawing.activation(),
        **options,
    )


def conv_2d(drawing: Drawing, value: Value) -> Value | None:
    window = _window(drawing, value, 5, dilated=True)
    channels = drawing.integer(1, drawing.channels)
    if window is None or not drawing.fits(1, *window.sides, channels):
        return None
    content = drawing.int8((channels, window.height, window.width, value.shape[3]))
    shape = (1, *window.sides, channels)
    return _weighted(drawing, value, "CONV_2D", content=content, shape=shape, axis=0, options=window.options)


def depthwise_conv_2d(drawing: Drawing, value: Value) -> Value | None:
    window = _window(drawing, value, 5, dilated=True)
    multiplier = drawing.integer(2, 3) if drawing.chance(0.3) else 1
    channels = value.shape[-1] * multiplier if value.shape else 0
    if window is None or channels > 4 * drawing.channels or not drawing.fits(1, *window.sides, channels):
        return None
    content = drawing.int8((1, window.height, window.width, channels))
    shape = (1, *window.sides, channels)
    options = {**window.options, "DepthMultiplier": multiplier}
    return _weighted(drawing, value, "DEPTHWISE_CONV_2D", content=content, shape=shape, axis=3, options=options)


def fully_connected(drawing: Drawing, value: Value) -> Value | None:
    """Over the last axis, or over everything at once."""
    channels = drawing.integer(1, 2 * drawing.channels)
    whole = drawing.chance(0.5) or not value.shape
    depth = math.prod(value.shape) if whole else value.shape[-1]
    shape = (1, channels) if whole else (*value.shape[:-1], channels)
    if not drawing.fits(*shape) or not drawing.fits(channels, depth):
        return None
    options: dict[str, Number] = {"KeepNumDims": int(not whole)}
    content = drawing.int8((channels, depth))
    return _weighted(drawing, value, "FULLY_CONNECTED", content=content, shape=shape, axis=0, options=options)


def _pool(drawing: Drawing, value: Value, name: str) -> Value | None:
    window = _window(drawing, value, 4, dilated=False)
    if window is None:
        return None
    return drawing.operator(
        name,
        [value.number],
        shape=(1, *window.sides, value.shape[3]),
        quantization=value.quantization,
        FusedActivationFunction=drawing.activation(),
        FilterHeight=window.height,
        FilterWidth=window.width,
        **window.options,
    )


def average_pool_2d(drawing: Drawing, value: Value) -> Value | None:
    return _pool(drawing, value, "AVERAGE_POOL_2D")


def max_pool_2d(drawing: Drawing, value: Value) -> Value | None:
    return _pool(drawing, value, "MAX_POOL_2D")
