"""Runs one segment of a model: load its file, feed its inputs, run, take its outputs.

docs/reference/segment-format.md describes the file. Everything is allocated at load; `run` allocates nothing. What
is taken at most stands in the header: `ram_bytes`, and the constants on top where they are not read in place. A
file is believed when its digest is right and nothing in it reaches beyond its own memory.
"""

import gc
import hashlib

import uctypes
from kernel import chosen
from kernel_move import transfer, word
from micropython import const
from segment_check import check
from segment_error import SegmentError

_VERSION = const(1)
_HEADER_BYTES = const(96)
_FIXED_BYTES = const(64)
_BLOCK_BYTES = const(256)
_EDGE_WORDS = const(23)
_CONSTANTS_ALIGN = const(16)


def _number(header, at):
    return int.from_bytes(header[at : at + 4], "little")


def read_header(file):
    """The header's bytes; `SegmentError` for anything that is no segment file of this version."""
    header = bytearray(_HEADER_BYTES)
    if file.readinto(header) != _HEADER_BYTES or header[:4] != b"FITS":
        raise SegmentError("no segment file")
    if header[4] | header[5] << 8 != _VERSION:
        raise SegmentError("segment file of another version")
    table_at, table_bytes = _number(header, 12), _number(header, 16)
    constants_at, constant_bytes = _number(header, 20), _number(header, 24)
    after = (table_at + table_bytes + _CONSTANTS_ALIGN - 1) // _CONSTANTS_ALIGN * _CONSTANTS_ALIGN
    if table_at != _HEADER_BYTES or table_bytes & 3 or constants_at != after:
        raise SegmentError("the header contradicts itself")
    if constants_at + constant_bytes != _number(header, 8):
        raise SegmentError("the header contradicts itself")
    if (_number(header, 8) | _number(header, 28)) >> 30:
        # On 32 bits, not even a size that can be asked for.
        raise SegmentError("larger than any device")
    return header


def promised_bytes(header, in_place=False):
    """Heap that the segment takes at most."""
    ram = _number(header, 32)
    return ram if in_place else ram + _number(header, 24)


class Segment:
    """A loaded segment. `flash` is the whole file where it can be read in place, else None.

    An edge is known by its place in the file: `edge(number)` says what it carries. Inputs must be fed whole before
    `run`, and outputs taken before the next frame is fed.
    """

    def __init__(self, file, flash=None):
        header = read_header(file)
        digest = hashlib.sha256(memoryview(header)[:_FIXED_BYTES])
        # The largest first, while the heap is whole.
        size = _number(header, 24)
        if flash is None:
            self.constants = bytearray(size)
        self.arena = bytearray(_number(header, 28))
        self._table = bytearray(_number(header, 16))
        self.block = bytearray(_BLOCK_BYTES)
        self._read(file, self._table, digest)
        padding = -len(self._table) % _CONSTANTS_ALIGN
        if padding:
            self._read(file, memoryview(self.block)[:padding], digest)
        if flash is None:
            self._read(file, self.constants, digest)
        else:
            # A bytearray over the flash itself, which is what native kernels take.
            start = uctypes.addressof(flash) + _number(header, 20)
            if _number(header, 8) > len(flash):
                raise SegmentError("the segment file is cut off")
            self.constants = uctypes.bytearray_at(start, size)
            digest.update(self.constants)
        if digest.digest() != header[_FIXED_BYTES:]:
            raise SegmentError("the segment file is damaged")
        self._places, self._edges_at, self._edges = check(
            self._table, _number(header, 36), _number(header, 40), len(self.arena), size
        )
        gc.collect()  # else this list would lie behind what the check left, and part the free heap in two
        self._kernels = [None] * len(self._places)  # a comprehension would take up to twice as much
        for number in range(len(self._places)):
            place = self._places[number]
            code = word(self._table, place)
            self._kernels[number] = chosen(self._table, place, self.arena, self.constants, code)

    def _read(self, file, buffer, digest):
        if buffer and file.readinto(buffer) != len(buffer):
            raise SegmentError("the segment file is cut off")
        digest.update(buffer)

    def run(self):
        """All operators, in order."""
        # One by one: a tuple would be allocated.
        table = self._table
        arena = self.arena
        constants = self.constants
        places = self._places
        number = 0
        for kernel in self._kernels:
            kernel(table, places[number], arena, constants)
            number += 1

    def __len__(self):
        return self._edges

    def edge(self, number):
        """(1 for an output or 0 for an input, number of the transfer, segment at the other end or -1, bytes)."""
        # Not by a generator, which would want a large piece of a heap that may have small ones only.
        at, table = self._edge_at(number), self._table
        return word(table, at), word(table, at + 1), word(table, at + 2), word(table, at + 3)

    def move(self, number, block, size):
        """The next `size` bytes of an edge: from the block into an input, or from an output into the block."""
        transfer(self._table, self._edge_at(number), self.arena, block, size)

    def _edge_at(self, number):
        if not 0 <= number < self._edges:
            raise SegmentError("there is no such edge")
        return self._edges_at + number * _EDGE_WORDS
