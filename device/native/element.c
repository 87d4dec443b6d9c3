// Element by element, and copies. The same records and the same bytes as kernel_element.py and kernel_move.py.
#include "record.h"

// What a record says, out of reach of what the kernel writes.
struct sum {
    int32_t mode, run, left_step, right_step, left_zero, right_zero, factors[6], zero, least, most;
};

static inline void sum_run(const struct sum *s, int32_t mode, bytes left, bytes right, uint8_t *out) {
    for (int i = 0; i < s->run; i++, left += s->left_step, right += s->right_step) {
        int32_t a = (*left ^ 128) - s->left_zero, b = (*right ^ 128) - s->right_zero, v = a * b;
        if (mode != 2) {
            a = rescaled(a * (1 << 20), s->factors[0], s->factors[1]);
            b = rescaled(b * (1 << 20), s->factors[2], s->factors[3]);
            v = mode ? a - b : a + b;
        }
        out[i] = (uint8_t)within(rescaled(v, s->factors[4], s->factors[5]) + s->zero, s->least, s->most);
    }
}

KERNEL(elementwise) {
    UNUSED;
    struct call c = called(arguments);
    int32_t *p = c.p;
    const struct sum s = {
        p[2], p[8], p[9], p[10], p[11], p[12], {p[13], p[14], p[15], p[16], p[17], p[18]}, p[19], p[20], p[21]};
    bytes lhs = p[3] ? c.constants : c.arena, rhs = p[5] ? c.constants : c.arena;
    ptrdiff_t offsets[2] = {p[4], p[6]};
    uint8_t *out = c.arena + p[7];
    do {
        if (s.mode == 2) {
            sum_run(&s, 2, lhs + offsets[0], rhs + offsets[1], out);
        } else {
            sum_run(&s, s.mode, lhs + offsets[0], rhs + offsets[1], out);
        }
        out += s.run;
    } while (step(p + 22, p + 37, 2, offsets));
    return DONE;
}

KERNEL(lookup) {
    UNUSED;
    struct call c = called(arguments);
    const int32_t *p = c.p;
    bytes x = c.arena + p[2], table = c.constants + p[4];
    uint8_t *out = c.arena + p[3];
    for (int i = 0; i < p[5]; i++) {
        out[i] = table[x[i] ^ 128];
    }
    return DONE;
}

KERNEL(dequantize) {
    UNUSED;
    struct call c = called(arguments);
    const int32_t *p = c.p;
    const int32_t *table = (const int32_t *)(const void *)(c.constants + p[4]);
    bytes x = c.arena + p[2];
    int32_t *out = (int32_t *)(void *)(c.arena + p[3]);
    for (int i = 0; i < p[5]; i++) {
        out[i] = table[x[i] ^ 128];
    }
    return DONE;
}

KERNEL(quantize) {
    UNUSED;
    struct call c = called(arguments);
    const int32_t *p = c.p;
    const int32_t *table = (const int32_t *)(const void *)(c.constants + p[4]);
    const int32_t *x = (const int32_t *)(const void *)(c.arena + p[2]);
    uint8_t *out = c.arena + p[3];
    for (int i = 0; i < p[5]; i++) {
        int32_t v = x[i], low = 0, high = 255;
        if ((v & p[7]) > p[8]) {
            out[i] = (uint8_t)p[6];
            continue;
        }
        v = v < 0 ? v ^ p[7] : v;
        while (low < high) {
            int32_t middle = (low + high) >> 1;
            if (table[middle] <= v) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        out[i] = (uint8_t)(low - 128);
    }
    return DONE;
}

KERNEL(softmax) {
    UNUSED;
    struct call c = called(arguments);
    const int32_t *p = c.p;
    const int32_t *table = (const int32_t *)(const void *)(c.constants + p[4]);
    bytes x = c.arena + p[2];
    uint8_t *out = c.arena + p[3];
    for (int row = 0; row < p[5]; row++, x += p[6], out += p[6]) {
        int32_t top = 0, total = 0, bits = 34;
        for (int i = 0; i < p[6]; i++) {
            int32_t value = x[i] ^ 128;
            top = value > top ? value : top;
        }
        for (int i = 0; i < p[6]; i++) {
            total += divide_by_power(table[top - (x[i] ^ 128)], 12);
        }
        while (total >> 30 == 0 && bits > 0) {
            total = (int32_t)((uint32_t)total << 1);
            bits--;
        }
        int32_t z = p[7] + high_product(p[8], total);
        for (int i = 0; i < 3; i++) {
            z += high_product((1 << 29) - high_product(z, total), z) * 4;
        }
        int32_t fraction = z >> 30 ? p[9] : z * 2;
        for (int i = 0; i < p[6]; i++) {
            int32_t v = divide_by_power(high_product(table[top - (x[i] ^ 128)], fraction), bits & 31) - 128;
            out[i] = (uint8_t)(v > 127 ? 127 : v);
        }
    }
    return DONE;
}

KERNEL(copy) {
    UNUSED;
    struct call c = called(arguments);
    int32_t *p = c.p;
    bytes source = p[2] ? c.constants : c.arena;
    ptrdiff_t offsets[2] = {p[3], p[4]};
    do {
        bytes from = source + offsets[0];
        uint8_t *to = c.arena + offsets[1];
        for (int i = 0; i < p[5]; i++) {
            to[i] = from[i];
        }
    } while (step(p + 6, p + 21, 2, offsets));
    return DONE;
}

KERNEL(fill) {
    UNUSED;
    struct call c = called(arguments);
    const int32_t *p = c.p;
    for (int i = 0; i < p[3]; i++) {
        c.arena[p[2] + i] = (uint8_t)p[4];
    }
    return DONE;
}
