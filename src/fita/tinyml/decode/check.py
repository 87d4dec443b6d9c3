"""Checks and figures that several decoders share. The first argument is the operator that asks, and is blamed."""

from __future__ import annotations

import math

import numpy as np

from fita.tinyml.decode.operator_source import OperatorSource
from fita.tinyml.operator import Activation
from fita.tinyml.quantization import INT32_MAX, Clamp, Rescale, quantize_multiplier
from fita.tinyml.tensor import Tensor

SUM_MAX = INT32_MAX - 256
"""Sums stay this far inside int32, so that adding a zero point cannot leave it either."""

_ACTIVATIONS = {0: Activation.NONE, 1: Activation.RELU, 2: Activation.RELU_N1_TO_1, 3: Activation.RELU6}
_ACTIVATION_LIMITS = {
    Activation.NONE: (-math.inf, math.inf),
    Activation.RELU: (0.0, math.inf),
    Activation.RELU_N1_TO_1: (-1.0, 1.0),
    Activation.RELU6: (0.0, 6.0),
}


def fused_activation(source: OperatorSource) -> Activation:
    """The fused activation."""
    number = source.integer("FusedActivationFunction")
    if number not in _ACTIVATIONS:
        source.refuse(f"fused activation number {number}", "use RELU, RELU6 or RELU_N1_TO_1, or none")
    return _ACTIVATIONS[number]


def output_clamp(source: OperatorSource) -> Clamp:
    """The output's int8 range under the fused activation."""
    return output_clamp_to(source, *_ACTIVATION_LIMITS[fused_activation(source)])


def output_clamp_to(source: OperatorSource, least: float, most: float) -> Clamp:
    """The int8 range of real values from least to most at the output's quantisation."""
    return Clamp(minimum=max(-128, _stored(source, least)), maximum=min(127, _stored(source, most)))


def _stored(source: OperatorSource, value: float) -> int:
    if math.isinf(value):
        return -128 if value < 0 else 127
    quotient = np.float32(value) / np.float32(source.output.scale)
    if not abs(quotient) < INT32_MAX:
        source.refuse(f"the activation's limit {value} is beyond 32 bits at scale {source.output.scale}")
    return source.output.zero_point + int(math.copysign(math.floor(abs(float(quotient)) + 0.5), quotient))


def check_same_quantization(source: OperatorSource, first: Tensor, second: Tensor, tolerance: float = 0.0) -> None:
    """TFLite Micro copies such values without rescaling, so scales and zero points must agree."""
    if abs(first.scale - second.scale) > tolerance or first.zero_point != second.zero_point:
        source.refuse(
            f"tensors {first.index} and {second.index} differ in scale or zero point, which it only copies",
            "convert with a newer converter, which inserts QUANTIZE",
        )


def check_same_shape(source: OperatorSource, first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        source.contradict(f"shapes {list(first.shape)} and {list(second.shape)} where equal ones belong")


def check_rank(source: OperatorSource, limit: int, *tensors: Tensor) -> None:
    if any(len(tensor.shape) > limit for tensor in tensors):
        source.refuse(f"more than {limit} dimensions", "reshape to fewer dimensions")


def bounded_rescale(source: OperatorSource, factor: float, bound: int) -> Rescale:
    """A factor for sums of at most `bound`, refused where the kernel's 32 bits would not hold them."""
    try:
        result = quantize_multiplier(factor)
    except OverflowError as error:
        source.refuse(str(error), "choose scales that lie closer together")
    check_sum(source, bound << max(result.shift, 0))
    return result


def check_sum(source: OperatorSource, sum_bound: int) -> None:
    if sum_bound > SUM_MAX:
        source.refuse(
            "its sums may leave 32 bits", "use fewer inputs a channel or scales that lie closer together"
        )
