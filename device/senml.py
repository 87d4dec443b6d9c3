"""Values as LwM2M writes them: SenML CBOR (RFC 8428, LwM2M 1.1 section 7.4.5) and text.

A value is int, float, str, bool, bytes or a `Link`. Encodes SenML only; decodes text only, for that is all
that a device accepts.
"""

import struct

from micropython import const

_BASE_NAME = const(0x21)  # CBOR -2
_NAME = const(0)
_VALUE = const(2)
_STRING_VALUE = const(3)
_BOOLEAN_VALUE = const(4)
_DATA_VALUE = const(8)


class Link:
    """An LwM2M object link, written ``9:1000``."""

    def __init__(self, object_id, instance_id):
        self.text = "%d:%d" % (object_id, instance_id)


def encode(base, records):
    """SenML CBOR of `records`, a list of ``(name, value)`` whose names follow `base`."""
    out = bytearray()
    _head(out, 0x80, len(records))
    for index, (name, value) in enumerate(records):
        _head(out, 0xA0, 3 if not index else 2)
        if not index:
            out.append(_BASE_NAME)
            _text(out, base)
        out.append(_NAME)
        _text(out, name)
        _value(out, value)
    return out


def _head(out, major, number):
    if number < 24:
        out.append(major | number)
    elif number < 0x100:
        out.append(major | 24)
        out.append(number)
    else:
        size = 1 if number < 0x10000 else 2 if number < 0x100000000 else 3
        out.append(major | 24 + size)
        out.extend(number.to_bytes(1 << size, "big"))


def _text(out, text, major=0x60):
    if isinstance(text, str):
        text = text.encode()
    _head(out, major, len(text))
    out.extend(text)


def _value(out, value):
    if isinstance(value, bool):
        out.append(_BOOLEAN_VALUE)
        out.append(0xF5 if value else 0xF4)
    elif isinstance(value, int):
        out.append(_VALUE)
        _head(out, 0x20 if value < 0 else 0, -1 - value if value < 0 else value)
    elif isinstance(value, float):
        out.append(_VALUE)
        _float(out, value)
    elif isinstance(value, str):
        out.append(_STRING_VALUE)
        _text(out, value)
    elif isinstance(value, Link):
        _text(out, "vlo")
        _text(out, value.text)
    else:
        out.append(_DATA_VALUE)
        _text(out, value, 0x40)


def _float(out, value):
    try:
        packed = struct.pack(">f", value)
        exact = value != value or struct.unpack(">f", packed)[0] == value
    except OverflowError:
        exact = False
    if exact:
        out.append(0xFA)
        out.extend(packed)
    else:
        out.append(0xFB)
        out.extend(struct.pack(">d", value))


def to_text(value):
    """One value in the plain text format (LwM2M 1.1 section 7.4.1)."""
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, Link):
        return value.text.encode()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return str(value).encode()


def number(payload, is_float):
    """The number in a text payload; ValueError when it holds none."""
    text = str(payload, "utf-8")
    return float(text) if is_float else int(text)
