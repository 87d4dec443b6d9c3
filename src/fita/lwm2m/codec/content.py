"""Payloads by content format (LwM2M Core 1.1 section 7.4): one place that knows which codec reads what."""

from __future__ import annotations

from collections.abc import Mapping

from fita.lwm2m.codec.format import ContentFormat
from fita.lwm2m.codec.senml import decode_senml_cbor, decode_senml_json, encode_senml_cbor, encode_senml_json
from fita.lwm2m.codec.text import decode_text, encode_text
from fita.lwm2m.codec.tlv import decode_tlv, encode_tlv
from fita.lwm2m.errors import PayloadError, UnsupportedFormatError
from fita.lwm2m.path import Path
from fita.lwm2m.value import Value

Values = dict[Path, Value]
"""What a payload says: a value for each resource and resource instance."""


def decode_payload(payload: bytes, content_format: int | None, path: Path) -> Values:
    """What a device answered to a read of `path`, nothing but what lies at or below it.

    Without a content format it is text (RFC 7252 section 5.5.1 leaves it open; LwM2M clients mean text).
    Raises `PayloadError` and `UnsupportedFormatError`, whatever the bytes are.
    """
    match content_format:
        case ContentFormat.SENML_CBOR:
            values = decode_senml_cbor(payload)
        case ContentFormat.SENML_JSON:
            values = decode_senml_json(payload)
        case ContentFormat.TLV:
            values = decode_tlv(payload, path)
        case ContentFormat.TEXT | None:
            return decode_text(payload, path)
        case ContentFormat.OPAQUE if path.depth >= 3:
            return {path: payload}
        case _:
            raise UnsupportedFormatError(content_format)
    if len(values) == 1 and path.covers(next(iter(values))):
        return values
    return {found: value for found, value in values.items() if path.covers(found)}


def encode_payload(values: Mapping[Path, Value], content_format: int) -> bytes:
    """`values` for a write. Raises `UnsupportedFormatError`, `PayloadError`."""
    match content_format:
        case ContentFormat.SENML_CBOR:
            return encode_senml_cbor(values)
        case ContentFormat.SENML_JSON:
            return encode_senml_json(values)
        case ContentFormat.TLV:
            return encode_tlv(values)
        case ContentFormat.TEXT if len(values) == 1:
            return encode_text(next(iter(values.values())))
        case ContentFormat.OPAQUE if len(values) == 1 and isinstance(value := next(iter(values.values())), bytes):
            return value
        case ContentFormat.TEXT | ContentFormat.OPAQUE:
            raise PayloadError(content_format, "holds exactly one value")
        case _:
            raise UnsupportedFormatError(content_format)
