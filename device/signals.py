"""Driver for sensors of an emulated board: constant, noise, daily curve.

A value depends on nothing but the options, the seed and the time since the start, so that a run can be
repeated. Times are in milliseconds, at a resolution of 100.
"""

import math
import time

from micropython import const

_STEP_MS = const(100)
_DAY_S = const(86400)
_MASK = const(0xFFFFFFFF)


class Signal:
    """`at(ms)` gives the value at that time after the start."""

    def __init__(self, at):
        self.at = at
        self._last = time.ticks_ms()
        self._elapsed = 0

    def read(self):
        now = time.ticks_ms()
        self._elapsed += time.ticks_diff(now, self._last)
        self._last = now
        return self.at(self._elapsed)


def make(options):
    """The signal that ``options["signal"]`` names, with its numbers ``parameters`` and its ``seed``.

    - constant: the value
    - noise: the mean, the standard deviation
    - daily: the mean, the swing to either side, the length of a day in seconds; coldest at 3 o'clock, warmest
      at 15, beginning at an hour that the seed gives
    """
    kind = options["signal"]
    given = options.get("parameters", ())
    seed = options.get("seed", 0)
    if kind == "constant":
        (value,) = _numbers(given, (21.0,))
        return Signal(lambda ms: value)
    if kind == "noise":
        mean, deviation = _numbers(given, (20.0, 1.0))
        return Signal(lambda ms: mean + deviation * noise(seed, ms // _STEP_MS))
    if kind == "daily":
        mean, swing, day_s = _numbers(given, (18.0, 6.0, _DAY_S))
        start = (_mix(seed) & 1023) / 1024 - 0.125
        return Signal(
            lambda ms: mean - swing * _day(start + ms / (1000 * day_s)) + noise(seed, ms // _STEP_MS) / 20
        )
    raise ValueError("no signal " + kind)


def noise(seed, step):
    """A number with mean 0 and standard deviation 1 that depends on both: the sum of three even ones."""
    mixed = _mix(seed * 1000003 + step)
    total = 0
    for _ in range(3):
        mixed = _mix(mixed)
        total += mixed & 0xFFFF
    return total / 32768 - 3


def _day(days):
    return math.cos(2 * math.pi * days)


def _mix(value):
    value = (value ^ value >> 16) * 0x45D9F3B & _MASK
    value = (value ^ value >> 16) * 0x45D9F3B & _MASK
    return value ^ value >> 16


def _numbers(given, defaults):
    if len(given) > len(defaults):
        raise ValueError("at most %d numbers" % len(defaults))
    return [float(value) for value in given] + [float(value) for value in defaults[len(given) :]]
