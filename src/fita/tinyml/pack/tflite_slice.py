"""Segments as `.tflite` files, for devices that run TFLite Micro.

Only what the file format can say: whole operators, as layer cuts leave them. Slabs with padding of their own and
sums over input channels are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fita.tinyml.decode import flatbuffer
from fita.tinyml.decode.model_file import FileModel, FileOperator, FileTensor, Number
from fita.tinyml.errors import PackError
from fita.tinyml.operator import (
    Activation,
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    Lookup,
    MaxPool2D,
    Mean,
    Mul,
    OneInput,
    OperatorBase,
    Pad,
    Quantize,
    Reshape,
    Softmax,
    StridedSlice,
    Sub,
    Transpose,
    Window,
)
from fita.tinyml.segment import Segment
from fita.tinyml.tensor import Array, Tensor

_SAME, _VALID = 0, 1
_ACTIVATIONS = {
    Activation.NONE: 0, Activation.RELU: 1, Activation.RELU_N1_TO_1: 2, Activation.RELU6: 3,
}  # fmt: skip
_HINT = "export layer cuts, or pack the segment for FITA's own runtime"


def tflite_slice(segment: Segment) -> bytes:
    """A .tflite file with the segment's inputs and outputs in its order.

    `PackError` for a segment that TFLite Micro cannot run.
    """
    if not segment.operators:
        raise PackError(f"segment {segment.index} has no operators", hint="give it to no device")
    slice_ = _Slice()
    for tensor in segment.inputs:
        slice_.number(tensor)
    for operator in segment.operators:
        write = _WRITERS.get(type(operator))
        if write is None:
            raise PackError(f"segment {segment.index}: {operator.name} is no operator of TFLite", hint=_HINT)
        write(slice_, operator)
    return flatbuffer.write(
        FileModel(
            tensors=tuple(slice_.tensors),
            operators=tuple(slice_.operators),
            inputs=tuple(map(slice_.number, segment.inputs)),
            outputs=tuple(map(slice_.number, segment.outputs)),
            description=f"FITA segment {segment.index}",
        )
    )


class _Slice:
    """A file under construction."""

    def __init__(self) -> None:
        self.tensors: list[FileTensor] = []
        self.operators: list[FileOperator] = []
        self._numbers: dict[Tensor, int] = {}

    def number(self, tensor: Tensor) -> int:
        """The tensor's number in the file."""
        if tensor not in self._numbers:
            self._numbers[tensor] = len(self.tensors)
            self.tensors.append(
                FileTensor(
                    name=tensor.name,
                    shape=tensor.shape,
                    dtype=tensor.dtype,
                    scales=tensor.scales,
                    zero_points=tensor.zero_points,
                    quantized_dimension=tensor.quantized_dimension,
                    data=None if tensor.data is None else _little_endian(tensor.data),
                )
            )
        return self._numbers[tensor]

    def parameter(self, name: str, values: Sequence[Any]) -> int:
        """A constant of int32 that an operator takes as an operand."""
        array = np.asarray(values, dtype=np.int32)
        self.tensors.append(FileTensor(name=name, shape=array.shape, dtype="int32", data=_little_endian(array)))
        return len(self.tensors) - 1

    def operator(self, operator: OperatorBase, name: str, *more: int, **options: Number) -> None:
        """One operator; its parameters come after its data operands."""
        inputs = (*map(self.number, operator.inputs), *more)
        outputs = (self.number(operator.output),)
        self.operators.append(FileOperator(name=name, inputs=inputs, outputs=outputs, options=options))


def _little_endian(array: Array) -> bytes:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def _weights(slice_: _Slice, operator: Conv2D | DepthwiseConv2D | FullyConnected) -> tuple[int, ...]:
    """Weights and, where there is one, bias: left out, not empty, or TFLite Micro reads one that is not there."""
    constants = (operator.weights,) if operator.bias is None else (operator.weights, operator.bias)
    return tuple(map(slice_.number, constants))


def _conv_2d(slice_: _Slice, operator: Conv2D) -> None:
    options = _window_options(operator, operator.window, operator.activation) | _dilation(operator.window)
    slice_.operator(operator, "CONV_2D", *_weights(slice_, operator), **options)


def _depthwise_conv_2d(slice_: _Slice, operator: DepthwiseConv2D) -> None:
    options = _window_options(operator, operator.window, operator.activation) | _dilation(operator.window)
    options["DepthMultiplier"] = operator.depth_multiplier
    slice_.operator(operator, "DEPTHWISE_CONV_2D", *_weights(slice_, operator), **options)


def _dilation(window: Window) -> dict[str, Number]:
    return {"DilationWFactor": window.dilation_width, "DilationHFactor": window.dilation_height}


def _pool_2d(slice_: _Slice, operator: AveragePool2D | MaxPool2D) -> None:
    options = _window_options(operator, operator.window, operator.activation)
    options |= {"FilterWidth": operator.window.width, "FilterHeight": operator.window.height}
    slice_.operator(operator, operator.kind, **options)


def _window_options(operator: OneInput, window: Window, activation: Activation) -> dict[str, Number]:
    return {
        "Padding": _padding(operator, window),
        "StrideW": window.stride_width,
        "StrideH": window.stride_height,
        "FusedActivationFunction": _ACTIVATIONS[activation],
    }


