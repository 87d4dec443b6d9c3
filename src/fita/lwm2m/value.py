"""Values of resources and their data types (LwM2M Core 1.1, appendix C).

SenML carries its own types, text and TLV do not: they need the `DataType` that the object's declaration names.
A device that sends an integer where a float is declared means the same number; `coerce` allows for that.
"""

from __future__ import annotations

import math
import re
import struct
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from typing import Generic, NamedTuple, TypeVar

_INTEGER_TEXT = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_FLOAT_TEXT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)", re.ASCII)


class ObjectLink(NamedTuple):
    """A reference to an object instance, written ``9:1000``; ``65535:65535`` names nothing."""

    object_id: int
    instance_id: int

    def __str__(self) -> str:
        return f"{self.object_id}:{self.instance_id}"


Value = int | float | str | bool | bytes | ObjectLink
"""A resource's value. A `bool` is never meant as a number."""

T_co = TypeVar("T_co", bound=Value, covariant=True)


class DataType(ABC, Generic[T_co]):
    """How values of one data type are checked and written. What does not fit raises `ValueError`."""

    name: str

    def __repr__(self) -> str:
        return self.name

    @abstractmethod
    def coerce(self, value: Value) -> T_co:
        """`value` as this type, when it means the same."""

    @abstractmethod
    def from_text(self, text: str) -> T_co:
        """Read the plain text form (section 7.4.1)."""

    @abstractmethod
    def to_text(self, value: Value) -> str:
        """The plain text form."""

    @abstractmethod
    def from_bytes(self, data: bytes) -> T_co:
        """Read the value part of a TLV (section 7.4.3)."""

    @abstractmethod
    def to_bytes(self, value: Value) -> bytes:
        """The value part of a TLV."""


class _String(DataType[str]):
    name = "String"

    def coerce(self, value: Value) -> str:
        if isinstance(value, str):
            return value
        raise ValueError(f"{value!r} is no string")

    def from_text(self, text: str) -> str:
        return text

    def to_text(self, value: Value) -> str:
        return self.coerce(value)

    def from_bytes(self, data: bytes) -> str:
        return data.decode()

    def to_bytes(self, value: Value) -> bytes:
        return self.coerce(value).encode()


def _integer(text: str) -> int:
    if _INTEGER_TEXT.fullmatch(text) is None:
        raise ValueError(f"{text[:32]!r} is no integer")
    return int(text)


class _Integer(DataType[int]):
    """A signed or unsigned integer of up to 64 bits, or a time in seconds since 1970."""

    def __init__(self, name: str, *, signed: bool) -> None:
        self.name = name
        self._signed = signed
        self._lowest, self._highest = (-(2**63), 2**63 - 1) if signed else (0, 2**64 - 1)

    def coerce(self, value: Value) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is no integer")
        if not self._lowest <= value <= self._highest:
            raise ValueError("an integer of more than 64 bits")
        return value

    def from_text(self, text: str) -> int:
        return self.coerce(_integer(text))

    def to_text(self, value: Value) -> str:
        return str(self.coerce(value))

    def from_bytes(self, data: bytes) -> int:
        if len(data) not in (1, 2, 4, 8):
            raise ValueError(f"an integer of {len(data)} bytes")
        return int.from_bytes(data, "big", signed=self._signed)

    def to_bytes(self, value: Value) -> bytes:
        number = self.coerce(value)
        for size in (1, 2, 4, 8):
            try:
                return number.to_bytes(size, "big", signed=self._signed)
            except OverflowError:
                continue
        raise ValueError("an integer of more than 64 bits")


