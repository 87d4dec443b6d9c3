"""The operators of a model graph, every attribute resolved to what a kernel needs.

Padding modes have become explicit rows and columns, fused activations int8 clamps, scales multipliers and
shifts, axes non-negative, and one-input maps over int8 a table of 256 answers. Nothing here reads files or
computes outputs. Every operator has exactly one output; `inputs` lists its data operands in the file's order
(weights, bias, axes and the like excluded), and a data operand may be a constant.

Source of the operators and their attributes: TensorFlow Lite's schema and TFLite Micro's reference kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal

from fita.tinyml.quantization import Clamp, Requantization, Rescale
from fita.tinyml.tensor import Array, Tensor

BYTES_PER_CHANNEL = 5
"""Requantisation of one output channel as packed: int32 multiplier and int8 shift."""


Function = Literal["LOGISTIC", "TANH", "RELU", "RELU6", "LEAKY_RELU", "QUANTIZE"]
"""The builtin operators that become tables over int8."""


class OperatorClass(StrEnum):
    """Operators whose cost per unit of work is alike on one device; the key of device speed tables.

    OUTPUT is no class of operators but a second kind of work: what convolutions and dense layers do for each of
    their outputs beside the multiply-accumulates, above all to requantise it.
    """

    CONV = "conv"
    POINTWISE = "pointwise"
    DEPTHWISE = "depthwise"
    DENSE = "dense"
    POOL = "pool"
    ELEMENTWISE = "elementwise"
    LOOKUP = "lookup"
    SOFTMAX = "softmax"
    MOVE = "move"
    FLOAT = "float"
    OUTPUT = "output"


class Activation(StrEnum):
    """Fused activations by their name in TensorFlow Lite's schema."""

    NONE = "NONE"
    RELU = "RELU"
    RELU_N1_TO_1 = "RELU_N1_TO_1"
    RELU6 = "RELU6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A kernel window that slides over height and width, with explicit padding."""

    height: int
    width: int
    stride_height: int = 1
    stride_width: int = 1
    dilation_height: int = 1
    dilation_width: int = 1
    pad_top: int = 0
    pad_left: int = 0
    pad_bottom: int = 0
    pad_right: int = 0

    def input_rows(self, first: int, last: int, input_height: int) -> tuple[int, int]:
        """Half-open range of the input rows that the output rows first..last-1 read, clipped to the input."""
        start = first * self.stride_height - self.pad_top
        stop = (last - 1) * self.stride_height - self.pad_top + (self.height - 1) * self.dilation_height + 1
        start = min(max(start, 0), input_height)
        return start, min(max(stop, start), input_height)


