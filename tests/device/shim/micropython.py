"""What MicroPython has and CPython lacks, so that the device's own files and tests run on both."""

from __future__ import annotations

import gc
import sys
import time
import traceback
from typing import TextIO, TypeVar

T = TypeVar("T")


def const(value: T) -> T:
    return value


def _print_exception(exception: BaseException, file: TextIO = sys.stderr) -> None:
    file.write("".join(traceback.format_exception(exception)))


def _install() -> None:
    additions = {
        "ticks_ms": lambda: time.monotonic_ns() // 1_000_000,
        "ticks_us": lambda: time.monotonic_ns() // 1000,
        "ticks_diff": lambda later, earlier: later - earlier,
    }
    for name, function in additions.items():
        setattr(time, name, function)
    setattr(gc, "mem_alloc", lambda: 0)  # noqa: B010
    setattr(gc, "mem_free", lambda: 1 << 20)  # noqa: B010
    setattr(sys, "print_exception", _print_exception)  # noqa: B010


_install()