class _Float(DataType[float]):
    name = "Float"

    def coerce(self, value: Value) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is no number")
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError("a number that is too large") from error

    def from_text(self, text: str) -> float:
        if _FLOAT_TEXT.fullmatch(text) is None:
            raise ValueError(f"{text[:32]!r} is no number")
        return float(text)

    def to_text(self, value: Value) -> str:
        return repr(self.coerce(value))

    def from_bytes(self, data: bytes) -> float:
        if len(data) not in (4, 8):
            raise ValueError(f"a float of {len(data)} bytes")
        number: float = struct.unpack(">f" if len(data) == 4 else ">d", data)[0]
        return number

    def to_bytes(self, value: Value) -> bytes:
        number = self.coerce(value)
        try:
            short = struct.pack(">f", number)
        except OverflowError:
            return struct.pack(">d", number)
        exact = math.isnan(number) or struct.unpack(">f", short)[0] == number
        return short if exact else struct.pack(">d", number)


class _Boolean(DataType[bool]):
    name = "Boolean"

    def coerce(self, value: Value) -> bool:
        if isinstance(value, int) and value in (0, 1):
            return bool(value)
        raise ValueError(f"{value!r} is no boolean")

    def from_text(self, text: str) -> bool:
        return self.coerce(_integer(text))

    def to_text(self, value: Value) -> str:
        return "1" if self.coerce(value) else "0"

    def from_bytes(self, data: bytes) -> bool:
        if data not in (b"\0", b"\1"):
            raise ValueError(f"the boolean {data[:8].hex()}")
        return data == b"\1"

    def to_bytes(self, value: Value) -> bytes:
        return b"\1" if self.coerce(value) else b"\0"


class _Opaque(DataType[bytes]):
    name = "Opaque"

    def coerce(self, value: Value) -> bytes:
        if isinstance(value, bytes):
            return value
        raise ValueError(f"{value!r} is no byte string")

    def from_text(self, text: str) -> bytes:
        return b64decode(text, validate=True)

    def to_text(self, value: Value) -> str:
        return b64encode(self.coerce(value)).decode()

    def from_bytes(self, data: bytes) -> bytes:
        return data

    def to_bytes(self, value: Value) -> bytes:
        return self.coerce(value)


class _ObjectLink(DataType[ObjectLink]):
    name = "Objlnk"

    def coerce(self, value: Value) -> ObjectLink:
        if isinstance(value, ObjectLink):
            return value
        if isinstance(value, str):
            return self.from_text(value)
        raise ValueError(f"{value!r} is no object link")

    def from_text(self, text: str) -> ObjectLink:
        left, _, right = text.partition(":")
        link = ObjectLink(UNSIGNED.from_text(left), UNSIGNED.from_text(right))
        if max(link) > 0xFFFF:
            raise ValueError(f"the object link {text!r}")
        return link

    def to_text(self, value: Value) -> str:
        return str(self.coerce(value))

    def from_bytes(self, data: bytes) -> ObjectLink:
        if len(data) != 4:
            raise ValueError(f"an object link of {len(data)} bytes")
        return ObjectLink(*struct.unpack(">HH", data))

    def to_bytes(self, value: Value) -> bytes:
        return struct.pack(">HH", *self.coerce(value))


STRING: DataType[str] = _String()
INTEGER: DataType[int] = _Integer("Integer", signed=True)
UNSIGNED: DataType[int] = _Integer("Unsigned Integer", signed=False)
TIME: DataType[int] = _Integer("Time", signed=True)
FLOAT: DataType[float] = _Float()
BOOLEAN: DataType[bool] = _Boolean()
OPAQUE: DataType[bytes] = _Opaque()
OBJECT_LINK: DataType[ObjectLink] = _ObjectLink()


def natural_type(value: Value) -> DataType[Value]:
    """The type of a value that nobody declared."""
    for python_type, data_type in _NATURAL_TYPES:
        if isinstance(value, python_type):
            return data_type
    raise TypeError(f"{value!r} is no LwM2M value")


# In this order, because a `bool` is an `int` for Python.
_NATURAL_TYPES: tuple[tuple[type, DataType[Value]], ...] = (
    (bool, BOOLEAN), (int, INTEGER), (float, FLOAT), (str, STRING), (bytes, OPAQUE), (ObjectLink, OBJECT_LINK),
)  # fmt: skip
