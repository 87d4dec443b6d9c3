"""Walks through tensors as few nested loops: axes that can be walked as one are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fita.tinyml.errors import PackError
from fita.tinyml.pack.layout import LOOPS

Shape = Sequence[int]


@dataclass(frozen=True, slots=True)
class Loop:
    """`count` steps, and how far a step moves in each operand."""

    count: int
    strides: tuple[int, ...]


def dense_strides(shape: Shape, unit: int = 1) -> tuple[int, ...]:
    """How far apart neighbours along each axis lie in a contiguous tensor."""
    strides = [unit] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def broadcast_strides(shape: Shape, output: Shape) -> tuple[int, ...]:
    """Strides of a contiguous operand along the output's axes; 0 where it repeats."""
    strides = dense_strides(shape)
    own = [stride if size > 1 else 0 for size, stride in zip(shape, strides, strict=True)]
    return (0,) * (len(output) - len(shape)) + tuple(own)


def joined(counts: Shape, *strides: Shape) -> list[Loop]:
    """The loops from the outermost to the innermost, without those of one step."""
    loops: list[Loop] = []
    for count, *steps in zip(counts, *strides, strict=True):
        if count == 1:
            continue
        inner = Loop(count, tuple(steps))
        if loops and all(a == b * count for a, b in zip(loops[-1].strides, inner.strides, strict=True)):
            inner = Loop(loops.pop().count * count, inner.strides)
        loops.append(inner)
    return loops


def loop_words(loops: Sequence[Loop], operands: int) -> tuple[int, ...]:
    """Counts, then strides of each operand, then counters, innermost loop first; `PackError` for too many."""
    if len(loops) > LOOPS:
        raise PackError(
            f"a tensor is walked in {len(loops)} loops, kernels have {LOOPS}", hint="use fewer dimensions"
        )
    inner_first = [*reversed(loops), *(Loop(1, (0,) * operands),) * (LOOPS - len(loops))]
    words = [loop.count for loop in inner_first]
    for operand in range(operands):
        words += [loop.strides[operand] for loop in inner_first]
    return (*words, *(0,) * LOOPS)
