"""Driver for sensors of an emulated board: constant, daily curve, noise, or the rows of a CSV file.

A value depends on nothing but the options, the seed and the time since the start, so that a run can be
repeated. Times are in milliseconds, at a resolution of 100.
"""

import math
import time

from micropython import const

_STEP_MS = const(100)
_DAY_S = const(86400)
_MASK = const(0xFFFFFFFF)


def make(options):
    """The signal that ``options["signal"]`` names with its ``parameters`` (numbers; a file name for csv)."""
    kind = options.get("signal", "daily")
    signal = {"constant": Constant, "daily": Daily, "noise": Noise, "csv": Rows}.get(kind)
    if signal is None:
        raise ValueError("no signal is called " + kind)
    return signal(options)


class Signal:
    """`at(ms)` is the value at that time after the start."""

    def __init__(self):
        self._last = time.ticks_ms()
        self._elapsed = 0

    def read(self):
        now = time.ticks_ms()
        self._elapsed += time.ticks_diff(now, self._last)
        self._last = now
        return self.at(self._elapsed)


class Constant(Signal):
    """Parameters: the value."""

    def __init__(self, options):
        Signal.__init__(self)
        (self._value,) = _numbers(options, (21.0,))

    def at(self, ms):
        return self._value


class Noise(Signal):
    """Parameters: the mean and the standard deviation."""

    def __init__(self, options):
        Signal.__init__(self)
        self._mean, self._deviation = _numbers(options, (20.0, 1.0))
        self._seed = options.get("seed", 0)

    def at(self, ms):
        return self._mean + self._deviation * noise(self._seed, ms // _STEP_MS)


class Daily(Signal):
    """A day's curve, coldest at 3 and warmest at 15 o'clock, beginning at an hour that the seed gives.

    Parameters: the mean, the swing to either side, the length of a day in seconds.
    """

    def __init__(self, options):
        Signal.__init__(self)
        self._mean, self._swing, self._day_s = _numbers(options, (18.0, 6.0, _DAY_S))
        self._seed = options.get("seed", 0)
        self._start = (_mix(self._seed) & 1023) / 1024

    def at(self, ms):
        day = self._start + ms / (1000 * self._day_s)
        curve = -math.cos(2 * math.pi * (day - 0.125))
        return self._mean + self._swing * curve + 0.05 * noise(self._seed, ms // _STEP_MS)


class Rows(Signal):
    """The rows ``seconds,value`` (or ``value``, one a second) of a file in flash, begun again 1 s after the last.

    A value holds until the next row's time; the first one holds from the start. Keeps one row in RAM.
    """

    def __init__(self, options):
        Signal.__init__(self)
        self._name = options["folder"] + "/" + options["parameters"][0]
        self._file = open(self._name)
        self._begin(0)

    def at(self, ms):
        if ms < self._begun:
            self._begin(0)
        while True:
            due = self._begun + (self._time + 1000 if self._next is None else self._next[0])
            if ms < due:
                return self._value
            if self._next is None:
                self._begin(due)
            else:
                self._time, self._value = self._next
                self._next = self._row()

    def _begin(self, ms):
        self._begun = ms
        self._file.seek(0)
        self._rows = 0
        self._time = 0
        self._next = self._row()
        if self._next is None:
            raise ValueError(self._name + " has no rows of numbers")
        self._value = self._next[1]

    def _row(self):
        """The next row as ``(ms, value)``, None at the end. Headings and empty lines do not count."""
        while True:
            line = self._file.readline()
            if not line:
                return None
            try:
                cells = [float(cell) for cell in line.split(",")]
            except ValueError:
                continue
            self._rows += 1
            at = int(cells[0] * 1000) if len(cells) > 1 else (self._rows - 1) * 1000
            return at, cells[-1]


def noise(seed, step):
    """A number with mean 0 and standard deviation 1 that depends on both: the sum of three even ones."""
    mixed = _mix(seed * 1000003 + step)
    total = 0
    for _ in range(3):
        mixed = _mix(mixed)
        total += mixed & 0xFFFF
    return total / 32768 - 3


def _mix(value):
    value = (value ^ value >> 16) * 0x45D9F3B & _MASK
    value = (value ^ value >> 16) * 0x45D9F3B & _MASK
    return value ^ value >> 16


def _numbers(options, defaults):
    given = options.get("parameters", ())
    if len(given) > len(defaults):
        raise ValueError("the signal takes at most %d numbers" % len(defaults))
    return [float(value) for value in given] + [float(value) for value in defaults[len(given) :]]
