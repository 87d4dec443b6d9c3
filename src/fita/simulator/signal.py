"""What a user writes for an emulated sensor: ``daily``, ``constant:21.5``, ``noise:20,2``, ``csv:FILE``.

The signals themselves are the device's (device/signals.py); here their text becomes options for it.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from fita.simulator.errors import SignalError

_HINT = "write daily, daily:MEAN,SWING,DAY_SECONDS, constant:VALUE, noise:MEAN,DEVIATION or csv:FILE"
_MOST_NUMBERS = {"constant": 1, "daily": 3, "noise": 2}
_KIND_CSV = "csv"


class Signal(msgspec.Struct, frozen=True):
    """A kind with its numbers, or, for ``csv``, with the `file` of rows ``seconds,value`` or ``value``."""

    kind: str
    numbers: tuple[float, ...] = ()
    file: Path | None = None


def parse_signal(text: str) -> Signal:
    """The signal that `text` describes. Raises `SignalError`."""
    kind, _, rest = text.partition(":")
    if kind == _KIND_CSV:
        return Signal(kind, file=_rows_file(rest))
    if kind not in _MOST_NUMBERS:
        raise SignalError(f"there is no signal {kind!r}", hint=_HINT)
    try:
        numbers = tuple(float(number) for number in rest.split(",")) if rest else ()
    except ValueError as error:
        raise SignalError(f"{rest!r} in the signal {text!r} are no numbers", hint=_HINT) from error
    if len(numbers) > _MOST_NUMBERS[kind]:
        raise SignalError(f"the signal {kind} takes at most {_MOST_NUMBERS[kind]} numbers", hint=_HINT)
    if not all(math.isfinite(number) for number in numbers):
        raise SignalError(f"the signal {text!r} is not finite", hint=_HINT)
    if kind == "daily" and len(numbers) > 2 and numbers[2] <= 0:
        raise SignalError("a day lasts longer than 0 s", hint=_HINT)
    return Signal(kind, numbers)


def _rows_file(name: str) -> Path:
    file = Path(name)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SignalError(f"the signal's file {name!r} cannot be read: {error}", hint=_HINT) from error
    if not any(_is_row(line) for line in lines):
        raise SignalError(
            f"the signal's file {name!r} has no rows", hint="write rows seconds,value, or one value a second"
        )
    return file


def _is_row(line: str) -> bool:
    try:
        return all(math.isfinite(float(cell)) for cell in line.split(","))
    except ValueError:
        return False
