// Runs packed segments with kernels given as machine code, on a bare Cortex-M3 under QEMU with semihosting.
// Reads cases.bin, runs every record of every case, writes the arenas to arenas.bin. See tools/kernels_armv7m.py.
#include <stddef.h>
#include <stdint.h>

#define MEMORY ((uint8_t *)0x21000000)
#define STACK 0x20400000
enum { OPEN = 1, WRITE = 5, READ = 6, FLEN = 12, EXIT = 0x18, STOPPED = 0x20026 };

struct bytearray {
    const void *type;
    size_t kind_and_free;
    size_t length;
    void *items;
};
typedef uintptr_t (*kernel)(void *, size_t, size_t, const uintptr_t *);

static uint32_t host(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static uint32_t open(const char *name, uint32_t length, uint32_t mode) {
    uint32_t argument[] = {(uint32_t)name, mode, length};
    return host(OPEN, argument);
}

void start(void) {
    uint32_t in = open("cases.bin", 9, 1), out = open("arenas.bin", 10, 5);
    uint32_t length = host(FLEN, &in);
    uint32_t reading[] = {in, (uint32_t)MEMORY, length};
    host(READ, reading);
    // Words: kernels, then for each its offset; cases; then the cases, each with the sizes of its parts before them.
    uint32_t *words = (uint32_t *)(void *)MEMORY;
    uint32_t kernels = *words++;
    const uint32_t *offsets = words;
    words += kernels;
    for (uint32_t cases = *words++; cases > 0; cases--) {
        uint32_t records = words[0], table_bytes = words[1], arena_bytes = words[2], constant_bytes = words[3];
        uint8_t *at = (uint8_t *)(words + 4);
        struct bytearray parts[3] = {{0, 0, table_bytes, at},
                                     {0, 0, arena_bytes, at + table_bytes},
                                     {0, 0, constant_bytes, at + table_bytes + arena_bytes}};
        const int32_t *table = (const int32_t *)(void *)at;
        for (uint32_t place = 0; records > 0; records--) {
            uintptr_t arguments[] = {(uintptr_t)&parts[0], place << 1 | 1, (uintptr_t)&parts[1], (uintptr_t)&parts[2]};
            ((kernel)(((uintptr_t)MEMORY + offsets[table[place]]) | 1))(0, 4, 0, arguments);
            place += (uint32_t)table[place + 1];
        }
        uint32_t writing[] = {out, (uint32_t)parts[1].items, arena_bytes};
        host(WRITE, writing);
        words = (uint32_t *)(void *)(at + table_bytes + arena_bytes + constant_bytes);
    }
    host(EXIT, (void *)STOPPED);
}

__attribute__((section(".vectors"), used)) const uintptr_t vectors[] = {STACK, (uintptr_t)start};
