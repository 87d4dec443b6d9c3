"""How much heap a packed segment takes on a device, for the header and for planners.

What the executor allocates: the table, the arena, the block that edges pass through, two lists of its
operators, and its own few objects.
Constants come on top where flash cannot be mapped. Measured on the 64-bit Unix port, the larger case.
"""

from __future__ import annotations

from collections.abc import Sequence

from fita.tinyml.pack.layout import Edge, Record

BLOCK_BYTES = 256
"""Edges pass through a buffer of this size."""
_HEAP_BLOCK_BYTES = 32
_EXECUTOR_BYTES = 512
_LISTS = 2
_POINTER_BYTES = 8


def promised_ram_bytes(arena_bytes: int, operators: Sequence[Record], edges: Sequence[Edge]) -> int:
    """Bytes of heap at most while a segment is loaded and runs, without its constants."""
    table = 4 * (sum(len(record) for record in operators) + sum(4 + len(edge.words) for edge in edges))
    buffers = sum(_rounded(size) for size in (arena_bytes, table, BLOCK_BYTES))
    return buffers + _EXECUTOR_BYTES + _LISTS * _rounded(_POINTER_BYTES * len(operators))


def _rounded(size_bytes: int) -> int:
    return -(-size_bytes // _HEAP_BLOCK_BYTES) * _HEAP_BLOCK_BYTES
