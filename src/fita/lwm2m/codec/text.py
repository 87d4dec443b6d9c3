"""Plain text (0): one value of one resource (LwM2M Core 1.1 section 7.4.1)."""

from __future__ import annotations

from fita.lwm2m.codec.format import ContentFormat
from fita.lwm2m.errors import PayloadError
from fita.lwm2m.objects.registry import data_type_of
from fita.lwm2m.path import Path
from fita.lwm2m.value import STRING, Value, natural_type


def decode_text(payload: bytes, path: Path) -> dict[Path, Value]:
    """The value at `path`, by its declared type; a string if nobody declared it. Raises `PayloadError`."""
    data_type = data_type_of(path) or STRING
    if path.depth < 3:
        raise PayloadError(ContentFormat.TEXT, f"{path} is no single value")
    try:
        return {path: data_type.from_text(payload.decode())}
    except ValueError as error:
        raise PayloadError(ContentFormat.TEXT, f"{path}: {error}") from error


def encode_text(value: Value) -> bytes:
    """One value as text."""
    return natural_type(value).to_text(value).encode()
