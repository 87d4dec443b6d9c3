"""Content formats of LwM2M payloads (IANA "CoAP Content-Formats", LwM2M Core 1.1 section 7.4)."""

from __future__ import annotations

from enum import IntEnum


class ContentFormat(IntEnum):
    """The value of the options Content-Format and Accept."""

    TEXT = 0
    LINK = 40
    OPAQUE = 42
    SENML_JSON = 110
    SENML_CBOR = 112
    TLV = 11542
