// Pools, means and the joining of partial sums. The same records and the same bytes as kernel_window.py.
#include "record.h"

enum { BLOCK = 16 };

// Some channels of one output: the part of the window that lies inside the image is rows x columns from `x` on.
static inline void pool_some(bytes x, int rows, int columns, ptrdiff_t row, int depth, int some, int largest,
                             const int32_t *limits, uint8_t *out) {
    int32_t v[BLOCK], n = rows * columns > 0 ? rows * columns : 1;
    for (int i = 0; i < some; i++) {
        v[i] = largest ? -128 : 0;
    }
    for (int ky = 0; ky < rows; ky++, x += row) {
        for (int kx = 0; kx < columns; kx++) {
            for (int i = 0; i < some; i++) {
                int32_t value = (int8_t)x[(ptrdiff_t)kx * depth + i];
                v[i] = !largest ? v[i] + value : value > v[i] ? value : v[i];
            }
        }
    }
    for (int i = 0; i < some; i++) {
        int32_t value = v[i];
        if (!largest) {
            value = value > 0 ? (value + n / 2) / n : -((n / 2 - value) / n);
        }
        out[i] = (uint8_t)within(value, limits[0], limits[1]);
    }
}

KERNEL(pool) {
    UNUSED;
    struct call c = called(arguments);
    const int32_t *p = c.p;
    int32_t limits[2] = {p[17], p[18]};
    int height = p[4], width = p[5], depth = p[6], largest = p[0] == 4;
    uint8_t *out = c.arena + p[3];
    for (int oy = 0; oy < p[7]; oy++) {
        int top = oy * p[11] - p[15];
        int first_row = top < 0 ? 0 : top, end_row = top + p[9] > height ? height : top + p[9];
        for (int ox = 0; ox < p[8]; ox++) {
            int left = ox * p[12] - p[16];
            int first = left < 0 ? 0 : left, end = left + p[10] > width ? width : left + p[10];
            bytes x = c.arena + p[2] + ((ptrdiff_t)first_row * width + first) * depth;
            for (int at = 0; at < depth; at += BLOCK, out += BLOCK) {
                int some = depth - at;
                ptrdiff_t row = (ptrdiff_t)width * depth;
                if (some >= BLOCK) {
                    pool_some(x + at, end_row - first_row, end - first, row, depth, BLOCK, largest, limits, out);
                } else {
                    pool_some(x + at, end_row - first_row, end - first, row, depth, some, largest, limits, out);
                    out -= BLOCK - some;
                }
            }
        }
    }
    return DONE;
}

KERNEL(mean) {
    UNUSED;
    struct call c = called(arguments);
    int32_t *p = c.p;
    uint8_t *out = c.arena + p[3];
    ptrdiff_t offset = p[2];
    do {
        int32_t v = -p[8];
        for (int i = 0; i < p[6]; i++) {
            bytes x = c.arena + offset + (ptrdiff_t)i * p[7];
            for (int j = 0; j < p[4]; j++, x += p[5]) {
                v += *x ^ 128;
            }
        }
        *out++ = (uint8_t)within(rescaled(v, p[9], p[10]) + p[11], -128, 127);
    } while (step(p + 12, p + 22, 1, &offset));
    return DONE;
}

KERNEL(accumulate) {
    UNUSED;
    struct call c = called(arguments);
    const int32_t *p = c.p;
    const int32_t *multipliers = (const int32_t *)(const void *)(c.constants + p[5]);
    uint8_t *out = c.arena + p[2];
    ptrdiff_t place = 0;
    for (int row = 0; row < p[3]; row++) {
        for (int o = 0; o < p[4]; o++, place++) {
            uint32_t v = 0;
            for (int k = 0; k < p[10]; k++) {
                v += ((const uint32_t *)(const void *)(c.arena + p[11 + k]))[place];
            }
            int32_t sum = rescaled((int32_t)v, multipliers[o], (int8_t)c.constants[p[6] + o]) + p[7];
            out[place] = (uint8_t)within(sum, p[8], p[9]);
        }
    }
    return DONE;
}
