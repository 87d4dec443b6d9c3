"""The kernels by the numbers that records carry: viper, or native code where the port has it and it is faster."""

from time import ticks_diff, ticks_us

from kernel_element import dequantize, elementwise, lookup, quantize, softmax
from kernel_move import copy, fill
from kernel_weighted import convolution, depthwise
from kernel_window import accumulate, mean, pool
from micropython import const

_LEAST_US = const(50)

KERNELS = [
    None,
    convolution,
    depthwise,
    pool,
    pool,
    elementwise,
    lookup,
    dequantize,
    quantize,
    softmax,
    mean,
    copy,
    fill,
    accumulate,
]
# The viper kernels that have not been measured against the native ones in KERNELS.
_others = [None] * len(KERNELS)

try:
    import kernel_native
except (ImportError, ValueError):
    NATIVE = False
else:
    NATIVE = True
    for code, kernel in kernel_native.KERNELS:
        _others[code] = KERNELS[code]
        KERNELS[code] = kernel


def _taken_us(kernel, table, at, arena, constants):
    start = ticks_us()
    kernel(table, at, arena, constants)
    return ticks_diff(ticks_us(), start)


def chosen(table, at, arena, constants, code):
    """The kernel for the record at `at`, which may be run to find out: nothing of worth may be in the arena yet.

    Native code stays unless viper takes less time, on the first record of its number that takes the native one
    _LEAST_US; below, the call and the clock would be what is measured. An interrupt must not decide, so native code
    gets a second try. Both give the same bytes, so only time depends on the choice.
    """
    other = _others[code]
    if other is not None:
        native = KERNELS[code]
        least = _taken_us(native, table, at, arena, constants)
        if least >= _LEAST_US:
            _others[code] = None
            taken = _taken_us(other, table, at, arena, constants)
            if taken < least and taken < _taken_us(native, table, at, arena, constants):
                KERNELS[code] = other
    return KERNELS[code]
