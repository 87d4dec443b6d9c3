"""Copies: inside the arena, from constants, and between the arena and messages.

See kernel_weighted for names and builds.
"""

from micropython import const

_EXTEND = const(32)


@micropython.viper
def copy(t: ptr32, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(t) + (at << 2))
    source = int(constants if p[2] else arena) + p[3]
    target = int(arena) + p[4]
    run = p[5]
    level = 0
    while level < 5:
        a = ptr8(source)
        b = ptr8(target)
        i = 0
        while i < run:
            b[i] = a[i]
            i += 1
        level = 0
        while level < 5:
            c = p[21 + level] + 1
            near = (p[11 + level] << _EXTEND) >> _EXTEND
            far = (p[16 + level] << _EXTEND) >> _EXTEND
            source += near
            target += far
            if c < p[6 + level]:
                p[21 + level] = c
                break
            source -= near * c
            target -= far * c
            p[21 + level] = 0
            level += 1


@micropython.viper
def fill(t: ptr32, at: int, arena: ptr8, constants: ptr8):
    p = ptr32(int(t) + (at << 2))
    b = ptr8(int(arena) + p[2])
    i = 0
    n = p[3]
    v = p[4]
    while i < n:
        b[i] = v
        i += 1


@micropython.viper
def transfer(t: ptr32, at: int, arena: ptr8, block: ptr8, n: int):
    # The next n bytes of an edge, which remembers how far it is: words 16..20 count, 21 and 22 say where.
    p = ptr32(int(t) + (at << 2))
    base = int(arena) + p[4]
    run = p[5]
    place = p[21]
    offset = p[22]
    done = 0
    while done < n:
        length = run - place
        if length > n - done:
            length = n - done
        a = ptr8(base + offset + place)
        b = ptr8(int(block) + done)
        i = 0
        if p[0]:
            while i < length:
                b[i] = a[i]
                i += 1
        else:
            while i < length:
                a[i] = b[i]
                i += 1
        done += length
        place += length
        if place == run:
            place = 0
            level = 0
            while level < 5:
                c = p[16 + level] + 1
                offset += p[11 + level]
                if c < p[6 + level]:
                    p[16 + level] = c
                    break
                offset -= p[11 + level] * c
                p[16 + level] = 0
                level += 1
    p[21] = place
    p[22] = offset


@micropython.viper
def word(t: ptr32, at: int) -> int:
    # One word of a table, with its sign.
    return (t[at] << _EXTEND) >> _EXTEND