@dataclass(frozen=True, eq=False, kw_only=True)
class OperatorBase:
    """What all operators share. `index` is the place in the file, `output` the only output."""

    index: int
    output: Tensor

    kind: ClassVar[str]
    """The builtin operator's name in TensorFlow Lite's schema, such as CONV_2D."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    @property
    def activation_inputs(self) -> tuple[Tensor, ...]:
        """The inputs that are computed or fed, without constants and without repetition."""
        return tuple(dict.fromkeys(tensor for tensor in self.inputs if not tensor.is_constant))

    @property
    def operator_class(self) -> OperatorClass:
        raise NotImplementedError

    @property
    def macs(self) -> int:
        """Work in the unit of `operator_class`: multiply-accumulates, or elements handled where there are none."""
        return self.output.elements

    @property
    def work(self) -> Mapping[OperatorClass, int]:
        """All that takes time, each kind in its own unit."""
        return {self.operator_class: self.macs}

    @property
    def weight_bytes(self) -> int:
        """Bytes of constants as packed: int8 weights, int32 bias, 5 bytes a channel, tables, constant inputs."""
        return sum(tensor.size_bytes for tensor in self.inputs if tensor.is_constant)

    @property
    def name(self) -> str:
        """For messages: kind, place and output name."""
        return f"{self.kind} (operator {self.index}, output {self.output.name!r})"


@dataclass(frozen=True, eq=False, kw_only=True)
class OneInput(OperatorBase):
    input: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.input,)


@dataclass(frozen=True, eq=False, kw_only=True)
class Weighted(OneInput):
    """Accumulates (input - input.zero_point) * weight + bias in int32, then requantises per output channel.

    `weights` is int8 with zero point 0, `bias` int32 of one element per output channel or None.
    """

    weights: Tensor
    bias: Tensor | None
    requantization: Requantization
    activation: Activation = Activation.NONE

    @property
    def output_channels(self) -> int:
        return self.output.shape[-1]

    @property
    def work(self) -> Mapping[OperatorClass, int]:
        return {self.operator_class: self.macs, OperatorClass.OUTPUT: self.output.elements}

    @property
    def weight_bytes(self) -> int:
        bias_bytes = self.bias.size_bytes if self.bias else 0
        return self.weights.size_bytes + bias_bytes + BYTES_PER_CHANNEL * self.output_channels


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv2D(Weighted):
    """CONV_2D: input 1xHxWxI, weights OxKHxKWxI, output 1xH'xW'xO."""

    window: Window
    kind: ClassVar[str] = "CONV_2D"

    @property
    def is_pointwise(self) -> bool:
        return self.window == Window(height=1, width=1)

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.POINTWISE if self.is_pointwise else OperatorClass.CONV

    @property
    def macs(self) -> int:
        return self.output.elements * self.window.height * self.window.width * self.input.shape[3]


@dataclass(frozen=True, eq=False, kw_only=True)
class DepthwiseConv2D(Weighted):
    """DEPTHWISE_CONV_2D: weights 1xKHxKWxO; output channel o reads input channel o // depth_multiplier."""

    window: Window
    depth_multiplier: int
    kind: ClassVar[str] = "DEPTHWISE_CONV_2D"

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.DEPTHWISE

    @property
    def macs(self) -> int:
        return self.output.elements * self.window.height * self.window.width


@dataclass(frozen=True, eq=False, kw_only=True)
class FullyConnected(Weighted):
    """FULLY_CONNECTED: weights OxI; the input is read as rows of I elements, the output as rows of O."""

    kind: ClassVar[str] = "FULLY_CONNECTED"

    @property
    def rows(self) -> int:
        return self.input.elements // self.weights.shape[1]

    @property
    def output_channels(self) -> int:
        return self.weights.shape[0]

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.DENSE

    @property
    def macs(self) -> int:
        return self.rows * self.weights.elements


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(OneInput):
    """A window over height and width of 1xHxWxC; input and output share scale and zero point."""

    window: Window
    clamp: Clamp
    activation: Activation = Activation.NONE

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.POOL

    @property
    def macs(self) -> int:
        return self.output.elements * self.window.height * self.window.width


@dataclass(frozen=True, eq=False, kw_only=True)
class AveragePool2D(Pool):
    """AVERAGE_POOL_2D: padding does not count; the mean of stored values rounds half away from zero."""

    kind: ClassVar[str] = "AVERAGE_POOL_2D"


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool2D(Pool):
    """MAX_POOL_2D: padding does not count."""

    kind: ClassVar[str] = "MAX_POOL_2D"


@dataclass(frozen=True, eq=False, kw_only=True)
class TwoInputs(OperatorBase):
    """Element by element over two tensors, broadcast to the output's shape as NumPy does."""

    lhs: Tensor
    rhs: Tensor
    clamp: Clamp
    output_rescale: Rescale
    activation: Activation = Activation.NONE

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.lhs, self.rhs)

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.ELEMENTWISE


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(TwoInputs):
    """ADD: both operands shifted left by 20 bits, rescaled to a common scale, added, rescaled to the output's."""

    lhs_rescale: Rescale
    rhs_rescale: Rescale
    kind: ClassVar[str] = "ADD"


@dataclass(frozen=True, eq=False, kw_only=True)
class Sub(Add):
    """SUB: as ADD with the second operand subtracted."""

    kind: ClassVar[str] = "SUB"


@dataclass(frozen=True, eq=False, kw_only=True)
class Mul(TwoInputs):
    """MUL: the product of both without their zero points, rescaled once."""

    kind: ClassVar[str] = "MUL"


