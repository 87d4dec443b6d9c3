"""Parts of kernels that the build puts where a line ends in `# inline`. Never imported.

Viper cannot inline, and a call would make objects of its numbers, which allocates on 32-bit processors. The line's
names are the names in here: nothing is renamed. See kernel_weighted for _EXTEND and _SPLIT.
"""


def high_product(v, m):
    # (v * m + 2^30) >> 31 for m >= 0: at once in 64 bits, or from halves with every step inside 32.
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
    return v


def rescaled(v, m, s):
    # v * m / 2^31 * 2^s, as TFLite Micro rounds it.
    if s > 0:
        v = v << s
        v = (v << _EXTEND) >> _EXTEND
    v = high_product(v, m)  # inline
    if s < 0:
        m = (1 << (0 - s)) - 1
        r = v & m
        m = m >> 1
        if v < 0:
            m += 1
        v = v >> (0 - s)
        if r > m:
            v += 1
    return v


def clamped(v):
    # To what a fused activation leaves, after the zero point.
    v += zero
    if v < least:
        v = least
    if v > most:
        v = most
    return v


def gathered(p, image, patch, ox, oy):
    # The window's inputs side by side in `patch` with 128 added; `total` is their sum.
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
                    v = pixel[i] ^ 128
                    patch[k] = v
                    total += v
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
    return total


def multiplied(v, q, w):
    # The patch times one channel's weights.
    while q < whole:
        a = ptr8(q)
        b = ptr8(w)
        # One sum: what is between stays in registers.
        v += (
            a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]
            + a[4] * b[4] + a[5] * b[5] + a[6] * b[6] + a[7] * b[7]
        )
        q += 8
        w += 8
    while q < end:
        a = ptr8(q)
        b = ptr8(w)
        v += a[0] * b[0]
        q += 1
        w += 1
    return v


def inner_taps(v, source, w):
    # Nine taps of a 3x3 window inside the image.
    b = ptr8(w)
    a = ptr8(source)
    v += (a[0] ^ 128) * (b[0] - 128) + (a[column] ^ 128) * (b[1] - 128) + (a[column2] ^ 128) * (b[2] - 128)
    a = ptr8(source + row)
    v += (a[0] ^ 128) * (b[3] - 128) + (a[column] ^ 128) * (b[4] - 128) + (a[column2] ^ 128) * (b[5] - 128)
    a = ptr8(source + row + row)
    v += (a[0] ^ 128) * (b[6] - 128) + (a[column] ^ 128) * (b[7] - 128) + (a[column2] ^ 128) * (b[8] - 128)
    w += 9
    return v


def taps(v, source, w):
    # Any window, with padding where it reaches over the image.
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
    return v


def pooled(first, c):
    # The sum or the largest of one channel under the part of a window that lies inside the image, 128 added.
    v = 0
    line = first + c
    while line < end:
        q = line
        stop = line + reach
        if largest:
            while q < stop:
                a = ptr8(q)
                s = a[0] ^ 128
                if s > v:
                    v = s
                q += depth
        else:
            while q < stop:
                a = ptr8(q)
                v += a[0] ^ 128
                q += depth
        line += row
    return v


def reciprocal(p, total):
    # `fraction` and `bits` of 1 / total by three of Newton's steps, as gemmlowp makes them.
    bits = 34
    while (total >> 30) == 0 and bits > 0:
        total = total << 1
        bits -= 1
    p[10] = p[8]
    p[11] = total
    _product(t, at)
    x = p[7] + ((p[10] << _EXTEND) >> _EXTEND)
    i = 3
    while i > 0:
        p[10] = x
        p[11] = total
        _product(t, at)
        p[10] = (1 << 29) - ((p[10] << _EXTEND) >> _EXTEND)
        p[11] = x
        _product(t, at)
        x += ((p[10] << _EXTEND) >> _EXTEND) << 2
        i -= 1
    fraction = p[9]
    if (x >> 30) == 0:
        fraction = x << 1
    return fraction
