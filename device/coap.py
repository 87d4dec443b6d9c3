"""CoAP messages (RFC 7252 section 3; options of RFC 7641 and 7959): bytes in, fields out.

Does no I/O, keeps no state and knows no LwM2M.
"""

from micropython import const

CON = const(0)
NON = const(1)
ACK = const(2)
RST = const(3)

EMPTY = const(0x00)
GET = const(0x01)
POST = const(0x02)
PUT = const(0x03)
DELETE = const(0x04)
CREATED = const(0x41)
DELETED = const(0x42)
CHANGED = const(0x44)
CONTENT = const(0x45)
CONTINUE = const(0x5F)
BAD_REQUEST = const(0x80)
BAD_OPTION = const(0x82)
FORBIDDEN = const(0x83)
NOT_FOUND = const(0x84)
METHOD_NOT_ALLOWED = const(0x85)
NOT_ACCEPTABLE = const(0x86)
INCOMPLETE = const(0x88)
TOO_LARGE = const(0x8D)
UNSUPPORTED_FORMAT = const(0x8F)
SERVER_ERROR = const(0xA0)
UNAVAILABLE = const(0xA3)

OBSERVE = const(6)
LOCATION_PATH = const(8)
URI_PATH = const(11)
CONTENT_FORMAT = const(12)
URI_QUERY = const(15)
ACCEPT = const(17)
BLOCK2 = const(23)
BLOCK1 = const(27)

TEXT = const(0)
LINK_FORMAT = const(40)
OPAQUE = const(42)
SENML_CBOR = const(112)

# Critical options (odd numbers) that a request may carry: Uri-Host, Uri-Port and what is named above.
_KNOWN_CRITICAL = b"\x03\x07\x0b\x0f\x11\x17\x1b"
_PAYLOAD_MARKER = const(0xFF)


class RequestError(Exception):
    """A request that is answered with the error `code` and the diagnostic `text` (RFC 7252 section 5.5.2)."""

    def __init__(self, code, text=""):
        self.code = code
        self.text = text


class Message:
    """One message. `options` is a list of ``(number, bytes)`` in the order of their numbers."""

    def __init__(self, kind, code, mid, token=b"", payload=b""):
        self.kind = kind
        self.code = code
        self.mid = mid
        self.token = token
        self.payload = payload
        self.options = []

    def add(self, number, value):
        """Add an option, after those of the same number: `sorted` is not stable in MicroPython."""
        if isinstance(value, int):
            value = _uint_bytes(value)
        elif isinstance(value, str):
            value = value.encode()
        options = self.options
        at = len(options)
        while at and options[at - 1][0] > number:
            at -= 1
        options.insert(at, (number, value))

    def option(self, number):
        """The first option `number` as an unsigned integer, None without one."""
        for found, value in self.options:
            if found == number:
                return int.from_bytes(value, "big")
        return None

    def texts(self, number):
        """All options `number` as a list of str."""
        return [str(value, "utf-8") for found, value in self.options if found == number]

    def unknown_critical(self):
        """The number of a critical option that this device does not know, None without one."""
        for number, _ in self.options:
            if number & 1 and (number > 27 or number not in _KNOWN_CRITICAL):
                return number
        return None

    def encode(self):
        out = bytearray((0x40 | self.kind << 4 | len(self.token), self.code, self.mid >> 8, self.mid & 0xFF))
        out.extend(self.token)
        last = 0
        for number, value in self.options:
            _add_option(out, number - last, value)
            last = number
        if self.payload:
            out.append(_PAYLOAD_MARKER)
            out.extend(self.payload)
        return bytes(out)


def _uint_bytes(value):
    length = 0
    while value >> 8 * length:
        length += 1
    return value.to_bytes(length, "big")


def _add_option(out, delta, value):
    length = len(value)
    out.append(_nibble(delta) << 4 | _nibble(length))
    for number in (delta, length):
        if number >= 269:
            out.append(number - 269 >> 8)
            out.append(number - 269 & 0xFF)
        elif number >= 13:
            out.append(number - 13)
    out.extend(value)


def _nibble(number):
    return number if number < 13 else 13 if number < 269 else 14


def decode(data):
    """`data` as a Message; ValueError when it is none (RFC 7252 section 3)."""
    size = len(data)
    if size < 4 or data[0] >> 6 != 1 or data[0] & 15 > 8:
        raise ValueError("not a CoAP header")
    at = 4 + (data[0] & 15)
    message = Message(data[0] >> 4 & 3, data[1], data[2] << 8 | data[3], bytes(data[4:at]))
    if at > size or (not message.code and size > 4):
        raise ValueError("wrong length")
    number = 0
    while at < size:
        first = data[at]
        at += 1
        if first == _PAYLOAD_MARKER:
            if at == size:
                raise ValueError("no payload")
            message.payload = memoryview(data)[at:]  # not copied: it may be most of the free memory
            break
        delta, at = _extended(data, first >> 4, at)
        length, at = _extended(data, first & 15, at)
        number += delta
        if at + length > size:
            raise ValueError("option too long")
        message.options.append((number, bytes(data[at : at + length])))
        at += length
    return message


def _extended(data, nibble, at):
    if nibble < 13:
        return nibble, at
    length = nibble - 12
    if nibble == 15 or at + length > len(data):
        raise ValueError("broken option")
    value = int.from_bytes(data[at : at + length], "big")
    return value + (13 if nibble == 13 else 269), at + length
