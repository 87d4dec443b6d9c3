"""Pools, means, the joining of partial sums, exact to TFLite Micro. See kernel_weighted for names and builds."""

from micropython import const

_EXTEND = const(32)
_SPLIT = const(0)


@micropython.viper
def pool(t: ptr32, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(t) + (at << 2))
    image = int(arena) + p[2]
    out = ptr8(int(arena) + p[3])
    width = p[5]
    depth = p[6]
    row = width * depth
    least = (p[17] << _EXTEND) >> _EXTEND
    most = (p[18] << _EXTEND) >> _EXTEND
    zero = 0
    largest = p[0] == 4
    place = 0
    oy = 0
    while oy < p[7]:
        top = oy * p[11] - p[15]
        bottom = top + p[9]
        if bottom > p[4]:
            bottom = p[4]
        if top < 0:
            top = 0
        ox = 0
        while ox < p[8]:
            left = ox * p[12] - p[16]
            right = left + p[10]
            if right > width:
                right = width
            if left < 0:
                left = 0
            n = (bottom - top) * (right - left)
            if n < 1:
                n = 1
            half = n >> 1
            first = image + top * row + left * depth
            end = first + (bottom - top) * row
            reach = (right - left) * depth
            c = 0
            while c < depth:
                v = pooled(first, c)  # inline
                if largest:
                    v -= 128
                else:
                    v -= n << 7
                    if v > 0:
                        v = (v + half) // n
                    else:
                        v = 0 - ((half - v) // n)
                v = clamped(v)  # inline
                out[place] = v
                place += 1
                c += 1
            ox += 1
        oy += 1


@micropython.viper
def mean(t: ptr32, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(t) + (at << 2))
    source = int(arena) + p[2]
    out = ptr8(int(arena) + p[3])
    zero = (p[11] << _EXTEND) >> _EXTEND
    place = 0
    level = 0
    while level < 5:
        v = 0 - p[8]
        first = source
        i = p[6]
        while i > 0:
            q = first
            j = p[4]
            while j > 0:
                a = ptr8(q)
                v += a[0] ^ 128
                q += p[5]
                j -= 1
            first += p[7]
            i -= 1
        m = p[9]
        s = (p[10] << _EXTEND) >> _EXTEND
        v = rescaled(v, m, s)  # inline
        v += zero
        if v < -128:
            v = -128
        if v > 127:
            v = 127
        out[place] = v
        place += 1
        level = 0
        while level < 5:
            c = p[22 + level] + 1
            source += p[17 + level]
            if c < p[12 + level]:
                p[22 + level] = c
                break
            source -= p[17 + level] * c
            p[22 + level] = 0
            level += 1


@micropython.viper
def accumulate(t: ptr32, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(t) + (at << 2))
    base = int(arena)
    out = ptr8(base + p[2])
    factors = ptr32(int(constants) + p[5])
    shifts = ptr8(int(constants) + p[6])
    zero = (p[7] << _EXTEND) >> _EXTEND
    least = (p[8] << _EXTEND) >> _EXTEND
    most = (p[9] << _EXTEND) >> _EXTEND
    place = 0
    rows = p[3]
    while rows > 0:
        o = 0
        while o < p[4]:
            v = 0
            k = p[10]
            while k > 0:
                sums = ptr32(base + p[10 + k])
                v += sums[place]
                k -= 1
            v = (v << _EXTEND) >> _EXTEND
            m = factors[o]
            s = (shifts[o] ^ 128) - 128
            v = rescaled(v, m, s)  # inline
            v = clamped(v)  # inline
            out[place] = v
            place += 1
            o += 1
        rows -= 1
