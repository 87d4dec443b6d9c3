"""Viper on a 32-bit processor, played in CPython: the kernels' own source, every number wrapped to 32 bits.

Words are read with their sign there, and shifts of 32 bits or more are no shifts: here they raise.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fita.simulator.inference.firmware import CORTEX_M, source_for

DEVICE = Path(__file__).parents[2] / "device"


def wrapped(value: int) -> int:
    return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000


class Word:
    """A number in a register."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = wrapped(int(value))

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def __bool__(self) -> bool:
        return self.value != 0

    def __hash__(self) -> int:
        return hash(self.value)


def _operation(compute: Callable[[int, int], int]) -> tuple[Any, Any]:
    def forward(self: Word, other: Any) -> Word:
        return Word(compute(self.value, int(other)))

    def backward(self: Word, other: Any) -> Word:
        return Word(compute(int(other), self.value))

    return forward, backward


def _shift(value: int, bits: int, shifted: int) -> int:
    if not 0 <= bits < 32:
        raise ArithmeticError(f"{value} shifted by {bits} bits")
    return shifted


for _name, _compute in {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "floordiv": lambda a, b: a // b,
    "lshift": lambda a, b: _shift(a, b, a << max(b, 0)),
    "rshift": lambda a, b: _shift(a, b, a >> max(b, 0)),
}.items():
    _forward, _backward = _operation(_compute)
    setattr(Word, f"__{_name}__", _forward)
    setattr(Word, f"__r{_name}__", _backward)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Word, f"__{_name}__", lambda self, other, _name=_name: getattr(self.value, f"__{_name}__")(int(other)))


class Machine:
    """A memory of bytes, and the kernels over it."""

    def __init__(self, memory: bytearray) -> None:
        self.memory = memory

    def kernels(self, name: str) -> dict[str, Any]:
        """What a file of `device/` defines."""
        text = source_for(CORTEX_M, (DEVICE / f"{name}.py").read_text(encoding="utf-8"))
        text = re.sub(r"^from micropython import const$", "", text, flags=re.MULTILINE)
        # The parameters' types are of no use here, and would be looked up.
        text = re.sub(r": (?:ptr8|ptr32|int)\b", "", text)
        space: dict[str, Any] = {
            "const": int,
            "micropython": types.SimpleNamespace(viper=lambda function: function),
            "int": lambda value: Word(value.address if isinstance(value, Pointer) else value),
            "ptr8": lambda at: Pointer(self.memory, at, 1),
            "ptr32": lambda at: Pointer(self.memory, at, 4),
        }
        exec(compile(text, name, "exec"), space)
        return space


class Pointer:
    """Unsigned bytes or signed words from an address on."""

    __slots__ = ("address", "memory", "width")

    def __init__(self, memory: bytearray, at: Any, width: int) -> None:
        self.memory = memory
        self.address = at.address if isinstance(at, Pointer) else int(at)
        self.width = width

    def _place(self, index: Any) -> int:
        place = self.address + int(index) * self.width
        if not 0 <= place <= len(self.memory) - self.width or place % self.width:
            raise IndexError(f"address {place}")
        return place

    def __getitem__(self, index: Any) -> Word:
        place = self._place(index)
        return Word(int.from_bytes(self.memory[place : place + self.width], "little"))

    def __setitem__(self, index: Any, value: Any) -> None:
        place = self._place(index)
        mask = (1 << 8 * self.width) - 1
        self.memory[place : place + self.width] = (int(value) & mask).to_bytes(self.width, "little")
