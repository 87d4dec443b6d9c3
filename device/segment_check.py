"""Refuses tables with which a kernel would reach beyond its memory, or run for ever.

Kernels check nothing. Here every record is held against the arena and the constants before anything runs. It is
about memory and time: a table that passes may still compute nonsense.
"""

from kernel_move import word
from micropython import const
from segment_error import SegmentError

_LOOPS = const(5)
_EDGE_WORDS = const(23)
_SIZE_MAX = const(32767)
_WORK_MAX = const(1 << 29)
# The words of a record of each kernel; those of ACCUMULATE depend on its operands.
_LENGTHS = (0, 27, 27, 19, 19, 42, 6, 6, 9, 12, 27, 26, 5, 0)


class _Checker:
    def __init__(self, table, arena, constants):
        self.table = table
        self.arena = arena
        self.constants = constants
        self.at = 0

    def word(self, place):
        return word(self.table, self.at + place)

    def refuse(self, what):
        raise SegmentError("record at word %d: %s" % (self.at, what))

    def natural(self, place, least=1, most=_SIZE_MAX):
        value = self.word(place)
        if not least <= value <= most:
            self.refuse("word %d is %d" % (place, value))
        return value

    def held(self, start, size, limit, what):
        if start < 0 or size < 0 or start + size > limit:
            self.refuse("%s reaches beyond its memory" % what)

    def in_arena(self, place, size, align=1):
        start = self.word(place)
        self.held(start, size, self.arena, "word %d" % place)
        if start % align:
            self.refuse("word %d is not aligned" % place)

    def in_constants(self, place, size, align=1):
        start = self.word(place)
        self.held(start, size, self.constants, "word %d" % place)
        if start % align:
            self.refuse("word %d is not aligned" % place)

    def work(self, count):
        if count > _WORK_MAX:
            self.refuse("more work than any device does")

    def walk(self, counts_at, strides_at, counters_at):
        """Steps in all, and the lowest and highest offset that loops reach."""
        steps, low, high = 1, 0, 0
        for loop in range(_LOOPS):
            count, stride = self.word(counts_at + loop), self.word(strides_at + loop)
            if count < 1 or self.word(counters_at + loop):
                self.refuse("a loop of %d steps" % count)
            steps *= count
            reach = stride * (count - 1)
            if reach < 0:
                low += reach
            else:
                high += reach
        return steps, low, high

    def forward(self, counts_at, strides_at, counters_at):
        """Steps in all, and the highest offset, for kernels that on 64 bits read strides without their sign."""
        steps, low, high = self.walk(counts_at, strides_at, counters_at)
        if low:
            self.refuse("a loop that goes backwards")
        return steps, high

    def window(self, at):
        """The eight words of a window; its taps."""
        for place in range(at, at + 6):
            self.natural(place)
        self.natural(at + 6, 0)
        self.natural(at + 7, 0)
        return self.word(at) * self.word(at + 1)

    def weighted(self):
        code = self.word(0)
        for place in range(8, 14):
            # Inputs of a dense layer and its rows may be many.
            self.natural(place, 1, self.arena if code == 1 else _SIZE_MAX)
        channels = self.word(13)
        inputs = self.word(8) * self.word(9) * self.word(10)
        outputs = self.word(11) * self.word(12) * channels
        taps = self.window(14)
        self.natural(22, 0, 255)
        self.in_arena(2, inputs)
        self.in_constants(5, 4 * channels, 4)
        partial = code == 1 and self.word(6) < 0
        self.in_arena(3, 4 * outputs if partial else outputs, 4 if partial else 1)
        if not partial:
            self.in_constants(6, 4 * channels, 4)
            self.in_constants(7, channels)
        if code == 1:
            length = taps * self.word(10)
            self.in_arena(26, length)
        else:
            length = taps
            multiplier = self.natural(26, 1, channels)
            if channels != multiplier * self.word(10):
                self.refuse("channels that no input channel feeds")
        self.in_constants(4, length * channels)
        self.work(length * outputs)

    def pool(self):
        for place in range(4, 9):
            self.natural(place)
        depth = self.word(6)
        self.in_arena(2, self.word(4) * self.word(5) * depth)
        outputs = self.word(7) * self.word(8) * depth
        self.in_arena(3, outputs)
        self.work(self.window(9) * outputs)
        for place in (13, 14):
            self.natural(place, 1, 1)
        for side in range(2):
            # On 32 bits, the place of a row far outside does not fit a word.
            last = (self.word(7 + side) - 1) * self.word(11 + side) - self.word(15 + side)
            if self.word(15 + side) >= self.word(9 + side) or last >= self.word(4 + side):
                self.refuse("a window beside the image")

    def elementwise(self):
        self.natural(2, 0, 2)
        run = self.natural(8, 1, self.arena)
        for operand in range(2):
            space = self.natural(3 + 2 * operand, 0, 1)
            step = self.natural(9 + operand, 0, 1)
            steps, high = self.forward(22, 27 + _LOOPS * operand, 37)
            limit = self.constants if space else self.arena
            self.held(self.word(4 + 2 * operand), high + step * (run - 1) + 1, limit, "an operand")
        self.in_arena(7, steps * run)

    def table_lookup(self):
        code = self.word(0)
        count = self.natural(5, 1, self.arena)
        if code == 8:
            self.in_arena(2, 4 * count, 4)
            self.in_constants(4, 4 * 255, 4)
        else:
            self.in_arena(2, count)
            self.in_constants(4, 1024 if code == 7 else 256, 4 if code == 7 else 1)
        self.in_arena(3, 4 * count if code == 7 else count, 4 if code == 7 else 1)

    def softmax(self):
        count = self.natural(5, 1, self.arena) * self.natural(6, 1, self.arena)
        self.in_arena(2, count)
        self.in_arena(3, count)
        self.in_constants(4, 1024, 4)
        # A row that changes before it is read may hold more than its largest, for which the table has nothing.
        if 0 < self.word(3) - self.word(2) < count:
            self.refuse("an output that overtakes its input")

    def mean(self):
        steps, high = self.forward(12, 17, 22)
        inner = 1
        for place in (4, 6):
            count = self.natural(place, 1, self.arena)
            inner *= count
            high += (count - 1) * self.natural(place + 1, 0, self.arena)
        self.held(self.word(2), high + 1, self.arena, "the input")
        self.in_arena(3, steps)
        self.held(0, steps * inner, self.arena, "what is summed")

    def copy(self):
        run = self.natural(5, 1, self.arena)
        space = self.natural(2, 0, 1)
        steps, low, high = self.walk(6, 11, 21)
        self.held(self.word(3) + low, high - low + run, self.constants if space else self.arena, "the source")
        steps, low, high = self.walk(6, 16, 21)
        self.held(self.word(4) + low, high - low + run, self.arena, "the destination")
        self.held(0, steps * run, self.arena, "what is copied")

    def fill(self):
        self.in_arena(2, self.natural(3, 0, self.arena))

    def accumulate(self):
        channels = self.natural(4, 1, self.arena)
        outputs = self.natural(3, 1, self.arena) * channels
        self.in_arena(2, outputs)
        self.in_constants(5, 4 * channels, 4)
        self.in_constants(6, channels)
        self.work(outputs * self.natural(10))
        for operand in range(self.word(10)):
            self.in_arena(11 + operand, 4 * outputs, 4)

    def edge(self):
        self.natural(0, 0, 1)
        run = self.natural(5, 1, self.arena)
        steps, high = self.forward(6, 11, 16)
        if self.word(21) or self.word(22):
            self.refuse("an edge that starts in the middle")
        self.held(self.word(4), high + run, self.arena, "an edge")
        if self.word(3) != steps * run:
            self.refuse("an edge of %d bytes" % self.word(3))


