"""Fixed-point arithmetic of TFLite Micro's int8 kernels, exact to the bit, on NumPy arrays.

Source: gemmlowp's fixedpoint.h and TensorFlow Lite's kernels/internal (common.h, quantization_util.cc), in the
double-rounding form that TFLite Micro is built with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamp:
    """The int8 range that outputs are held in: the type's own, narrowed by a fused activation."""

    minimum: int = -128
    maximum: int = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """The real factor multiplier / 2^31 * 2^shift: a Q31 `multiplier`, a `shift` positive to the left."""

    multiplier: int
    shift: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Requantization:
    """int32 accumulators to int8, one `multipliers` and `shifts` element per output channel (always expanded).

    output = clamp(multiply_by_quantized_multiplier(accumulator, multiplier, shift) + output_zero_point)
    """

    multipliers: Int32Array
    shifts: Int32Array
    output_zero_point: int
    clamp: Clamp
