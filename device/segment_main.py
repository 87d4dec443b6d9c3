"""A segment behind two pipes: orders come as lines on standard input, answers go as lines to standard output.

| order | answer |
|---|---|
| `load <path>` | `loaded <edges> <promised bytes of heap> <1 if native>` |
| `edge <number>` | `edge <1 output, 0 input> <transfer> <peer> <bytes>` |
| `feed <number>`, then the edge's bytes | `fed` |
| `run` | `ran <microseconds> <bytes allocated while running>` |
| `take <number>` | `taken`, then the edge's bytes |
| `heap` | `heap <most bytes alive since before load> <bytes free>` |

An order that fails is answered with `error <what>`; the process goes on.
"""

import gc
import sys
import time

from kernel import NATIVE
from segment import Segment, promised_bytes, read_header
from segment_error import SegmentError

_input = sys.stdin.buffer
_output = sys.stdout.buffer


class Main:
    """Obeys until its input ends."""

    def __init__(self):
        self.segment = None
        gc.collect()
        self.before = gc.mem_alloc()
        self.peak = 0

    def serve(self):
        while True:
            line = _input.readline()
            if not line:
                return
            order, _, argument = line.decode().strip().partition(" ")
            try:
                getattr(self, "do_" + order)(argument)
            except MemoryError:
                self.segment = None
                self.say("error", "out of memory: the heap is too small for this segment")
            except (SegmentError, OSError, AttributeError, ValueError) as error:
                self.say("error", "%s: %s" % (type(error).__name__, error))

    def say(self, *words):
        _output.write((" ".join([str(word) for word in words]) + "\n").encode())

    def note(self):
        gc.collect()
        self.peak = max(self.peak, gc.mem_alloc() - self.before)

    def do_load(self, path):
        self.segment = None
        with open(path, "rb") as file:
            promised = promised_bytes(read_header(file))
            file.seek(0)
            gc.collect()
            self.segment = Segment(file)
        self.note()
        self.say("loaded", len(self.segment), promised, int(NATIVE))

    def do_edge(self, number):
        self.say("edge", *self.segment.edge(int(number)))

    def do_feed(self, number):
        segment, number = self.segment, int(number)
        left = segment.edge(number)[3]
        block = memoryview(segment.block)
        while left:
            got = _input.readinto(block if left >= len(block) else block[:left])
            if not got:
                raise OSError("the input ended")
            segment.move(number, block, got)
            left -= got
        self.say("fed")

    def do_run(self, _):
        segment = self.segment
        self.note()
        before = gc.mem_alloc()
        start = time.ticks_us()
        segment.run()
        taken = time.ticks_diff(time.ticks_us(), start)
        self.say("ran", taken, gc.mem_alloc() - before)
        self.note()

    def do_take(self, number):
        segment, number = self.segment, int(number)
        left = segment.edge(number)[3]
        block = memoryview(segment.block)
        self.say("taken")
        while left:
            size = min(left, len(block))
            segment.move(number, block, size)
            _output.write(block[:size])
            left -= size

    def do_heap(self, _):
        self.say("heap", self.peak, gc.mem_free())


Main().serve()
