"""How much heap a packed segment takes on a device, for the header and for planners.

What the executor allocates: the table, the arena, the block that edges pass through, and its own few objects.
Constants come on top where flash cannot be mapped. Measured on the 64-bit Unix port, the larger case.
"""

from __future__ import annotations

from collections.abc import Sequence

from fita.tinyml.pack.layout import Edge, Record

BLOCK_BYTES = 256
"""Edges pass through a buffer of this size."""
_HEAP_BLOCK_BYTES = 32
_EXECUTOR_BYTES = 512
_BYTES_PER_OPERATOR = 32
_BYTES_PER_EDGE = 32


def promised_ram_bytes(arena_bytes: int, operators: Sequence[Record], edges: Sequence[Edge]) -> int:
    """Bytes of heap at most while a segment is loaded and runs, without its constants."""
    table = 4 * (sum(len(record) for record in operators) + sum(4 + len(edge.words) for edge in edges))
    buffers = sum(_rounded(size) for size in (arena_bytes, table, BLOCK_BYTES))
    return buffers + _EXECUTOR_BYTES + _BYTES_PER_OPERATOR * len(operators) + _BYTES_PER_EDGE * len(edges)


def _rounded(size_bytes: int) -> int:
    return -(-size_bytes // _HEAP_BLOCK_BYTES) * _HEAP_BLOCK_BYTES
