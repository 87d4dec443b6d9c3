"""The segment file, version 1: header, table of words, constants. `docs/reference/segment-format.md` draws it.

All numbers are little-endian. The table is a row of int32 words: records of operators, then edges. Each starts
with its kernel's number and its own length in words. Constants start at a multiple of 16 bytes, so that a device
whose flash can be mapped reads them in place.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from fita.tinyml.errors import PackError

MAGIC = b"FITS"
VERSION = 1
HEADER_BYTES = 96
DIGEST_BYTES = 32
CONSTANT_ALIGN = 16
LOOPS = 5
"""Nested loops around the innermost run of a record that walks through a tensor."""

_HEADER = struct.Struct("<4sHH13I")
_FIXED_BYTES = HEADER_BYTES - DIGEST_BYTES


class Kernel(IntEnum):
    """The kernels of a device by the numbers that records carry."""

    CONVOLUTION = 1
    DEPTHWISE = 2
    AVERAGE_POOL = 3
    MAX_POOL = 4
    ELEMENTWISE = 5
    LOOKUP = 6
    DEQUANTIZE = 7
    QUANTIZE = 8
    SOFTMAX = 9
    MEAN = 10
    COPY = 11
    FILL = 12
    ACCUMULATE = 13


class Direction(IntEnum):
    """Whether an edge brings bytes into the segment or takes them away."""

    IN = 0
    OUT = 1


Record = tuple[int, ...]
"""Kernel number, length in words, operands: as in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A transfer as one of its segments sees it.

    `transfer` is its place in `SplitModel.transfers` and the same at both ends; `peer` the other segment or -1 for
    outside. The bytes travel in the order of the box's elements. `words` are the loops that take them from or to
    the arena.
    """

    direction: Direction
    transfer: int
    peer: int
    size_bytes: int
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFile:
    """What a segment file says.

    `ram_bytes` is the promise: heap that the segment takes at most, without constants; `constants` count as well
    where a port cannot map its flash. `model_digest` are the first bytes of the SHA-256 of the model.
    """

    index: int
    segments: int
    model_digest: bytes
    arena_bytes: int
    ram_bytes: int
    operators: tuple[Record, ...]
    edges: tuple[Edge, ...]
    constants: bytes

    @property
    def heap_bytes(self) -> int:
        """The promise for a port that cannot map its flash."""
        return self.ram_bytes + len(self.constants)

    @property
    def table(self) -> bytes:
        words = [word for record in self.operators for word in record]
        for edge in self.edges:
            head = (edge.direction, edge.transfer, edge.peer, edge.size_bytes)
            words += [*head, *edge.words]
        return struct.pack(f"<{len(words)}i", *words)


EDGE_HEAD_WORDS = 4
EDGE_WORDS = EDGE_HEAD_WORDS + 2 + 3 * LOOPS + 2
"""Head, offset, run, then counts, strides and counters of the loops, then place in the run and moving offset."""


def content_digest(data: bytes) -> bytes:
    """SHA-256 over a file without the digest's own place, in the order in which a stream brings it."""
    return hashlib.sha256(data[:_FIXED_BYTES] + data[HEADER_BYTES:]).digest()


def encode(segment: SegmentFile) -> bytes:
    """The file."""
    table = segment.table
    constants_at = -(-(HEADER_BYTES + len(table)) // CONSTANT_ALIGN) * CONSTANT_ALIGN
    fixed = _HEADER.pack(
        MAGIC, VERSION, HEADER_BYTES,
        constants_at + len(segment.constants), HEADER_BYTES, len(table), constants_at, len(segment.constants),
        segment.arena_bytes, segment.ram_bytes, len(segment.operators), len(segment.edges), segment.index,
        segment.segments, int.from_bytes(segment.model_digest[:4], "little"), 0,
    )  # fmt: skip
    padding = bytes(constants_at - HEADER_BYTES - len(table))
    rest = table + padding + segment.constants
    fixed = fixed.ljust(_FIXED_BYTES, b"\0")
    return fixed + content_digest(fixed + bytes(DIGEST_BYTES) + rest) + rest


def decode(data: bytes) -> SegmentFile:
    """What a file says; `PackError` when it is no segment file, of another version, or damaged."""
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        raise PackError("no segment file", hint="pack the model again")
    (_, version, _, size, table_at, table_bytes, constants_at, constant_bytes, arena, ram, operators, edges, index,
     segments, model, _) = _HEADER.unpack_from(data)  # fmt: skip
    if version != VERSION:
        raise PackError(f"segment file of version {version}", hint=f"this reads version {VERSION}")
    if size != len(data) or content_digest(data) != data[_FIXED_BYTES:HEADER_BYTES]:
        raise PackError("the segment file is damaged or cut off", hint="transfer it again")
    if table_at + table_bytes > constants_at or constants_at + constant_bytes != size or table_bytes % 4:
        raise PackError("the segment file contradicts itself", hint="pack the model again")
    words = struct.unpack_from(f"<{table_bytes // 4}i", data, table_at)
    records, place = _records(words, operators)
    return SegmentFile(
        index=index,
        segments=segments,
        model_digest=model.to_bytes(4, "little"),
        arena_bytes=arena,
        ram_bytes=ram,
        operators=records,
        edges=_edges(words[place:], edges),
        constants=data[constants_at:size],
    )


def _records(words: tuple[int, ...], count: int) -> tuple[tuple[Record, ...], int]:
    records: list[Record] = []
    place = 0
    for _ in range(count):
        length = words[place + 1] if place + 1 < len(words) else 0
        if length < 2 or place + length > len(words):
            raise PackError(f"record {len(records)} reaches beyond the table", hint="pack the model again")
        records.append(words[place : place + length])
        place += length
    return tuple(records), place


def _edges(words: tuple[int, ...], count: int) -> tuple[Edge, ...]:
    if len(words) != count * EDGE_WORDS:
        raise PackError("the table does not end with its edges", hint="pack the model again")
    parts = [words[place : place + EDGE_WORDS] for place in range(0, len(words), EDGE_WORDS)]
    if any(part[0] not in set(Direction) for part in parts):
        raise PackError("an edge has no direction", hint="pack the model again")
    return tuple(
        Edge(
            direction=Direction(part[0]),
            transfer=part[1],
            peer=part[2],
            size_bytes=part[3],
            words=part[EDGE_HEAD_WORDS:],
        )
        for part in parts
    )
