"""The kernels by the numbers that records carry: native code where the port has it, viper elsewhere."""

from kernel_element import dequantize, elementwise, lookup, quantize, softmax
from kernel_move import copy, fill
from kernel_weighted import convolution, depthwise
from kernel_window import accumulate, mean, pool

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

try:
    import kernel_native
except (ImportError, ValueError):
    NATIVE = False
else:
    NATIVE = True
    for code, kernel in kernel_native.KERNELS:
        KERNELS[code] = kernel
