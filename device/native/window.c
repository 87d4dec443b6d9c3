// Pools, means and the joining of partial sums. The same records and the same bytes as kernel_window.py.
#include "record.h"

KERNEL(pool) {
    UNUSED;
    struct call c = called(arguments);
    const int32_t *p = c.p;
    int height = p[4], width = p[5], depth = p[6], largest = p[0] == 4;
    uint8_t *out = c.arena + p[3];
    for (int oy = 0; oy < p[7]; oy++) {
        for (int ox = 0; ox < p[8]; ox++) {
            for (int channel = 0; channel < depth; channel++) {
                int32_t v = largest ? -128 : 0, n = 0;
                for (int ky = 0, y = oy * p[11] - p[15]; ky < p[9]; ky++, y += p[13]) {
                    for (int kx = 0, x = ox * p[12] - p[16]; kx < p[10]; kx++, x += p[14]) {
                        if (y < 0 || y >= height || x < 0 || x >= width) {
                            continue;
                        }
                        int32_t value = (int8_t)c.arena[p[2] + ((ptrdiff_t)y * width + x) * depth + channel];
                        v = largest ? (value > v ? value : v) : v + value;
                        n++;
                    }
                }
                if (!largest) {
                    n = n ? n : 1;
                    v = v > 0 ? (v + n / 2) / n : -((n / 2 - v) / n);
                }
                *out++ = (uint8_t)within(v, p[17], p[18]);
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
