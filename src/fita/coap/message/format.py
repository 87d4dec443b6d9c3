"""The message format of RFC 7252 section 3: bytes to a frozen `Message` and back, without any state.

Strict: whatever section 3 calls a format error is a `MalformedMessageError`, and decoding raises nothing else.
What an option means is decided elsewhere (`fita.coap.message.option`, `fita.coap.request.mapping`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from operator import itemgetter

import msgspec

from fita.coap.code import CODES, Code
from fita.coap.errors import MalformedMessageError
from fita.coap.interfaces import Option

MAX_OPTIONS = 256
"""Options accepted in one message. RFC 7252 has no bound, and 64 KiB of empty options cost 10 ms of parsing."""

_HEADER = struct.Struct(">BBH")
_PAYLOAD_MARKER = 0xFF
_RESERVED_CLASSES = frozenset({1, 6, 7})  # RFC 7252 section 3: a format error
_by_number = itemgetter(0)


class MessageType(IntEnum):
    """RFC 7252 section 3."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


_TYPES = tuple(MessageType)
CON, NON, ACK, RST = _TYPES


class Message(msgspec.Struct, frozen=True, gc=False):
    """One CoAP message. `options` are in order of their numbers, repeated ones in order of appearance."""

    type: MessageType
    code: Code
    message_id: int
    token: bytes = b""
    options: tuple[Option, ...] = ()
    payload: bytes = b""

    def encode(self) -> bytes:
        """The datagram. Raises `MalformedMessageError` for fields that the format cannot carry."""
        try:
            header = _HEADER.pack(0x40 | self.type << 4 | len(self.token), self.code, self.message_id)
        except struct.error as error:
            raise MalformedMessageError(f"the header cannot carry message id {self.message_id}") from error
        if len(self.token) > 8:
            raise MalformedMessageError("a token has at most 8 bytes")
        head = header + self.token
        if self.options:
            head += encode_options(self.options)
        return head + b"\xff" + self.payload if self.payload else head


def encode_empty(message_type: MessageType, message_id: int) -> bytes:
    """An Empty message: an acknowledgement (ACK), a rejection (RST), a ping (CON)."""
    return _HEADER.pack(0x40 | message_type << 4, 0, message_id)


def encode_options(options: Iterable[Option]) -> bytes:
    """The options part of a message (RFC 7252 section 3.1); sorts by number, stably."""
    out = bytearray()
    previous = 0
    for number, value in sorted(options, key=_by_number):
        delta = number - previous
        length = len(value)
        previous = number
        if delta < 13 and length < 13:
            out.append(delta << 4 | length)
        else:
            out += _extended_head(delta, length)
        out += value
    if previous > 0xFFFF:
        raise MalformedMessageError(f"option number {previous} does not fit 16 bits")
    return bytes(out)


def _extended_head(delta: int, length: int) -> bytes:
    delta_nibble, delta_bytes = _extend(delta)
    length_nibble, length_bytes = _extend(length)
    return bytes((delta_nibble << 4 | length_nibble,)) + delta_bytes + length_bytes


def _extend(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes((value - 13,))
    if value > 0xFFFF + 269:
        raise MalformedMessageError(f"option delta or length {value} is over 65804")
    return 14, (value - 269).to_bytes(2, "big")


def decode(datagram: bytes) -> Message:
    """Parse one datagram. Raises `MalformedMessageError`, and nothing else, for any bytes."""
    if len(datagram) < 4:
        raise MalformedMessageError("shorter than a header")
    first, code_byte, message_id = _HEADER.unpack_from(datagram)
    if first >> 6 != 1:
        raise MalformedMessageError(f"version {first >> 6} is not 1")  # silently ignored: RFC 7252 section 3
    code = CODES[code_byte]
    message_type = _TYPES[first >> 4 & 3]
    token_end = 4 + (first & 15)
    try:
        if code_byte == 0:
            if len(datagram) != 4 or first & 15:
                raise _FormatError("an Empty message with content")
            return Message(message_type, code, message_id)
        if code_byte >> 5 in _RESERVED_CLASSES:
            raise _FormatError(f"reserved code class of {code}")
        if token_end > 12 or token_end > len(datagram):
            raise _FormatError("token length out of range")
        if token_end == len(datagram):
            return Message(message_type, code, message_id, datagram[4:token_end])
        options, payload = _decode_body(datagram, token_end)
    except _FormatError as error:
        reset = message_id if message_type is CON else None
        raise MalformedMessageError(str(error), reset_message_id=reset) from None
    return Message(message_type, code, message_id, datagram[4:token_end], options, payload)


class _FormatError(Exception):
    """A message format error, before it is known how to reject the message."""


def _decode_body(datagram: bytes, position: int) -> tuple[tuple[Option, ...], bytes]:
    options: list[Option] = []
    number = 0
    end = len(datagram)
    while position < end:
        head = datagram[position]
        position += 1
        if head == _PAYLOAD_MARKER:
            if position == end:
                raise _FormatError("a payload marker without payload")
            return tuple(options), datagram[position:]
        delta = head >> 4
        length = head & 15
        if delta > 12:
            delta, position = _extended(datagram, delta, position)
        if length > 12:
            length, position = _extended(datagram, length, position)
        number += delta
        stop = position + length
        if stop > end or number > 0xFFFF or len(options) == MAX_OPTIONS:
            raise _FormatError("an option outside the message, over number 65535, or too many")
        options.append((number, datagram[position:stop]))
        position = stop
    return tuple(options), b""


def _extended(datagram: bytes, nibble: int, position: int) -> tuple[int, int]:
    """An extended delta or length and the position after it (RFC 7252 section 3.1)."""
    if nibble == 13 and position < len(datagram):
        return datagram[position] + 13, position + 1
    if nibble == 14 and position + 1 < len(datagram):
        return (datagram[position] << 8 | datagram[position + 1]) + 269, position + 2
    raise _FormatError("a truncated or reserved option header")