_CHECKS = (
    None,
    _Checker.weighted,
    _Checker.weighted,
    _Checker.pool,
    _Checker.pool,
    _Checker.elementwise,
    _Checker.table_lookup,
    _Checker.table_lookup,
    _Checker.table_lookup,
    _Checker.softmax,
    _Checker.mean,
    _Checker.copy,
    _Checker.fill,
    _Checker.accumulate,
)


def check(table, operators, edges, arena, constants):
    """Where each record starts, where the edges start, and how many there are; `SegmentError` for a bad table."""
    checker = _Checker(table, arena, constants)
    words = len(table) // 4
    if (operators * 2 + edges * _EDGE_WORDS) > words:
        checker.refuse("more records than the table holds")
    places = [0] * operators
    for number in range(operators):
        places[number] = checker.at
        code = checker.word(0) if checker.at + 2 <= words else 0
        if not 0 < code < len(_CHECKS):
            checker.refuse("there is no kernel %d" % code)
        length = checker.word(1)
        wanted = _LENGTHS[code] or (11 + checker.word(10) if checker.at + 11 <= words else 0)
        if length != wanted or length < 5 or checker.at + length > words:
            checker.refuse("%d words" % length)
        _CHECKS[code](checker)
        checker.at += length
    first = checker.at
    if first + edges * _EDGE_WORDS != words:
        checker.refuse("the table does not end with its edges")
    for _ in range(edges):
        checker.edge()
        checker.at += _EDGE_WORDS
    return places, first, edges
