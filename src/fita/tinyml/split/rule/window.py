"""Rules for the operators that slide a window over an image: convolutions and pools."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TypeVar

import msgspec

from fita.tinyml.operator import AveragePool2D, Conv2D, DepthwiseConv2D, MaxPool2D, Weighted, Window
from fita.tinyml.segment import Box, SegmentOperator
from fita.tinyml.split.box import with_axis
from fita.tinyml.split.rule.base import Rule, Site, channel_part, channel_requantization
from fita.tinyml.tensor import Tensor

HEIGHT, WIDTH, CHANNELS = 1, 2, 3

WindowOperator = TypeVar("WindowOperator", Conv2D, DepthwiseConv2D, AveragePool2D, MaxPool2D)


class _Reach(msgspec.Struct, frozen=True):
    """What a range of outputs reads along one axis: start..stop of the input, and padding before and after."""

    start: int
    stop: int
    before: int
    after: int


def _reach(window: Window, axis: int, box: Box, size: int) -> _Reach:
    if axis == HEIGHT:
        extent, stride, dilation, pad = window.height, window.stride_height, window.dilation_height, window.pad_top
    else:
        extent, stride, dilation, pad = window.width, window.stride_width, window.dilation_width, window.pad_left
    start = box.starts[axis] * stride - pad
    stop = (box.stops[axis] - 1) * stride - pad + (extent - 1) * dilation + 1
    return _Reach(max(start, 0), min(stop, size), max(-start, 0), max(stop - size, 0))


def input_box(window: Window, box: Box, data: Tensor, channels: tuple[int, int]) -> Box:
    """The part of an image that an output box reads, over the given range of input channels."""
    rows, columns = (_reach(window, axis, box, data.shape[axis]) for axis in (HEIGHT, WIDTH))
    return Box(starts=(0, rows.start, columns.start, channels[0]), stops=(1, rows.stop, columns.stop, channels[1]))


def cut_window(window: Window, box: Box, data: Tensor) -> Window:
    """The window over the input box: padding only where the box touches the image's edge."""
    rows, columns = (_reach(window, axis, box, data.shape[axis]) for axis in (HEIGHT, WIDTH))
    return replace(
        window, pad_top=rows.before, pad_bottom=rows.after, pad_left=columns.before, pad_right=columns.after
    )


def holds_window(cut: Window, need: Box, region: Box) -> bool:
    """Whether a region will do: more image below or to the right does no harm where no padding follows."""
    bottom = need.stops[HEIGHT] if cut.pad_bottom else region.stops[HEIGHT]
    right = need.stops[WIDTH] if cut.pad_right else region.stops[WIDTH]
    grown = with_axis(with_axis(need, HEIGHT, need.starts[HEIGHT], bottom), WIDTH, need.starts[WIDTH], right)
    return region == grown


class WindowRule(Rule[WindowOperator]):
    """What all of them share: the image box under the window."""

    def needs(self, operator: WindowOperator, box: Box) -> tuple[Box | None, ...]:
        return (input_box(operator.window, box, operator.input, self.input_channels(operator, box)),)

    def accepts(self, operator: WindowOperator, box: Box, need: Box, region: Box) -> bool:
        return holds_window(cut_window(operator.window, box, operator.input), need, region)

    @abstractmethod
    def input_channels(self, operator: WindowOperator, box: Box) -> tuple[int, int]:
        """Half-open range of the input channels that the box reads."""


class ConvolutionRule(WindowRule[Conv2D]):
    def input_channels(self, operator: Conv2D, box: Box) -> tuple[int, int]:
        return 0, operator.input.shape[CHANNELS]

    def cut(self, operator: Conv2D, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        start, stop = box.starts[CHANNELS], box.stops[CHANNELS]
        cut = replace(
            operator,
            input=site.operand,
            output=site.output,
            weights=channel_part(operator.weights, 0, start, stop),
            bias=bias_part(operator, start, stop),
            requantization=channel_requantization(operator.requantization, start, stop),
            window=cut_window(operator.window, box, operator.input),
        )
        return (cut,)


class DepthwiseRule(WindowRule[DepthwiseConv2D]):
    """Computes all output channels that come from one input channel together."""

    def expand(self, operator: DepthwiseConv2D, box: Box) -> Box:
        start, stop = self.input_channels(operator, box)
        return with_axis(box, CHANNELS, start * operator.depth_multiplier, stop * operator.depth_multiplier)

    def input_channels(self, operator: DepthwiseConv2D, box: Box) -> tuple[int, int]:
        multiplier = operator.depth_multiplier
        return box.starts[CHANNELS] // multiplier, -(-box.stops[CHANNELS] // multiplier)

    def cut(self, operator: DepthwiseConv2D, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        start, stop = box.starts[CHANNELS], box.stops[CHANNELS]
        cut = replace(
            operator,
            input=site.operand,
            output=site.output,
            weights=channel_part(operator.weights, CHANNELS, start, stop),
            bias=bias_part(operator, start, stop),
            requantization=channel_requantization(operator.requantization, start, stop),
            window=cut_window(operator.window, box, operator.input),
        )
        return (cut,)


class _PoolRule(WindowRule[WindowOperator]):
    def input_channels(self, operator: WindowOperator, box: Box) -> tuple[int, int]:
        return box.starts[CHANNELS], box.stops[CHANNELS]

    def cut(self, operator: WindowOperator, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        window = cut_window(operator.window, box, operator.input)
        cut: WindowOperator = replace(operator, input=site.operand, output=site.output, window=window)
        return (cut,)


class AveragePoolRule(_PoolRule[AveragePool2D]):
    pass


class MaxPoolRule(_PoolRule[MaxPool2D]):
    pass


def bias_part(operator: Weighted, start: int, stop: int) -> Tensor | None:
    """The bias of some output channels."""
    return None if operator.bias is None else channel_part(operator.bias, -1, start, stop)