def _padding(operator: OneInput, window: Window) -> int:
    """Which of the two modes gives this window's padding."""
    axes = (
        (1, window.height, window.stride_height, window.dilation_height, window.pad_top),
        (2, window.width, window.stride_width, window.dilation_width, window.pad_left),
    )
    valid = same = True
    for axis, extent, stride, dilation, before in axes:
        size, count = operator.input.shape[axis], operator.output.shape[axis]
        reach = (extent - 1) * dilation + 1
        valid = valid and before == 0 and count == (size - reach) // stride + 1
        missing = max((count - 1) * stride + reach - size, 0)
        same = same and count == -(-size // stride) and before == missing // 2
    if not valid and not same:
        raise PackError(f"{operator.name} has padding of its own, as slabs have", hint=_HINT)
    return _VALID if valid else _SAME


def _fully_connected(slice_: _Slice, operator: FullyConnected) -> None:
    slice_.operator(
        operator,
        "FULLY_CONNECTED",
        *_weights(slice_, operator),
        FusedActivationFunction=_ACTIVATIONS[operator.activation],
        WeightsFormat=0,
        KeepNumDims=int(len(operator.output.shape) != 2),
    )


def _two_inputs(slice_: _Slice, operator: Add | Sub | Mul) -> None:
    slice_.operator(operator, operator.kind, FusedActivationFunction=_ACTIVATIONS[operator.activation])


def _lookup(slice_: _Slice, operator: Lookup) -> None:
    options = {"Alpha": operator.alpha} if operator.function == "LEAKY_RELU" else {}
    slice_.operator(operator, operator.function, **options)


def _softmax(slice_: _Slice, operator: Softmax) -> None:
    slice_.operator(operator, "SOFTMAX", Beta=operator.beta)


def _mean(slice_: _Slice, operator: Mean) -> None:
    axes = slice_.parameter(f"{operator.output.name} axes", operator.axes)
    slice_.operator(operator, "MEAN", axes, KeepDims=int(operator.keep_dims))


def _concatenation(slice_: _Slice, operator: Concatenation) -> None:
    slice_.operator(operator, "CONCATENATION", Axis=operator.axis, FusedActivationFunction=0)


def _pad(slice_: _Slice, operator: Pad) -> None:
    if operator.output.zero_points and operator.fill != operator.output.zero_point:
        raise PackError(f"{operator.name} pads with {operator.fill}, not with zero", hint=_HINT)
    slice_.operator(operator, "PAD", slice_.parameter(f"{operator.output.name} paddings", operator.paddings))


def _reshape(slice_: _Slice, operator: Reshape) -> None:
    slice_.operator(operator, "RESHAPE", slice_.parameter(f"{operator.output.name} shape", operator.output.shape))


def _transpose(slice_: _Slice, operator: Transpose) -> None:
    order = slice_.parameter(f"{operator.output.name} permutation", operator.permutation)
    slice_.operator(operator, "TRANSPOSE", order)


def _strided_slice(slice_: _Slice, operator: StridedSlice) -> None:
    # A single step may as well go forward, and must where its axis is dropped.
    strides = [stride if count > 1 else 1 for stride, count in zip(operator.strides, operator.counts, strict=True)]
    walks = zip(operator.starts, operator.counts, strides, strict=True)
    ends = [start + stride * count for start, count, stride in walks]
    # An end before the first element cannot be written: it would count from the back.
    masked = sum(1 << axis for axis, end in enumerate(ends) if end < 0)
    name = operator.output.name
    slice_.operator(
        operator,
        "STRIDED_SLICE",
        slice_.parameter(f"{name} begin", operator.starts),
        slice_.parameter(f"{name} end", [max(end, 0) for end in ends]),
        slice_.parameter(f"{name} strides", strides),
        BeginMask=0,
        EndMask=masked,
        EllipsisMask=0,
        NewAxisMask=0,
        ShrinkAxisMask=_dropped(operator),
        Offset=0,
    )


def _dropped(operator: StridedSlice) -> int:
    """The axes of one element that the output lacks, as bits."""
    mask, kept = 0, list(operator.output.shape)
    for axis, count in enumerate(operator.counts):
        if kept and kept[0] == count and len(kept) <= len(operator.counts) - axis:
            kept.pop(0)
        else:
            mask |= 1 << axis
    return mask


def _plain(slice_: _Slice, operator: Quantize | Dequantize) -> None:
    slice_.operator(operator, operator.kind)


_WRITERS: dict[type[OperatorBase], Callable[[_Slice, Any], None]] = {
    Add: _two_inputs,
    AveragePool2D: _pool_2d,
    Concatenation: _concatenation,
    Conv2D: _conv_2d,
    DepthwiseConv2D: _depthwise_conv_2d,
    Dequantize: _plain,
    FullyConnected: _fully_connected,
    Lookup: _lookup,
    MaxPool2D: _pool_2d,
    Mean: _mean,
    Mul: _two_inputs,
    Pad: _pad,
    Quantize: _plain,
    Reshape: _reshape,
    Softmax: _softmax,
    StridedSlice: _strided_slice,
    Sub: _two_inputs,
    Transpose: _transpose,
}
