"""The viper kernels as a 32-bit processor runs them: split products, wrapping sums, no shift beyond a word."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_case import Case, cases
from viper32 import Machine, Pointer, Word

from fita.tinyml.generate import ModelSize
from fita.tinyml.pack.layout import Direction, Kernel

MODELS = 12
SIZE = ModelSize(operators=6, side=5, channels=4, elements=96)
FILES = ("kernel_weighted", "kernel_window", "kernel_element", "kernel_move")
NAMES = {
    Kernel.CONVOLUTION: "convolution",
    Kernel.AVERAGE_POOL: "pool",
    Kernel.MAX_POOL: "pool",
}
INT32 = st.one_of(st.integers(-(2**31), 2**31 - 1), st.sampled_from([-(2**31), 2**31 - 1, 0, 1, -1, 2**30]))
FACTOR = st.one_of(st.integers(0, 2**31 - 1), st.sampled_from([0, 1, 2**30, 2**31 - 1, 65535, 65536]))


def run_case(case: Case) -> None:
    file = case.packed.file
    table_at = 16
    arena_at = table_at + -(-len(file.table) // 16) * 16
    constants_at = arena_at + -(-file.arena_bytes // 16) * 16
    memory = bytearray(constants_at) + file.constants
    memory[table_at : table_at + len(file.table)] = file.table
    machine = Machine(memory)
    kernels: dict[str, Any] = {}
    for name in FILES:
        kernels |= machine.kernels(name)
    table, arena = Pointer(memory, table_at, 4), Pointer(memory, arena_at, 1)
    constants = Pointer(memory, constants_at, 1)
    edges_at = len(file.table) // 4 - 23 * len(file.edges)
    block_at = len(memory)
    for number in case.edges(Direction.IN):
        memory[block_at:] = case.messages[number]
        size = len(case.messages[number])
        kernels["transfer"](table, Word(edges_at + 23 * number), arena, Pointer(memory, block_at, 1), size)
    at = 0
    for record in file.operators:
        kernel = Kernel(record[0])
        kernels[NAMES.get(kernel, kernel.name.lower())](table, Word(at), arena, constants)
        at += len(record)
    for number in case.edges(Direction.OUT):
        wanted = case.messages[number]
        memory[block_at:] = bytes(len(wanted))
        kernels["transfer"](table, Word(edges_at + 23 * number), arena, Pointer(memory, block_at, 1), len(wanted))
        assert bytes(memory[block_at:]) == wanted, case.name


def test_random_segments_give_the_reference_bytes() -> None:
    kernels = set()
    for seed in range(MODELS):
        for case in cases(seed, SIZE):
            run_case(case)
            kernels |= {record[0] for record in case.packed.file.operators}
    assert kernels >= {Kernel.CONVOLUTION, Kernel.DEPTHWISE, Kernel.ELEMENTWISE, Kernel.ACCUMULATE}


def test_softmax_mean_and_quantize_give_the_reference_bytes() -> None:
    found = set()
    for seed in range(3000, 3400):
        for case in cases(seed, ModelSize(operators=3, side=3, channels=4, elements=48)):
            kernels = {record[0] for record in case.packed.file.operators}
            if kernels & {Kernel.SOFTMAX, Kernel.MEAN, Kernel.QUANTIZE, Kernel.DEQUANTIZE} - found:
                run_case(case)
                found |= kernels
        if found >= {Kernel.SOFTMAX, Kernel.MEAN, Kernel.QUANTIZE, Kernel.DEQUANTIZE}:
            return
    raise AssertionError(f"only {found} occurred")


@settings(max_examples=300, deadline=None)
@given(value=INT32, factor=FACTOR)
def test_split_product_is_the_64_bit_product(value: int, factor: int) -> None:
    memory = bytearray(64)
    memory[40:44] = (value & 0xFFFFFFFF).to_bytes(4, "little")
    memory[44:48] = factor.to_bytes(4, "little")
    Machine(memory).kernels("kernel_element")["_product"](Pointer(memory, 0, 4), Word(0))
    assert int(Pointer(memory, 0, 4)[10]) == (value * factor + 2**30) >> 31
