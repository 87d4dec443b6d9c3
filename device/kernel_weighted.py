"""Convolutions and dense layers over int8, exact to TFLite Micro.

A record's words say everything; see docs/reference/segment-format.md. `t` is the table, `at` the record's place in
it. Inputs are gathered with 128 added into `patch`, weights lie with 128 added in flash, and the bias makes up for
both, so that the innermost loop multiplies unsigned bytes.

The build sets two lines in every file of kernels: _EXTEND is 32 on 64-bit processors, where words are read without
their sign, and 0 on 32-bit ones; _SPLIT is 1 where a product of two words does not fit a register. And it puts the
parts of kernel_inline where a line ends in `# inline`.
"""

from micropython import const

_EXTEND = const(32)
_SPLIT = const(0)


@micropython.viper
def convolution(t: ptr32, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(t) + (at << 2))
    flash = int(constants)
    image = int(arena) + p[2]
    out = ptr8(int(arena) + p[3])
    sums = ptr32(int(arena) + p[3])
    bias = ptr32(flash + p[5])
    partial = ((p[6] << _EXTEND) >> _EXTEND) < 0
    factors = ptr32(flash + (0 if partial else p[6]))
    shifts = ptr8(flash + (0 if partial else p[7]))
    height = p[8]
    width = p[9]
    depth = p[10]
    channels = p[13]
    padding = p[22]
    zero = (p[23] << _EXTEND) >> _EXTEND
    least = (p[24] << _EXTEND) >> _EXTEND
    most = (p[25] << _EXTEND) >> _EXTEND
    patch = ptr8(int(arena) + p[26])
    length = p[14] * p[15] * depth
    whole = int(patch) + (length & -8)
    end = int(patch) + length
    place = 0
    oy = 0
    while oy < p[11]:
        ox = 0
        while ox < p[12]:
            total = gathered(p, image, patch, ox, oy)  # inline
            total = total << 7
            w = flash + p[4]
            o = 0
            while o < channels:
                q = int(patch)
                v = bias[o] - total
                v = multiplied(v, q, w)  # inline
                if partial:
                    sums[place] = v
                else:
                    v = (v << _EXTEND) >> _EXTEND
                    m = factors[o]
                    s = (shifts[o] ^ 128) - 128
                    v = rescaled(v, m, s)  # inline
                    v = clamped(v)  # inline
                    out[place] = v
                place += 1
                o += 1
            ox += 1
        oy += 1


@micropython.viper
def depthwise(t: ptr32, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(t) + (at << 2))
    flash = int(constants)
    image = int(arena) + p[2]
    out = ptr8(int(arena) + p[3])
    bias = ptr32(flash + p[5])
    factors = ptr32(flash + p[6])
    shifts = ptr8(flash + p[7])
    height = p[8]
    width = p[9]
    depth = p[10]
    channels = p[13]
    padding = p[22]
    zero = (p[23] << _EXTEND) >> _EXTEND
    least = (p[24] << _EXTEND) >> _EXTEND
    most = (p[25] << _EXTEND) >> _EXTEND
    multiplier = p[26]
    column = p[19] * depth
    column2 = column * 2
    row = p[18] * width * depth
    place = 0
    oy = 0
    while oy < p[11]:
        top = oy * p[16] - p[20]
        ox = 0
        while ox < p[12]:
            left = ox * p[17] - p[21]
            fast = 0
            if p[14] == 3 and p[15] == 3 and top >= 0 and left >= 0:
                if top + 2 * p[18] < height and left + 2 * p[19] < width:
                    fast = 1
            w = flash + p[4]
            source = image + (top * width + left) * depth
            again = multiplier
            o = 0
            while o < channels:
                v = bias[o]
                if fast:
                    v = inner_taps(v, source, w)  # inline
                else:
                    v = taps(v, source, w)  # inline
                again -= 1
                if again == 0:
                    again = multiplier
                    source += 1
                v = (v << _EXTEND) >> _EXTEND
                m = factors[o]
                s = (shifts[o] ^ 128) - 128
                v = rescaled(v, m, s)  # inline
                v = clamped(v)  # inline
                out[place] = v
                place += 1
                o += 1
            ox += 1
        oy += 1
