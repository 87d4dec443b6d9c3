// Convolutions, dense layers, depthwise convolutions. The same records and the same bytes as kernel_weighted.py.
#include "record.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct scaling {
    const int32_t *multipliers;
    bytes shifts;
    int32_t zero, least, most;
};

static inline uint8_t scaled(const struct scaling *s, int channel, int32_t v) {
    v = rescaled(v, s->multipliers[channel], (int8_t)s->shifts[channel]) + s->zero;
    return (uint8_t)within(v, s->least, s->most);
}

// The window's inputs side by side with 128 added; their sum.
static inline int32_t gather(const struct call *c, int oy, int ox, uint8_t *patch) {
    const int32_t *p = c->p;
    int height = p[8], width = p[9], depth = p[10];
    int32_t total = 0;
    for (int ky = 0, y = oy * p[16] - p[20]; ky < p[14]; ky++, y += p[18]) {
        for (int kx = 0, x = ox * p[17] - p[21]; kx < p[15]; kx++, x += p[19]) {
            if (y >= 0 && y < height && x >= 0 && x < width) {
                bytes pixel = c->arena + p[2] + ((ptrdiff_t)y * width + x) * depth;
                for (int i = 0; i < depth; i++) {
                    uint8_t value = pixel[i] ^ 128;
                    patch[i] = value;
                    total += value;
                }
            } else {
                for (int i = 0; i < depth; i++) {
                    patch[i] = (uint8_t)p[22];
                }
                total += p[22] * depth;
            }
            patch += depth;
        }
    }
    return total;
}

#ifdef __SSE2__
static inline int32_t lanes(__m128i v) {
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1));
    return _mm_cvtsi128_si32(v);
}

// Four channels at once: the patch is unpacked once for all of them.
static inline void dot4(bytes x, bytes w, int length, int32_t *sums) {
    __m128i zero = _mm_setzero_si128();
    __m128i total[4] = {zero, zero, zero, zero};
    int i = 0;
    for (; i + 16 <= length; i += 16) {
        __m128i a = _mm_loadu_si128((const __m128i *)(x + i));
        __m128i low = _mm_unpacklo_epi8(a, zero), high = _mm_unpackhi_epi8(a, zero);
        for (int k = 0; k < 4; k++) {
            __m128i b = _mm_loadu_si128((const __m128i *)(w + (ptrdiff_t)k * length + i));
            __m128i products = _mm_add_epi32(_mm_madd_epi16(low, _mm_unpacklo_epi8(b, zero)),
                                             _mm_madd_epi16(high, _mm_unpackhi_epi8(b, zero)));
            total[k] = _mm_add_epi32(total[k], products);
        }
    }
    for (int k = 0; k < 4; k++) {
        int32_t sum = lanes(total[k]);
        for (int j = i; j < length; j++) {
            sum += x[j] * w[(ptrdiff_t)k * length + j];
        }
        sums[k] = sum;
    }
}
#else
static inline void dot4(bytes x, bytes w, int length, int32_t *sums) {
    bytes w1 = w + length, w2 = w1 + length, w3 = w2 + length, end = x + length;
    int32_t a = 0, b = 0, c = 0, d = 0;
    while (x < end) {
        int32_t value = *x++;
        a += value * *w++;
        b += value * *w1++;
        c += value * *w2++;
        d += value * *w3++;
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}
#endif

static inline void dot1(bytes x, bytes w, int length, int32_t *sums) {
    int32_t sum = 0;
    for (int i = 0; i < length; i++) {
        sum += x[i] * w[i];
    }
    sums[0] = sum;
}

KERNEL(convolution) {
    UNUSED;
    struct call c = called(arguments);
    const int32_t *p = c.p;
    const int32_t *bias = (const int32_t *)(const void *)(c.constants + p[5]);
    int partial = p[6] < 0, channels = p[13], length = p[14] * p[15] * p[10];
    struct scaling s = {(const int32_t *)(const void *)(c.constants + (partial ? 0 : p[6])),
                        c.constants + (partial ? 0 : p[7]), p[23], p[24], p[25]};
    uint8_t *patch = c.arena + p[26], *out = c.arena + p[3];
    int32_t *partials = (int32_t *)(void *)out;
    for (int oy = 0; oy < p[11]; oy++) {
        for (int ox = 0; ox < p[12]; ox++) {
            int32_t total = gather(&c, oy, ox, patch) * 128;
            bytes w = c.constants + p[4];
            for (int o = 0; o < channels;) {
                int32_t sums[4];
                int some = channels - o >= 4 ? 4 : 1;
                if (some == 4) {
                    dot4(patch, w, length, sums);
                } else {
                    dot1(patch, w, length, sums);
                }
                for (int k = 0; k < some; k++, o++) {
                    int32_t v = (int32_t)((uint32_t)sums[k] + (uint32_t)bias[o] - (uint32_t)total);
                    if (partial) {
                        *partials++ = v;
                    } else {
                        *out++ = scaled(&s, o, v);
                    }
                }
                w += (ptrdiff_t)some * length;
            }
        }
    }
    return DONE;
}

KERNEL(depthwise) {
    UNUSED;
    struct call c = called(arguments);
    const int32_t *p = c.p;
    const int32_t *bias = (const int32_t *)(const void *)(c.constants + p[5]);
    struct scaling s = {(const int32_t *)(const void *)(c.constants + p[6]), c.constants + p[7],
                        p[23], p[24], p[25]};
    int height = p[8], width = p[9], depth = p[10], multiplier = p[26];
    ptrdiff_t column = (ptrdiff_t)p[19] * depth, row = (ptrdiff_t)p[18] * width * depth;
    uint8_t *out = c.arena + p[3];
    for (int oy = 0; oy < p[11]; oy++) {
        int top = oy * p[16] - p[20];
        for (int ox = 0; ox < p[12]; ox++) {
            int left = ox * p[17] - p[21];
            int inside = p[14] == 3 && p[15] == 3 && top >= 0 && left >= 0 && top + 2 * p[18] < height
                         && left + 2 * p[19] < width;
            bytes w = c.constants + p[4];
            ptrdiff_t origin = p[2] + ((ptrdiff_t)top * width + left) * depth;
            for (int o = 0, i = 0, again = multiplier; o < p[13]; o++) {
                int32_t v = bias[o];
                if (inside) {
                    bytes x = c.arena + origin + i;
                    for (int ky = 0; ky < 3; ky++, x += row, w += 3) {
                        v += (x[0] ^ 128) * (w[0] - 128) + (x[column] ^ 128) * (w[1] - 128)
                             + (x[2 * column] ^ 128) * (w[2] - 128);
                    }
                } else {
                    for (int ky = 0, y = top; ky < p[14]; ky++, y += p[18]) {
                        for (int kx = 0, x = left; kx < p[15]; kx++, x += p[19], w++) {
                            int32_t value = p[22];
                            if (y >= 0 && y < height && x >= 0 && x < width) {
                                value = c.arena[p[2] + ((ptrdiff_t)y * width + x) * depth + i] ^ 128;
                            }
                            v += value * (*w - 128);
                        }
                    }
                }
                *out++ = scaled(&s, o, v);
                if (--again == 0) {
                    again = multiplier;
                    i++;
                }
            }
        }
    }
    return DONE;
}