@dataclass(frozen=True, eq=False, kw_only=True)
class Lookup(OneInput):
    """A one-input map over int8: output = table[input + 128].

    `table` is int8 of 256 elements. `function` names the builtin operator that it came from;
    `alpha` is LEAKY_RELU's slope for negative inputs.
    """

    function: Function
    table: Array
    alpha: float = 0.0
    kind: ClassVar[str] = "LOOKUP"

    @property
    def name(self) -> str:
        return f"{self.function} (operator {self.index}, output {self.output.name!r})"

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.LOOKUP

    @property
    def weight_bytes(self) -> int:
        return 256


@dataclass(frozen=True, eq=False, kw_only=True)
class Softmax(OneInput):
    """SOFTMAX over the last axis. Output scale 1/256, zero point -128.

    `exponentials` holds gemmlowp's exp_on_negative_values for row maximum minus element = 0..255: int32 with 0
    integer bits (Q0.31), and 0 where the difference lies below the kernel's `diff_min`.
    """

    beta: float
    exponentials: Array
    kind: ClassVar[str] = "SOFTMAX"

    @property
    def depth(self) -> int:
        return self.input.shape[-1]

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.SOFTMAX

    @property
    def weight_bytes(self) -> int:
        return 4 * len(self.exponentials)


@dataclass(frozen=True, eq=False, kw_only=True)
class Mean(OneInput):
    """MEAN over `axes` (ascending, non-negative): the sum of n stored values less n zero points, rescaled.

    `rescale` has 1 / n worked into it.
    """

    axes: tuple[int, ...]
    keep_dims: bool
    rescale: Rescale
    kind: ClassVar[str] = "MEAN"

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.POOL

    @property
    def macs(self) -> int:
        return self.input.elements


@dataclass(frozen=True, eq=False, kw_only=True)
class Move(OneInput):
    """Copies elements without arithmetic."""

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.MOVE


@dataclass(frozen=True, eq=False, kw_only=True)
class Concatenation(OperatorBase):
    """CONCATENATION along `axis`."""

    operands: tuple[Tensor, ...]
    axis: int
    kind: ClassVar[str] = "CONCATENATION"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self.operands

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.MOVE


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(Move):
    """PAD: `paddings` holds (before, after) for each axis, filled with the stored value `fill`."""

    paddings: tuple[tuple[int, int], ...]
    fill: int
    kind: ClassVar[str] = "PAD"


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Move):
    """RESHAPE: the same elements in the same order under the output's shape."""

    kind: ClassVar[str] = "RESHAPE"


@dataclass(frozen=True, eq=False, kw_only=True)
class Transpose(Move):
    """TRANSPOSE: output axis i is input axis permutation[i]."""

    permutation: tuple[int, ...]
    kind: ClassVar[str] = "TRANSPOSE"


@dataclass(frozen=True, eq=False, kw_only=True)
class StridedSlice(Move):
    """STRIDED_SLICE with masks resolved: from each axis `counts` elements from `starts` in steps of `strides`.

    A stride may be negative. The output's shape may lack axes of one element.
    """

    starts: tuple[int, ...]
    counts: tuple[int, ...]
    strides: tuple[int, ...]
    kind: ClassVar[str] = "STRIDED_SLICE"


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantize(OneInput):
    """QUANTIZE from float32 to int8: round half away from zero of input / scale, plus zero point, clamped."""

    kind: ClassVar[str] = "QUANTIZE"

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.FLOAT


@dataclass(frozen=True, eq=False, kw_only=True)
class Dequantize(OneInput):
    """DEQUANTIZE from int8 to float32: scale * (input - zero point)."""

    kind: ClassVar[str] = "DEQUANTIZE"

    @property
    def operator_class(self) -> OperatorClass:
        return OperatorClass.FLOAT


Operator = (
    Conv2D
    | DepthwiseConv2D
    | FullyConnected
    | AveragePool2D
    | MaxPool2D
    | Add
    | Sub
    | Mul
    | Lookup
    | Softmax
    | Mean
    | Concatenation
    | Pad
    | Reshape
    | Transpose
    | StridedSlice
    | Quantize
    | Dequantize
)
