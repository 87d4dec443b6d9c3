"""Segments behind two pipes: orders come as lines on standard input, answers go as lines to standard output.

A slot is a number that the other side gives a segment; one device may hold several.

| order | answer |
|---|---|
| `load <slot> <path>` | `loaded <edges> <promised bytes of heap> <1 if native>` |
| `edge <slot> <number>` | `edge <1 output, 0 input> <transfer> <peer> <bytes>` |
| `feed <slot> <number>`, then the edge's bytes | `fed` |
| `run <slot>` | `ran <microseconds> <bytes allocated while running>` |
| `take <slot> <number>` | `taken`, then the edge's bytes |
| `frame <slot>`, then the bytes of all inputs | `ran <microseconds>`, then the bytes of all outputs |
| `heap` | `heap <most bytes alive above the runtime's> <bytes free> <the runtime's bytes>` |

An order that fails is answered with `error <what>`; the process goes on. `frame` is for speed: unlike `run` it
does not look at the heap, and where there is room it keeps a buffer and a list of edges of its own.
"""

import gc
import sys
import time

from kernel import NATIVE
from micropython import const
from segment import Segment, promised_bytes, read_header
from segment_error import SegmentError

_BLOCK_BYTES = const(2048)
_EDGE_BYTES = const(80)
_SPARE_BYTES = const(1024)

_input = sys.stdin.buffer
_output = sys.stdout.buffer


class Main:
    """Obeys until its input ends."""

    def __init__(self):
        self.segments = {}
        self.kept = {}
        self.runtime = 0
        self.peak = 0

    def serve(self):
        gc.collect()
        self.runtime = gc.mem_alloc()
        while True:
            line = _input.readline()
            if not line:
                return
            words = line.decode().strip().split(" ", 2)
            try:
                getattr(self, "do_" + words[0])(*words[1:])
            except MemoryError:
                self.say("error", "out of memory: the heap is too small for this segment")
            except (SegmentError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
                self.say("error", "%s: %s" % (type(error).__name__, error))

    def say(self, *words):
        _output.write((" ".join([str(word) for word in words]) + "\n").encode())

    def note(self):
        gc.collect()
        self.peak = max(self.peak, gc.mem_alloc() - self.runtime)

    def do_load(self, slot, path):
        self.segments.pop(slot, None)
        self.kept.clear()
        if not self.segments:
            gc.collect()
            self.runtime = gc.mem_alloc()
            self.peak = 0
        with open(path, "rb") as file:
            promised = promised_bytes(read_header(file))
            file.seek(0)
            gc.collect()
            segment = self.segments[slot] = Segment(file)
        self.note()
        if gc.mem_free() < _SPARE_BYTES:
            del self.segments[slot]
            raise MemoryError
        self.say("loaded", len(segment), promised, int(NATIVE))

    def do_edge(self, slot, number):
        self.say("edge", *self.segments[slot].edge(int(number)))

    def keep(self, slot, size, make):
        # What frames are faster with, where there is room for it beside orders and answers; else None.
        self.kept[slot] = None
        gc.collect()
        if gc.mem_free() >= size + _SPARE_BYTES:
            try:
                self.kept[slot] = make()
            except MemoryError:
                pass

    def prepare(self, slot, segment):
        # The other side wakes up for every piece: larger ones than a segment's own spare it that.
        if None not in self.kept:
            self.keep(None, _BLOCK_BYTES, lambda: memoryview(bytearray(_BLOCK_BYTES)))
        self.keep(
            slot, _EDGE_BYTES * len(segment), lambda: [segment.edge(number) for number in range(len(segment))]
        )

    def fill(self, segment, number, left, block):
        while left:
            got = _input.readinto(block if left >= len(block) else block[:left])
            if not got:
                raise OSError("the input ended")
            segment.move(number, block, got)
            left -= got

    def drain(self, segment, number, left, block):
        while left:
            size = min(left, len(block))
            segment.move(number, block, size)
            _output.write(block[:size])
            left -= size

    def move_all(self, segment, direction, move, edges, block):
        for number in range(len(segment)):
            edge = edges[number] if edges else segment.edge(number)
            if edge[0] == direction:
                move(segment, number, edge[3], block)

    def do_feed(self, slot, number):
        segment, number = self.segments[slot], int(number)
        self.fill(segment, number, segment.edge(number)[3], memoryview(segment.block))
        self.say("fed")

    def do_frame(self, slot):
        segment = self.segments[slot]
        if slot not in self.kept:
            self.prepare(slot, segment)
        block = self.kept[None] or memoryview(segment.block)
        edges = self.kept[slot] or ()
        self.move_all(segment, 0, self.fill, edges, block)
        start = time.ticks_us()
        segment.run()
        self.say("ran", time.ticks_diff(time.ticks_us(), start))
        self.move_all(segment, 1, self.drain, edges, block)

    def do_run(self, slot):
        segment = self.segments[slot]
        self.kept.clear()  # it is the runtime's, not the segment's
        self.note()
        before = gc.mem_alloc()
        start = time.ticks_us()
        segment.run()
        taken = time.ticks_diff(time.ticks_us(), start)
        self.say("ran", taken, gc.mem_alloc() - before)
        self.note()

    def do_take(self, slot, number):
        segment, number = self.segments[slot], int(number)
        size = segment.edge(number)[3]
        self.say("taken")
        self.drain(segment, number, size, memoryview(segment.block))

    def do_heap(self):
        self.say("heap", self.peak, gc.mem_free(), self.runtime)


Main().serve()
