"""CoAP option numbers and the formats of their values (IANA "CoAP Option Numbers").

A critical option (odd number) that is not understood makes the message unusable; an elective one is ignored. So is
every value outside its defined length and every repetition of an option that is not repeatable: it counts as not
understood (RFC 7252 sections 5.4.1, 5.4.3 and 5.4.5).
"""

from __future__ import annotations

from typing import NamedTuple

IF_MATCH = 1  # RFC 7252 section 5.10.8.1
URI_HOST = 3  # RFC 7252 section 5.10.1
ETAG = 4  # RFC 7252 section 5.10.6
IF_NONE_MATCH = 5  # RFC 7252 section 5.10.8.2
OBSERVE = 6  # RFC 7641 section 2
URI_PORT = 7  # RFC 7252 section 5.10.1
LOCATION_PATH = 8  # RFC 7252 section 5.10.7
OSCORE = 9  # RFC 8613 section 2
URI_PATH = 11  # RFC 7252 section 5.10.1
CONTENT_FORMAT = 12  # RFC 7252 section 5.10.3
MAX_AGE = 14  # RFC 7252 section 5.10.5
URI_QUERY = 15  # RFC 7252 section 5.10.1
HOP_LIMIT = 16  # RFC 8768 section 3
ACCEPT = 17  # RFC 7252 section 5.10.4
Q_BLOCK1 = 19  # RFC 9177 section 4.1
LOCATION_QUERY = 20  # RFC 7252 section 5.10.7
EDHOC = 21  # RFC 9668 section 3.1
BLOCK2 = 23  # RFC 7959 section 2.1
BLOCK1 = 27  # RFC 7959 section 2.1
SIZE2 = 28  # RFC 7959 section 4
Q_BLOCK2 = 31  # RFC 9177 section 4.1
PROXY_URI = 35  # RFC 7252 section 5.10.2
PROXY_SCHEME = 39  # RFC 7252 section 5.10.2
SIZE1 = 60  # RFC 7252 section 5.10.9, RFC 7959 section 4
ECHO = 252  # RFC 9175 section 2.2.1
NO_RESPONSE = 258  # RFC 7967 section 2
REQUEST_TAG = 292  # RFC 9175 section 3.2.1


class OptionFormat(NamedTuple):
    """Bounds of a value in bytes, and whether the option may occur more than once."""

    shortest: int
    longest: int
    repeatable: bool = False


FORMATS: dict[int, OptionFormat] = {
    IF_MATCH: OptionFormat(0, 8, repeatable=True),
    URI_HOST: OptionFormat(1, 255),
    ETAG: OptionFormat(1, 8, repeatable=True),  # once in a response
    IF_NONE_MATCH: OptionFormat(0, 0),
    OBSERVE: OptionFormat(0, 3),
    URI_PORT: OptionFormat(0, 2),
    LOCATION_PATH: OptionFormat(0, 255, repeatable=True),
    OSCORE: OptionFormat(0, 255),
    URI_PATH: OptionFormat(0, 255, repeatable=True),
    CONTENT_FORMAT: OptionFormat(0, 2),
    MAX_AGE: OptionFormat(0, 4),
    URI_QUERY: OptionFormat(0, 255, repeatable=True),
    HOP_LIMIT: OptionFormat(1, 1),
    ACCEPT: OptionFormat(0, 2),
    Q_BLOCK1: OptionFormat(0, 3),
    LOCATION_QUERY: OptionFormat(0, 255, repeatable=True),
    EDHOC: OptionFormat(0, 0),
    BLOCK2: OptionFormat(0, 3),
    BLOCK1: OptionFormat(0, 3),
    SIZE2: OptionFormat(0, 4),
    Q_BLOCK2: OptionFormat(0, 3, repeatable=True),
    PROXY_URI: OptionFormat(1, 1034),
    PROXY_SCHEME: OptionFormat(1, 255),
    SIZE1: OptionFormat(0, 4),
    ECHO: OptionFormat(1, 40),
    NO_RESPONSE: OptionFormat(0, 1),
    REQUEST_TAG: OptionFormat(0, 8, repeatable=True),
}

_ANY = OptionFormat(0, 65804, repeatable=True)


def format_of(number: int) -> OptionFormat:
    """The registered format, or the widest one for a number that is not registered here."""
    return FORMATS.get(number, _ANY)


def is_critical(number: int) -> bool:
    """RFC 7252 section 5.4.6: odd numbers."""
    return number & 1 == 1


def encode_uint(value: int) -> bytes:
    """The ``uint`` format: big-endian without leading zero bytes, 0 is empty (RFC 7252 section 3.2)."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def decode_uint(value: bytes) -> int:
    """The ``uint`` format; leading zero bytes are accepted (RFC 7252 section 3.2)."""
    return int.from_bytes(value, "big")
