"""Element by element: ADD, SUB, MUL, tables, QUANTIZE, SOFTMAX. See kernel_weighted for names and builds.

Exact to TFLite Micro without floats: borders to float32 are tables and comparisons of bits.
"""

from micropython import const

_EXTEND = const(32)
_SPLIT = const(0)


@micropython.viper
def elementwise(t: ptr32, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(t) + (at << 2))
    lhs = int(constants if p[3] else arena) + p[4]
    rhs = int(constants if p[5] else arena) + p[6]
    out = ptr8(int(arena) + p[7])
    zero = (p[19] << _EXTEND) >> _EXTEND
    least = (p[20] << _EXTEND) >> _EXTEND
    most = (p[21] << _EXTEND) >> _EXTEND
    mode = p[2]
    place = 0
    level = 0
    while level < 5:
        left = lhs
        right = rhs
        count = p[8]
        while count > 0:
            a = ptr8(left)
            b = ptr8(right)
            v = (a[0] ^ 128) - p[11]
            other = (b[0] ^ 128) - p[12]
            # Three factors in turn: left operand, right operand, sum; a product has only the last.
            at = 13
            if mode == 2:
                v = v * other
                at = 17
            else:
                v = v << 20
                other = other << 20
            while True:
                m = p[at]
                s = (p[at + 1] << _EXTEND) >> _EXTEND
                v = rescaled(v, m, s)  # inline
                if at == 13:
                    r = v
                    v = other
                    other = r
                elif at == 15:
                    v = other - v if mode else other + v
                else:
                    break
                at += 2
            v = clamped(v)  # inline
            out[place] = v
            place += 1
            left += p[9]
            right += p[10]
            count -= 1
        level = 0
        while level < 5:
            c = p[37 + level] + 1
            lhs += p[27 + level]
            rhs += p[32 + level]
            if c < p[22 + level]:
                p[37 + level] = c
                break
            lhs -= p[27 + level] * c
            rhs -= p[32 + level] * c
            p[37 + level] = 0
            level += 1


@micropython.viper
def lookup(t: ptr32, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(t) + (at << 2))
    a = ptr8(int(arena) + p[2])
    out = ptr8(int(arena) + p[3])
    table = ptr8(int(constants) + p[4])
    i = 0
    n = p[5]
    while i < n:
        out[i] = table[a[i] ^ 128]
        i += 1


@micropython.viper
def dequantize(t: ptr32, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(t) + (at << 2))
    a = ptr8(int(arena) + p[2])
    out = ptr32(int(arena) + p[3])
    table = ptr32(int(constants) + p[4])
    i = 0
    n = p[5]
    while i < n:
        out[i] = table[a[i] ^ 128]
        i += 1


@micropython.viper
def quantize(t: ptr32, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(t) + (at << 2))
    a = ptr32(int(arena) + p[2])
    out = ptr8(int(arena) + p[3])
    table = ptr32(int(constants) + p[4])
    i = 0
    while i < p[5]:
        v = (a[i] << _EXTEND) >> _EXTEND
        if (v & p[7]) > p[8]:
            out[i] = p[6]
        else:
            if v < 0:
                v = v ^ p[7]
            low = 0
            high = 255
            while low < high:
                middle = (low + high) >> 1
                if ((table[middle] << _EXTEND) >> _EXTEND) <= v:
                    low = middle + 1
                else:
                    high = middle
            out[i] = low - 128
        i += 1


@micropython.viper
def _product(t, at: int):
    # The doubling high product of words 10 and 11 into word 10; word 11 is not negative.
    p = ptr32(int(ptr32(t)) + (at << 2))
    v = (p[10] << _EXTEND) >> _EXTEND
    m = p[11]
    v = high_product(v, m)  # inline
    p[10] = v


@micropython.viper
def softmax(t, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(ptr32(t)) + (at << 2))
    source = int(arena) + p[2]
    target = int(arena) + p[3]
    table = ptr32(int(constants) + p[4])
    depth = p[6]
    row = 0
    while row < p[5]:
        a = ptr8(source)
        out = ptr8(target)
        top = 0
        i = 0
        while i < depth:
            v = a[i] ^ 128
            if v > top:
                top = v
            i += 1
        total = 0
        i = 0
        while i < depth:
            v = table[top - (a[i] ^ 128)]
            total += v >> 12
            if (v & 4095) > 2047:
                total += 1
            i += 1
        fraction = reciprocal(p, total)  # inline
        mask = (1 << bits) - 1
        i = 0
        while i < depth:
            v = table[top - (a[i] ^ 128)]
            m = fraction
            v = high_product(v, m)  # inline
            r = v & mask
            v = (v >> bits) - 128
            if r > (mask >> 1):
                v += 1
            if v > 127:
                v = 127
            out[i] = v
            i += 1
        source += depth
        target += depth
        row += 1
