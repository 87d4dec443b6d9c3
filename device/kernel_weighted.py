"""Convolutions and dense layers over int8, exact to TFLite Micro.

A record's words say everything; see docs/reference/segment-format.md. `t` is the table, `at` the record's place in
it. Inputs are gathered with 128 added into `patch`, weights lie with 128 added in flash, and the bias makes up for
both, so that the innermost loop multiplies unsigned bytes.

_EXTEND is 32 on 64-bit processors, where words are read without their sign, and 0 on 32-bit ones; _SPLIT is 1
where a product of two words does not fit a register. Builds set both lines.
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
            total = 0
            k = 0
            y = oy * p[16] - p[20]
            ky = p[14]
            while ky > 0:
                x = ox * p[17] - p[21]
                kx = p[15]
                while kx > 0:
                    i = 0
                    if y >= 0 and y < height and x >= 0 and x < width:
                        pixel = ptr8(image + (y * width + x) * depth)
                        while i < depth:
                            value = pixel[i] ^ 128
                            patch[k] = value
                            total += value
                            k += 1
                            i += 1
                    else:
                        total += padding * depth
                        while i < depth:
                            patch[k] = padding
                            k += 1
                            i += 1
                    x += p[19]
                    kx -= 1
                y += p[18]
                ky -= 1
            total = total << 7
            w = flash + p[4]
            o = 0
            while o < channels:
                q = int(patch)
                v = bias[o] - total
                while q < whole:
                    a = ptr8(q)
                    b = ptr8(w)
                    v += a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3] + a[4] * b[4] + a[5] * b[5] + a[6] * b[6] + a[7] * b[7]
                    q += 8
                    w += 8
                while q < end:
                    a = ptr8(q)
                    b = ptr8(w)
                    v += a[0] * b[0]
                    q += 1
                    w += 1
                if partial:
                    sums[place] = v
                else:
                    v = (v << _EXTEND) >> _EXTEND
                    m = factors[o]
                    s = (shifts[o] ^ 128) - 128
                    if s > 0:
                        v = v << s
                    if _SPLIT:
                        h = v >> 16
                        r = v & 65535
                        n = m & 65535
                        m = m >> 16
                        e = h * n
                        d = r * m
                        r = (r * (n >> 8) + ((r * (n & 255)) >> 8)) >> 8
                        v = ((h * m) << 1) + (e >> 15) + (d >> 15) + (((e & 32767) + (d & 32767) + r + 16384) >> 15)
                    else:
                        v = (((v * m) >> 30) + 1) >> 1
                    if s < 0:
                        m = (1 << (0 - s)) - 1
                        r = v & m
                        m = m >> 1
                        if v < 0:
                            m += 1
                        v = v >> (0 - s)
                        if r > m:
                            v += 1
                    v += zero
                    if v < least:
                        v = least
                    if v > most:
                        v = most
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
                    b = ptr8(w)
                    a = ptr8(source)
                    v += (a[0] ^ 128) * (b[0] - 128) + (a[column] ^ 128) * (b[1] - 128) + (a[column2] ^ 128) * (b[2] - 128)
                    a = ptr8(source + row)
                    v += (a[0] ^ 128) * (b[3] - 128) + (a[column] ^ 128) * (b[4] - 128) + (a[column2] ^ 128) * (b[5] - 128)
                    a = ptr8(source + row + row)
                    v += (a[0] ^ 128) * (b[6] - 128) + (a[column] ^ 128) * (b[7] - 128) + (a[column2] ^ 128) * (b[8] - 128)
                    w += 9
                else:
                    a = ptr8(source)
                    y = top
                    ky = p[14]
                    while ky > 0:
                        x = left
                        kx = p[15]
                        while kx > 0:
                            b = ptr8(w)
                            if y >= 0 and y < height and x >= 0 and x < width:
                                v += (a[((y - top) * width + x - left) * depth] ^ 128) * (b[0] - 128)
                            else:
                                v += padding * (b[0] - 128)
                            w += 1
                            x += p[19]
                            kx -= 1
                        y += p[18]
                        ky -= 1
                again -= 1
                if again == 0:
                    again = multiplier
                    source += 1
                v = (v << _EXTEND) >> _EXTEND
                m = factors[o]
                s = (shifts[o] ^ 128) - 128
                if s > 0:
                    v = v << s
                if _SPLIT:
                    h = v >> 16
                    r = v & 65535
                    n = m & 65535
                    m = m >> 16
                    e = h * n
                    d = r * m
                    r = (r * (n >> 8) + ((r * (n & 255)) >> 8)) >> 8
                    v = ((h * m) << 1) + (e >> 15) + (d >> 15) + (((e & 32767) + (d & 32767) + r + 16384) >> 15)
                else:
                    v = (((v * m) >> 30) + 1) >> 1
                if s < 0:
                    m = (1 << (0 - s)) - 1
                    r = v & m
                    m = m >> 1
                    if v < 0:
                        m += 1
                    v = v >> (0 - s)
                    if r > m:
                        v += 1
                v += zero
                if v < least:
                    v = least
                if v > most:
                    v = most
                out[place] = v
                place += 1
                o += 1
            ox += 1
        oy += 1
