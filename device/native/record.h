// What a kernel is called with, and the arithmetic that all share. Records: docs/reference/segment-format.md.
#ifndef RECORD_H
#define RECORD_H

#include <stddef.h>
#include <stdint.h>

typedef const uint8_t *bytes;

// A bytearray of MicroPython: type, element type and free places, length, elements (py/objarray.h).
struct bytearray {
    const void *type;
    size_t kind_and_free;
    size_t length;
    uint8_t *items;
};

struct call {
    int32_t *p; // the record
    uint8_t *arena;
    const uint8_t *constants;
};

// The arguments of a viper function as objects: table, place of the record in it, arena, constants.
static inline struct call called(const uintptr_t *arguments) {
    const struct bytearray *table = (const struct bytearray *)arguments[0];
    const struct bytearray *arena = (const struct bytearray *)arguments[2];
    const struct bytearray *constants = (const struct bytearray *)arguments[3];
    size_t at = arguments[1] >> 1; // a small integer
    return (struct call){(int32_t *)(void *)table->items + at, arena->items, constants->items};
}

// Each kernel is a function of its own section, so that a build can take it out alone.
#define KERNEL(name)                                                                              \
    uintptr_t __attribute__((section(".text.kernel_" #name), used)) kernel_##name(                \
        void *self, size_t count, size_t keywords, const uintptr_t *arguments)
#define UNUSED (void)self, (void)count, (void)keywords
// The small integer 0.
#define DONE 1

enum { LOOPS = 5 };

static inline int32_t high_product(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

static inline int32_t divide_by_power(int32_t v, int exponent) {
    int32_t mask = (int32_t)((1u << exponent) - 1u);
    int32_t threshold = (mask >> 1) + (v < 0);
    return (v >> exponent) + ((v & mask) > threshold);
}

static inline int32_t rescaled(int32_t v, int32_t multiplier, int shift) {
    if (shift > 0) {
        v = (int32_t)((uint32_t)v << (shift & 31));
    }
    v = high_product(v, multiplier);
    return shift < 0 ? divide_by_power(v, -shift & 31) : v;
}

static inline int32_t within(int32_t v, int32_t least, int32_t most) {
    return v < least ? least : v > most ? most : v;
}

// To the next place of up to LOOPS loops; whether there is one. Strides follow the counts, one group an operand.
static inline int step(const int32_t *counts, int32_t *counters, int operands, ptrdiff_t *offsets) {
    for (int level = 0; level < LOOPS; level++) {
        int32_t counter = counters[level] + 1;
        for (int operand = 0; operand < operands; operand++) {
            offsets[operand] += counts[LOOPS * (operand + 1) + level];
        }
        if (counter < counts[level]) {
            counters[level] = counter;
            return 1;
        }
        for (int operand = 0; operand < operands; operand++) {
            offsets[operand] -= (ptrdiff_t)counts[LOOPS * (operand + 1) + level] * counter;
        }
        counters[level] = 0;
    }
    return 0;
}

#endif
